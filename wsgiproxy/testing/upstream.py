"""A backend of a simulation: an ``upstream.messages.Upstream`` that follows its script.

The rule of the room: it waits in virtual time, as cancellable as a real one, keeps to the pool's timeouts, and raises
the very errors of ``wsgiproxy.errors`` that a real one would. It keeps no idle connections: each attempt makes one.
"""

from __future__ import annotations

import heapq
import random
from math import inf

from wsgiproxy.config import schema
from wsgiproxy.errors import (
    BackendError,
    ConnectError,
    ConnectTimeout,
    ExchangeTimeout,
    FirstByteTimeout,
    ReadTimeout,
    ResetError,
    TruncatedBodyError,
)
from wsgiproxy.http1.message import Fields
from wsgiproxy.pool.wait import Wait
from wsgiproxy.testing.behaviour import Answers, Fate, Script
from wsgiproxy.testing.virtual import BEGIN, VirtualTime
from wsgiproxy.transport.stream import Stream
from wsgiproxy.upstream.deadlines import overdue
from wsgiproxy.upstream.messages import OnCancel, UpstreamRequest, UpstreamResponse

UNDER_WAY = "wsgiproxy.testing.under_way"  # the environ's key of a list of one number: this request's open attempts


class Deeds:
    """What one backend was asked, and how it went; instants are seconds since the simulation began."""

    def __init__(self) -> None:
        self.attempts: list[float] = []  # when each came
        self.failed: list[float] = []  # when each one that failed did so, be it by a 5xx
        self.failures: list[float] = []  # the same, checks included
        self.hedges = 0  # attempts beside one at another backend
        self.open = 0  # attempts under way
        self.most_open = 0
        self.open_checks = 0


class SimulatedUpstream:
    """See the module's docstring; it is told of each attempt's fate by ``script``."""

    def __init__(self, address: str, time: VirtualTime, script: Script, chance: random.Random) -> None:
        """``chance`` is this backend's own."""
        self.address = address
        self.script = script
        self.deeds = Deeds()
        self._time = time
        self._chance = chance
        self._busy: list[float] = []  # a heap: when each worker that has work is done

    def __repr__(self) -> str:
        return f"<SimulatedUpstream {self.address}: {self.script.at(self._time.elapsed)[0]!r}>"

    def send(self, request: UpstreamRequest, *, fresh: bool = False) -> UpstreamResponse:
        """What becomes of one attempt, as the script has it."""
        now, deeds = self._time.now, self.deeds
        deeds.attempts.append(now - BEGIN)
        deeds.open += 1
        deeds.most_open = max(deeds.most_open, deeds.open)
        under_way = request.environ.get(UNDER_WAY)
        if under_way is not None:
            deeds.hedges += under_way[0] > 0
            under_way[0] += 1
        try:
            while request.body is not None and request.body.read_some():
                pass
            response = self._answer(request, self._fate(False), min(request.head_by, request.ends_by))
        except BaseException as error:
            deeds.open -= 1
            if isinstance(error, BackendError | ExchangeTimeout):
                self.fail()
            raise
        finally:
            if under_way is not None:
                under_way[0] -= 1
        if response.status >= 500:
            self.fail()
        return response

    def send_probe(self, request: UpstreamRequest, timeout: float) -> UpstreamResponse:
        """What becomes of a health check."""
        ends_at = self._time.now + timeout
        self.deeds.open_checks += 1
        try:
            response = self._answer(request, self._fate(True), ends_at, True)
        except BaseException:
            self.deeds.open_checks -= 1
            self.fail(is_check=True)
            raise
        if response.status >= 500:
            self.fail(is_check=True)
        return response

    def check_connect(self, timeout: float) -> None:
        """What becomes of a check that only connects."""
        try:
            self._connect(None, self._fate(True), self._time.now + timeout)
        except BaseException:
            self.fail(is_check=True)
            raise

    def idle_connections(self) -> int:
        """None."""
        return 0

    def configure(self, block: schema.Pool) -> None:
        """Nothing of it concerns who has no connections."""

    def close(self) -> None:
        """Nothing is kept open."""

    def fail(self, is_check: bool = False) -> None:
        """Note that something failed here."""
        self.deeds.failures.append(self._time.elapsed)
        if not is_check:
            self.deeds.failed.append(self._time.elapsed)

    def _fate(self, check: bool) -> Fate:
        behaviour, _ = self.script.at(self._time.elapsed)
        if check and behaviour.fools_checks:
            return Fate(head=0.001)
        if check and isinstance(behaviour, Answers) and behaviour.status < 500:
            return behaviour.fate(self._chance)._replace(status=200)
        return behaviour.fate(self._chance)

    def _answer(self, request: UpstreamRequest, fate: Fate, limit: float, is_check: bool = False) -> UpstreamResponse:
        """The head, once its time has come; nothing takes longer than to the instant ``limit``."""
        began, timeouts = self._time.now, request.timeouts
        self._connect(request, fate, min(began + timeouts.connect, limit))
        connected = self._time.now
        ready, reset = self._work(fate.head)
        limit = min(connected + (timeouts.first_byte or timeouts.read), limit)
        self.wait_until(min(ready, limit), request.on_cancel)
        if ready > limit:
            late = FirstByteTimeout(f"{self.address} did not begin to answer")
            raise overdue(request, late, True, self._time.clock)
        if reset or fate.resets:
            raise ResetError(f"{self.address} closed the connection before it answered")
        request.head_by = inf  # it is there
        body = SimulatedBody(self, request, fate, is_check)
        response = UpstreamResponse(fate.status, "", [], fate.size, body)
        response.connect_seconds = connected - began
        return response

    def _connect(self, request: UpstreamRequest | None, fate: Fate, limit: float) -> None:
        ready = self._time.now + fate.connect
        self.wait_until(min(ready, limit), None if request is None else request.on_cancel)
        if ready > limit:
            late = ConnectTimeout(f"{self.address}: timed out")
            raise late if request is None else overdue(request, late, False, self._time.clock)
        if fate.refused:
            raise ConnectError(f"{self.address}: Connection refused")

    def _work(self, seconds: float) -> tuple[float, bool]:
        """When work of so many seconds is done, which may have to wait for a worker, and whether it ends in a reset."""
        now = self._time.elapsed
        workers = self.script.at(now)[0].workers
        if workers is None:
            return self.done_at(seconds)
        begin, busy = now, self._busy
        while busy and busy[0] <= now:
            heapq.heappop(busy)
        while len(busy) >= workers:
            begin = heapq.heappop(busy)
        if begin > now and (begin == inf or self.script.at(begin)[0].under_way == "reset"):
            ready, reset = begin, True
        else:
            ready, reset = self.script.finish(begin, seconds)
        heapq.heappush(busy, ready)
        return ready + BEGIN, reset

    def done_at(self, seconds: float) -> tuple[float, bool]:
        """When what needs so many seconds more will be done, and whether it ends in a reset."""
        ready, reset = self.script.finish(self._time.elapsed, seconds)
        return ready + BEGIN, reset

    def wait_until(self, instant: float, on_cancel: OnCancel | None) -> None:
        """Let time pass until then; raises why the client's end ended it."""
        seconds = instant - self._time.now
        if seconds > 0:
            Wait(self._time).run(None if seconds == inf else seconds, on_cancel)

    @property
    def now(self) -> float:
        """The instant."""
        return self._time.now


class SimulatedBody:
    """The body of one answer: two pieces, the second at its end."""

    __slots__ = ("_closed", "_fate", "_is_check", "_pieces", "_request", "_upstream")

    def __init__(self, upstream: SimulatedUpstream, request: UpstreamRequest, fate: Fate, is_check: bool) -> None:
        self._upstream = upstream
        self._request = request
        self._fate = fate
        self._is_check = is_check
        self._pieces = 0  # handed out
        self._closed = False

    def __iter__(self) -> SimulatedBody:
        return self

    def __next__(self) -> bytes:
        piece = self.read_piece()
        if not piece:
            raise StopIteration
        return piece

    def read_piece(self) -> bytes:
        """Half of the body, then the other half, then the end."""
        if self._pieces == 2 or not self._fate.size:
            return b""
        if self._pieces == 1:
            self._cross()
        self._pieces += 1
        half = self._fate.size // 2
        return bytes(self._fate.size - half if self._pieces == 2 else half) or self.read_piece()

    def _cross(self) -> None:
        """Wait for the second half."""
        upstream, request, fate = self._upstream, self._request, self._fate
        if not fate.body and not fate.cut:
            return
        ready, reset = upstream.done_at(fate.body)
        # What is on time comes in many pieces; only one that stands still, or is too long as a whole, is overdue.
        limit = min(upstream.now + max(request.timeouts.read, fate.body), request.ends_by)
        upstream.wait_until(min(ready, limit), request.on_cancel)
        if ready > limit:
            upstream.fail()
            raise overdue(request, ReadTimeout(f"{upstream.address} stopped in its answer"), True, lambda: upstream.now)
        if reset or fate.cut:
            upstream.fail()
            raise TruncatedBodyError(f"{upstream.address} ended its answer early")

    def is_ready(self) -> bool:
        """Never promised."""
        return False

    def is_over(self) -> bool:
        """Whether the last byte has been handed out."""
        return self._pieces == 2 or not self._fate.size

    def trailers(self) -> Fields:
        """None."""
        return []

    def take_over(self) -> tuple[Stream, bytes]:
        """Nothing is upgraded here: a ``RuntimeError``."""
        raise RuntimeError("a simulation has no connections to take over")

    def close(self) -> None:
        """The exchange is over. Idempotent."""
        if not self._closed:
            self._closed = True
            deeds = self._upstream.deeds
            if self._is_check:
                deeds.open_checks -= 1
            else:
                deeds.open -= 1
