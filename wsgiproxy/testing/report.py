"""What a simulation has shown: counted while it runs by a ``Ledger``, told at its end by a ``Report``.

The rule of the room: nothing here influences what happens. All times are seconds; instants are seconds since the
simulation began.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple, TypeVar

from wsgiproxy.pool.backend import Backend, Roster
from wsgiproxy.proxy.exchange import Exchange
from wsgiproxy.testing.behaviour import Spell
from wsgiproxy.testing.upstream import SimulatedUpstream
from wsgiproxy.upstream.messages import IDEMPOTENT

Key = TypeVar("Key", int, str)


class Change(NamedTuple):
    """A backend's state from an instant on.

    ``state`` is ``available``, or why it is not: ``ejected``, ``unhealthy``, ``draining`` and so on. Of the whole pool,
    where ``address`` is empty, it is ``panic`` or ``no panic``.
    """

    at: float
    address: str
    state: str


@dataclass(frozen=True)
class BackendReport:
    """One backend: ``attempts`` of requests that it got, and how many of them failed, be it by a 5xx status.

    ``most_in_flight`` is how many it had under way at once at the most; ``share`` its part of the pool's attempts over
    what its weight would give it among all (1.0: just that).
    """

    attempts: int
    failed: int
    most_in_flight: int
    share: float


@dataclass(frozen=True)
class Outage:
    """A time of trouble in one backend's script, and how the pool took it. An instant is None where it never came.

    From ``began`` to ``ended`` the backend was not well; ``first_failure`` is when an attempt or a check first failed
    there, ``out_at`` when it was taken out of the rotation, ``back_at`` when it was given work again. ``attempts``
    were begun there meanwhile, and ``failed`` failed, older ones among them. ``extra_load`` is the most that another
    backend got in that time, over its fair share of the requests that came, by weight among all backends.
    """

    address: str
    behaviour: str
    began: float
    ended: float | None
    first_failure: float | None
    out_at: float | None
    back_at: float | None
    attempts: int
    failed: int
    extra_load: float

    @property
    def to_detect(self) -> float | None:
        """Seconds from the first failure until no more requests went there."""
        if self.out_at is None:
            return None
        return 0.0 if self.first_failure is None else max(0.0, self.out_at - self.first_failure)

    @property
    def to_return(self) -> float | None:
        """Seconds from its recovery until it was given work again."""
        return None if self.back_at is None or self.ended is None else self.back_at - self.ended

    def __str__(self) -> str:
        return (
            f"{self.address} {self.behaviour} from {self.began:g} s to {_seconds(self.ended)}: "
            f"{self.attempts} attempts begun, {self.failed} failed, detected in {_seconds(self.to_detect)}, "
            f"back in {_seconds(self.to_return)}, others had up to {self.extra_load:.2f} of their share"
        )


@dataclass(frozen=True)
class Report:
    """What came of a simulation of so many ``seconds``. Two of the same simulation and seed are equal.

    ``requests`` were offered; ``statuses`` counts their answers, the proxy's own included, and ``reasons`` how they
    ended, in the words of the access log (``done``, ``read_timeout``, ``truncated_body`` ...). ``failed_idempotent``
    and ``failed_other`` are the errors that clients saw, a 5xx status or a cut answer: of requests that may be
    repeated, and of the others. ``retry_after`` counts the answers with that field by its seconds.

    ``attempts`` were made at backends: each request's first, ``retries`` and ``hedges``; ``failed_attempts`` counts by
    reason those that brought no answer that was delivered. ``latencies`` are those of all requests, from their coming
    to the last byte, in ascending order. ``longest_queue`` is how many waited at once for a backend that was not full.
    ``still_in_flight`` is what was not given back at the end: anything but 0 is a defect.
    """

    seconds: float
    requests: int
    statuses: Mapping[int, int]
    reasons: Mapping[str, int]
    failed_idempotent: int
    failed_other: int
    retry_after: Mapping[int, int]
    attempts: int
    retries: int
    hedges: int
    failed_attempts: Mapping[str, int]
    latencies: tuple[float, ...] = field(repr=False)
    longest_queue: int
    still_in_flight: int
    backends: Mapping[str, BackendReport]
    outages: tuple[Outage, ...]
    changes: tuple[Change, ...]
    _requests_at: tuple[float, ...] = field(repr=False)
    _attempts_at: Mapping[str, tuple[float, ...]] = field(repr=False)

    @property
    def p50(self) -> float:
        """The median latency in seconds."""
        return self.quantile(0.5)

    @property
    def p99(self) -> float:
        """The latency in seconds that one request in a hundred exceeds."""
        return self.quantile(0.99)

    def quantile(self, part: float) -> float:
        """The latency in seconds that this part (0 to 1) of the requests does not exceed; 0 without requests."""
        return _quantile(self.latencies, part)

    def requests_between(self, begin: float, end: float) -> int:
        """How many requests came from an instant on and before another."""
        return _between(self._requests_at, begin, end)

    def attempts_between(self, begin: float, end: float, address: str | None = None) -> int:
        """How many attempts were begun in that time at one backend, by its canonical address, or at all of them."""
        chosen = self._attempts_at.values() if address is None else (self._attempts_at[address],)
        return sum(_between(instants, begin, end) for instants in chosen)

    def __str__(self) -> str:
        lines = [
            f"{self.requests} requests in {self.seconds:g} s: {_counts(self.statuses)}; {_counts(self.reasons)}",
            f"errors: {self.failed_idempotent} of idempotent requests, {self.failed_other} of others",
            f"attempts: {self.attempts}, of which {self.retries} retries and {self.hedges} hedges; "
            f"failed: {_counts(self.failed_attempts) or 'none'}",
            f"latency: {self.p50 * 1000:.1f} ms (p50), {self.p99 * 1000:.1f} ms (p99); "
            f"longest queue: {self.longest_queue}",
        ]
        if len(self.backends) <= 20:
            for address, backend in self.backends.items():
                lines.append(
                    f"{address}: {backend.attempts} attempts, {backend.failed} failed, "
                    f"{backend.share:.2f} of its share, {backend.most_in_flight} at once at the most"
                )
        lines += [str(outage) for outage in self.outages[:20]]
        return "\n".join(lines)


class Ledger:
    """Counts while a simulation runs."""

    def __init__(self) -> None:
        self.longest_queue = 0
        self._statuses: Counter[int] = Counter()
        self._reasons: Counter[str] = Counter()
        self._retry_after: Counter[int] = Counter()
        self._failed_attempts: Counter[str] = Counter()
        self._failed = [0, 0]  # other, idempotent
        self._requests_at: list[float] = []
        self._latencies: list[float] = []
        self._attempted = 0  # requests that reached a backend
        self._changes: list[Change] = []
        self._states: dict[str, str] = {}
        self._known_changes = -1
        self._panics = False

    def ask(self, now: float) -> None:
        """A request has come."""
        self._requests_at.append(now)

    def end(self, exchange: Exchange, method: str) -> None:
        """A request is over."""
        self._statuses[exchange.status] += 1
        self._reasons[exchange.reason] += 1
        self._latencies.append(exchange.ended_at - exchange.started_at)
        self._attempted += exchange.attempts > 0
        for failed in exchange.failures or ():
            self._failed_attempts[failed.reason] += 1
        gone = exchange.reason == "client_disconnected"
        if not gone and (exchange.status >= 500 or exchange.reason != "done"):
            idempotent = method in IDEMPOTENT or bool(exchange.environ.get("HTTP_IDEMPOTENCY_KEY"))
            self._failed[idempotent] += 1

    def tell_when_to_return(self, seconds: int) -> None:
        """An answer told the client to come back after so many seconds."""
        self._retry_after[seconds] += 1

    def look(self, roster: Roster, now: float) -> None:
        """Note what has changed in the pool."""
        self.longest_queue = max(self.longest_queue, len(roster.waiting))
        if roster.panics != self._panics:
            self._panics = roster.panics
            self._changes.append(Change(now, "", "panic" if self._panics else "no panic"))
        if roster.changes == self._known_changes:
            return
        self._known_changes = roster.changes
        for backend in roster.backends:
            state = _state(backend)
            if self._states.get(backend.address) != state:
                self._states[backend.address] = state
                self._changes.append(Change(now, backend.address, state))

    def report(self, seconds: float, backends: Iterable[Backend], upstreams: Mapping[str, SimulatedUpstream]) -> Report:
        """All that was seen; ``backends`` are those of the last generation, ``upstreams`` all that ever were."""
        backends = list(backends)
        attempts = sum(len(upstream.deeds.attempts) for upstream in upstreams.values())
        hedges = sum(upstream.deeds.hedges for upstream in upstreams.values())
        weights = {backend.address: backend.weight for backend in backends if not backend.backup}
        told = {address: self._of_backend(address, upstreams[address], attempts, weights) for address in upstreams}
        left = sum(backend.in_flight for backend in backends)
        left += sum(upstream.deeds.open + upstream.deeds.open_checks for upstream in upstreams.values())
        return Report(
            seconds=seconds,
            requests=len(self._requests_at),
            statuses=_sorted(self._statuses),
            reasons=_sorted(self._reasons),
            failed_idempotent=self._failed[1],
            failed_other=self._failed[0],
            retry_after=_sorted(self._retry_after),
            attempts=attempts,
            retries=attempts - self._attempted - hedges,
            hedges=hedges,
            failed_attempts=_sorted(self._failed_attempts),
            latencies=tuple(sorted(self._latencies)),
            longest_queue=self.longest_queue,
            still_in_flight=left,
            backends=told,
            outages=tuple(self._outages(seconds, upstreams, weights)),
            changes=tuple(self._changes),
            _requests_at=tuple(self._requests_at),
            _attempts_at={address: tuple(upstream.deeds.attempts) for address, upstream in upstreams.items()},
        )

    def _of_backend(
        self, address: str, upstream: SimulatedUpstream, attempts: int, weights: Mapping[str, int]
    ) -> BackendReport:
        deeds = upstream.deeds
        fair = attempts * weights.get(address, 0) / max(1, sum(weights.values()))
        return BackendReport(
            attempts=len(deeds.attempts),
            failed=len(deeds.failed),
            most_in_flight=deeds.most_open,
            share=len(deeds.attempts) / fair if fair else 0.0,
        )

    def _outages(
        self, seconds: float, upstreams: Mapping[str, SimulatedUpstream], weights: Mapping[str, int]
    ) -> Iterable[Outage]:
        spells = [
            (spell, address)
            for address, upstream in upstreams.items()
            for spell in upstream.script.spells()
            if spell.begin < seconds
        ]
        for spell, address in sorted(spells, key=lambda pair: pair[0].begin):
            yield self._outage(spell, address, seconds, upstreams, weights)

    def _outage(
        self,
        spell: Spell,
        address: str,
        seconds: float,
        upstreams: Mapping[str, SimulatedUpstream],
        weights: Mapping[str, int],
    ) -> Outage:
        deeds, end = upstreams[address].deeds, min(spell.end, seconds)
        changes = [change for change in self._changes if change.address == address]
        out_at = _first(change.at for change in changes if change.at >= spell.begin and change.state != "available")
        before = [change.state for change in changes if change.at <= spell.end]
        back_at = None
        if spell.end < inf:
            back_at = _first(change.at for change in changes if change.at > spell.end and change.state == "available")
            if not before or before[-1] == "available":
                back_at = spell.end
        requests, total = _between(self._requests_at, spell.begin, end), max(1, sum(weights.values()))
        extra = 0.0
        for other, weight in weights.items():
            if other != address and weight and requests:
                got = _between(upstreams[other].deeds.attempts, spell.begin, end)
                extra = max(extra, got / (requests * weight / total))
        return Outage(
            address=address,
            behaviour=type(spell.behaviour).__name__,
            began=spell.begin,
            ended=None if spell.end == inf else spell.end,
            first_failure=_first(at for at in deeds.failures if at >= spell.begin),
            out_at=out_at,
            back_at=back_at,
            attempts=_between(deeds.attempts, spell.begin, end),
            failed=_between(deeds.failed, spell.begin, end),
            extra_load=extra,
        )


def _state(backend: Backend) -> str:
    if backend.available:
        return "available"
    if backend.admin_state != "ready":
        return backend.admin_state
    if backend.health in {"unhealthy", "draining"}:
        return backend.health
    return "ejected" if backend.ejected_until else backend.health


def _between(instants: list[float] | tuple[float, ...], begin: float, end: float) -> int:
    return bisect_left(instants, end) - bisect_left(instants, begin)


def _first(instants: Iterable[float]) -> float | None:
    return next(iter(instants), None)


def _quantile(ascending: tuple[float, ...], part: float) -> float:
    if not ascending:
        return 0.0
    return ascending[max(0, math.ceil(part * len(ascending)) - 1)]


def _sorted(counts: Counter[Key]) -> dict[Key, int]:
    return {key: counts[key] for key in sorted(counts)}


def _counts(counts: Mapping[int, int] | Mapping[str, int]) -> str:
    return ", ".join(f"{number} x {key}" for key, number in counts.items())


def _seconds(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.2f} s"
