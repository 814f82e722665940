"""A named group of backends: who gets the next request, and what it owes afterwards.

The rule of the room: decide under the lock, act outside it. Who may be picked is worked out only when a backend's
availability has changed, not for each request. A ``Pool`` belongs to one generation of the routing table; its backends
and their ``Roster`` outlive it, so that a lease given by an old generation is settled rightly in a new one.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Sequence

from wsgiproxy.config import schema
from wsgiproxy.config.values import parse_hash_on
from wsgiproxy.errors import NoBackendError, PoolFullError
from wsgiproxy.pool.backend import SHARE, Backend, Roster
from wsgiproxy.pool.balance import bounded_hash, make_pick, note_latency
from wsgiproxy.pool.outlier import end_ejections, next_return, note_failure, note_server_error
from wsgiproxy.pool.slow_start import ramped

FAILURE_LATENCY = 1.0  # seconds that a failed attempt, or a 5xx, counts as at least: to fail fast is not to be fast
_RAMP_INTERVAL = 0.1  # seconds between two looks at the shares of a slow start
_log = logging.getLogger("wsgiproxy.pool")


class Lease:
    """The right to use a backend for one attempt; ``release`` gives it back."""

    __slots__ = ("_good", "_pool", "_released", "backend", "taken_at")

    def __init__(self, pool: Pool, backend: Backend) -> None:
        self._pool = pool
        self.backend = backend
        self._good = False  # the head of the answer was no 5xx
        self._released = False
        self.taken_at = 0.0  # where the balance wants to know how long answers take

    def __repr__(self) -> str:
        return f"<Lease of {self.backend!r}{', released' if self._released else ''}>"

    def release(self, failed: bool = False) -> None:
        """The attempt is over; ``failed`` by the backend's fault. Idempotent."""
        backend = self.backend
        with backend.roster.lock:
            if self._released:
                return
            self._released = True
            backend.in_flight -= 1
        if failed:
            if self.taken_at:
                self._note_latency(True)
            self._pool.note_failure(backend)
        elif self._good and (backend.gateway_failures or backend.server_errors):
            backend.gateway_failures = backend.server_errors = 0

    def answered(self, status: int) -> None:
        """The head of an answer has come, with this status."""
        self._good = status < 500
        if self.taken_at:
            self._note_latency(status >= 500)
        if status >= 500:
            self._pool.note_server_error(self.backend)

    def stop_clock(self) -> None:
        """How long the answer takes will say nothing of the backend: it waits for somebody else, too."""
        self.taken_at = 0.0

    def _note_latency(self, failed: bool) -> None:
        roster = self.backend.roster
        with roster.lock:
            now = roster.clock()
            seconds = now - self.taken_at
            note_latency(self.backend, max(seconds, FAILURE_LATENCY) if failed else seconds, now)
        self.taken_at = 0.0


class Pool:
    """A named group of backends in one generation of the routing table."""

    __slots__ = (
        "_known_changes", "_limited", "_pick", "_roster", "_tiers", "_timed", "backends", "block", "hash_on", "name",
    )  # fmt: skip

    def __init__(self, name: str, block: schema.Pool, backends: tuple[Backend, ...], roster: Roster) -> None:
        self.name = name
        self.block = block
        self.backends = backends
        self._roster = roster
        # the roster's own at each pick: whoever simulates a pool gives it others
        self._pick = make_pick(block.balance, lambda: roster.clock(), lambda: roster.chance())  # noqa: PLW0108
        self.hash_on = None if block.hash_on is None else parse_hash_on(block.hash_on)  # what makes a request's key
        self._timed = block.balance == "least_time"
        self._tiers: tuple[tuple[Backend, ...], ...] = ()
        self._known_changes = -1
        self._limited = any(entry.max_in_flight is not None for entry in block.backends)

    def __repr__(self) -> str:
        available = sum(backend.available for backend in self.backends)
        return f"<Pool {self.name}: {available} of {len(self.backends)} backends available, {self.block.balance}>"

    @property
    def roster(self) -> Roster:
        """What this generation shares with the ones before and after it."""
        return self._roster

    def acquire(self, exclude: Collection[Backend] = (), key: int | None = None) -> Lease:
        """A lease of the backend that is to get the next attempt; never one of ``exclude``.

        ``key`` is the ``hashing.digest`` of what a pool that hashes goes by, None where the request has nothing such.
        Healthy backends first, those of the lowest priority before the others and backup ones last; then those not
        checked yet, likewise. ``NoBackendError`` where none is left, ``PoolFullError`` where all that are, are full.
        """
        roster = self._roster
        with roster.lock:
            if not exclude:
                roster.requests += 1
            if roster.returns_at and roster.clock() >= roster.returns_at:
                self._end_ejections()
            if roster.ramping:
                self._ramp(roster.clock())
            if self._known_changes != roster.changes:
                self._sort_into_tiers()
            for tier in self._tiers:
                candidates = self._left(tier, exclude) if exclude or self._limited else tier
                if candidates:
                    backend = self._pick(candidates) if key is None else bounded_hash(candidates, key)
                    backend.in_flight += 1
                    backend.requests += 1
                    lease = Lease(self, backend)
                    if self._timed:
                        lease.taken_at = roster.clock()
                    return lease
            full = [backend for tier in self._tiers for backend in tier if backend.full and backend not in exclude]
        if full:
            raise PoolFullError(f"pool {self.name}: every backend has as much work as it may have")
        raise self._nobody()

    def check_available(self) -> None:
        """``NoBackendError`` where no backend is available; takes nothing."""
        roster = self._roster
        with roster.lock:
            if self._known_changes != roster.changes:
                self._sort_into_tiers()
            if self._tiers:
                return
        raise self._nobody()

    def note_failure(self, backend: Backend) -> None:
        """An attempt failed by the backend's fault."""
        with self._roster.lock:
            backend.failures += 1
            ejected = self._note(note_failure, backend)
        self._tell(backend, ejected)

    def note_server_error(self, backend: Backend) -> None:
        """An attempt was answered with a 5xx status."""
        with self._roster.lock:
            ejected = self._note(note_server_error, backend)
        self._tell(backend, ejected)

    def may_retry(self, now: float) -> bool:
        """Whether one more attempt at a request that has failed is within the pool's means; if so, it counts."""
        block, roster = self.block.retry_budget, self._roster
        if block is None:
            return True
        with roster.lock:
            return roster.budget.take(block, roster.requests, now)

    def _note(self, note: Callable[[Backend, Sequence[Backend], schema.Outliers, float], str], backend: Backend) -> str:
        block, roster = self.block.outliers, self._roster
        if block is None:
            return ""
        ejected = note(backend, self.backends, block, roster.clock())
        if ejected:
            roster.changes += 1
            roster.returns_at = next_return(roster.backends)
        return ejected

    def _ramp(self, now: float) -> None:
        """Work out the shares of those that start slowly."""
        roster = self._roster
        block = roster.slow_start
        if now - roster.ramped_at < _RAMP_INTERVAL:
            return
        roster.ramped_at = now
        roster.ramping = False
        for backend in roster.backends:
            if backend.ramp_from:
                part = 1.0 if block is None else ramped(block, now - backend.ramp_from)
                backend.share = max(1, int(backend.weight * SHARE * part))
                if part < 1:
                    roster.ramping = True
                else:
                    backend.ramp_from = 0.0
        roster.changes += 1

    def _end_ejections(self) -> None:
        roster = self._roster
        for backend in end_ejections(roster.backends, roster.clock()):
            self._tell(backend, "is no longer ejected", logging.INFO)
        roster.returns_at = next_return(roster.backends)

    def _tell(self, backend: Backend, what: str, level: int = logging.WARNING) -> None:
        if what:
            _log.log(level, "pool %s: %s %s", self.name, backend.address, what)

    def _left(self, tier: Sequence[Backend], exclude: Collection[Backend]) -> list[Backend]:
        """Those of a tier that may take one more."""
        return [backend for backend in tier if not backend.full and backend not in exclude]

    def _sort_into_tiers(self) -> None:
        """Who may be picked, the best first; called under the lock."""
        self._known_changes = self._roster.changes
        tiers: dict[tuple[bool, bool, int], list[Backend]] = {}
        fit = [backend for backend in self.backends if backend.fit]
        for backend in [backend for backend in fit if not backend.ejected_until] or fit:  # better ejected than nobody
            rank = (backend.health == "checking", backend.backup, backend.priority)
            tiers.setdefault(rank, []).append(backend)
        self._tiers = tuple([tuple(tiers[rank]) for rank in sorted(tiers)])

    def _nobody(self) -> NoBackendError:
        return NoBackendError(f"pool {self.name}: no backend is available", self._retry_after())

    def _retry_after(self) -> int:
        """Whole seconds until a check may have found a backend again."""
        check = self.block.health_check
        return 1 if check is None else max(1, math.ceil(check.interval))
