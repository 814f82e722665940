"""A second backend beside the first where that takes long: whose answer begins first, is the one that counts.

The idea is Dean and Barroso's (The Tail at Scale: hedged requests). The rule of the room: only requests that may go to
two backends come here; each racer settles its own lease, and one that has lost is cut off, as if its client had gone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from wsgiproxy.errors import BackendError, HedgeLostError, ProxyError
from wsgiproxy.pool.backend import Backend
from wsgiproxy.pool.pool import Lease, Pool
from wsgiproxy.pool.wait import Wait
from wsgiproxy.proxy.attempt import attempt, is_to_blame
from wsgiproxy.proxy.exchange import Exchange
from wsgiproxy.upstream.messages import UpstreamRequest, UpstreamResponse, may_be_repeated


def may_be_hedged(request: UpstreamRequest) -> bool:
    """Whether two backends may get this request: it changes nothing, and has no body."""
    return request.body is None and not request.upgrade and may_be_repeated(request)


def race(
    exchange: Exchange, pool: Pool, request: UpstreamRequest, lease: Lease, tried: list[Backend], key: int | None
) -> tuple[UpstreamResponse, Lease]:
    """The head of the first answer, and its lease.

    A second backend joins ``tried``. Where no answer comes, the first backend's error is raised, the second one's is in
    the ``exchange`` already, and both leases are released.
    """
    course = _Race(exchange, pool, request)
    first = course.start(lease)
    try:
        course.watch(pool.block.retries.hedge_after)
        other = None
        if first.running and pool.has_other([*tried, lease.backend]) and pool.may_retry(lease, tried):
            other = pool.acquire_now([*tried, lease.backend], key)
        if other is not None:
            course.start(other)
            tried.append(other.backend)
        while course.winner is None and any(racer.running for racer in course.racers):
            course.watch(None)
    except BaseException as error:
        course.stop(error if isinstance(error, ProxyError) else HedgeLostError("nobody waits for it any more"))
        raise
    return course.result()


class _Race:
    """Up to two attempts at one request at the same time."""

    def __init__(self, exchange: Exchange, pool: Pool, request: UpstreamRequest) -> None:
        self.exchange = exchange
        self.request = request
        self.roster = pool.roster
        self.attempt_timeout = pool.attempt_timeout
        self.racers: list[_Racer] = []
        self.winner: _Racer | None = None
        self._over = False  # nobody can win any more
        self._lock = threading.Lock()
        self._news = Wait(self.roster.driver)  # ended when a racer has come to its end

    def start(self, lease: Lease) -> _Racer:
        """Send the request to the backend of this lease."""
        racer = _Racer(self, lease)
        self.racers.append(racer)
        self.roster.driver.spawn(racer.run, f"attempt {lease.backend.address}")
        return racer

    def watch(self, seconds: float | None) -> None:
        """Wait until a racer comes to its end, for at most so many seconds; raises why the client's end ended it."""
        self._news.run(seconds, self.request.on_cancel)
        self._news = Wait(self.roster.driver)

    def finish(self, racer: _Racer, response: UpstreamResponse | None) -> bool:
        """A racer has come to its end; whether its answer is the one."""
        with self._lock:
            wins = response is not None and self.winner is None and not self._over
            if wins:
                self.winner = racer
            racer.running = False
        self._news.end()
        return wins

    def stop(self, error: ProxyError) -> None:
        """Nobody waits for an answer any more."""
        with self._lock:
            self._over = True
            winner, self.winner = self.winner, None
        if winner is not None:
            winner.part()
        for racer in self.racers:
            racer.cut(error)

    def result(self) -> tuple[UpstreamResponse, Lease]:
        """What ``race`` returns, or raises."""
        winner, first = self.winner, self.racers[0]
        for racer in self.racers:
            if racer is winner:
                continue
            if isinstance(racer.error, BackendError):
                if racer is not first or winner is not None:  # else whoever is told of it notes it
                    self.exchange.fail_attempt(racer.lease.backend.address, racer.error, racer.seconds)
            elif racer.running:
                error: ProxyError = HedgeLostError(f"{racer.lease.backend.address} was slower than another")
                racer.cut(error)
                self.exchange.fail_attempt(racer.lease.backend.address, error, self.roster.clock() - racer.began)
        if winner is None or winner.response is None:
            assert first.error is not None, "whoever is not running and has not won has failed"
            raise first.error
        self.exchange.backend = winner.lease.backend.address
        winner.go_on()
        return winner.response, winner.lease


class _Racer:
    """One attempt in a task of its own."""

    def __init__(self, race: _Race, lease: Lease) -> None:
        self._race = race
        self._cancel: Callable[[ProxyError], None] | None = None
        self._cut: ProxyError | None = None
        self._goes_on = False  # it has won: the client's end is its own again
        self.lease = lease
        self.running = True
        self.response: UpstreamResponse | None = None
        self.error: BaseException | None = None
        self.began = race.roster.clock()
        self.seconds = 0.0

    def run(self) -> None:
        """Ask the backend, and settle what is owed it unless this is the winner."""
        race = self._race
        request = race.request.twin(self._on_cancel)
        request.head_by = self.began + race.attempt_timeout
        try:
            self.response = attempt(race.exchange, self.lease.backend, request)
        except BaseException as error:  # noqa: BLE001 - whoever waits for the race raises it
            self.error = error
        self.seconds = race.roster.clock() - self.began
        if self.error is not None:
            self.lease.release(failed=is_to_blame(self.error, request, self.seconds))
        if not race.finish(self, self.response):
            self.part()

    def part(self) -> None:
        """Give back what came too late."""
        if self.response is not None:
            self.response.body.close()
        self.lease.release()

    def cut(self, error: ProxyError) -> None:
        """End the attempt, if it is still under way."""
        self._cut = error
        if self._cancel is not None:
            self._cancel(error)

    def go_on(self) -> None:
        """From here on it is the client's end alone that ends it."""
        self._goes_on = True
        if self._race.request.on_cancel is not None:
            self._race.request.on_cancel(self._cancel)

    def _on_cancel(self, cancel: Callable[[ProxyError], None] | None) -> None:
        self._cancel = cancel
        if self._goes_on:
            if self._race.request.on_cancel is not None:
                self._race.request.on_cancel(cancel)
        elif cancel is not None and self._cut is not None:
            cancel(self._cut)
