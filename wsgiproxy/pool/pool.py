"""A named group of backends: who gets the next request, and what it owes afterwards.

The rule of the room: decide under the lock, act outside it. Who may be picked is worked out only when a backend's
availability has changed, not for each request. A ``Pool`` belongs to one generation of the routing table; its backends
and their ``Roster`` outlive it, so that a lease given by an old generation is settled rightly in a new one.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Sequence
from math import inf

from wsgiproxy.config import schema
from wsgiproxy.config.values import parse_hash_on, parse_status_range
from wsgiproxy.errors import (
    BackendError,
    ExchangeTimeout,
    NoBackendError,
    PoolFullError,
    ProxyError,
    QueueTimeout,
    Retry,
)
from wsgiproxy.pool.backend import Backend, Roster
from wsgiproxy.pool.balance import bounded_hash, make_pick, note_latency
from wsgiproxy.pool.outlier import (
    CLIENTS_FAULT,
    end_ejections,
    next_return,
    note_failure,
    note_server_error,
    note_share,
)
from wsgiproxy.pool.queue import Waiter, hand_out, serve
from wsgiproxy.pool.slow_start import ramp
from wsgiproxy.pool.sticky import Sticky
from wsgiproxy.pool.tiers import Tier, sort_into_tiers
from wsgiproxy.upstream.messages import DEFAULT_TIMEOUTS, OnCancel

FAILURE_LATENCY = 1.0  # seconds that a failed attempt, or a 5xx, counts as at least: to fail fast is not to be fast
_COUNTED = 64  # requests between two looks of the retry budget, at least: one look costs as much as half a pick
_log = logging.getLogger("wsgiproxy.pool")


class Lease:
    """The right to use a backend for one attempt; ``release`` gives it back."""

    __slots__ = ("_bad", "_good", "_pool", "_released", "backend", "detour", "gamble", "taken_at", "waited")

    def __init__(self, pool: Pool, backend: Backend) -> None:
        self._pool = pool
        self.backend = backend
        self._good = False  # the head of the answer was no 5xx, or one by the client's fault
        self._bad = False  # it was another 5xx
        self._released = False
        self.detour = False  # the backend that was preferred is full, and will be asked again
        self.gamble = False  # the backend was known to be bad: the pool panics
        self.taken_at = 0.0  # where the balance wants to know how long answers take
        self.waited = 0.0  # seconds in the queue

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
        if backend.window is not None and (failed or self._good or self._bad):
            self._pool.note_share(backend, failed or self._bad)
        if backend.roster.waiting:
            serve(backend.roster)

    def answered(self, status: int) -> None:
        """The head of an answer has come, with this status."""
        self._good = status < 500 or status in CLIENTS_FAULT
        if self.taken_at:
            self._note_latency(status >= 500)
        if not self._good:
            self._bad = True
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
        "_first", "_known_changes", "_limited", "_news", "_others", "_pick", "_roster", "_timed",
        "attempt_timeout", "backends", "block", "hash_on", "hedges", "name", "retried_statuses", "sticky",
        "timeouts",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        block: schema.Pool,
        backends: tuple[Backend, ...],
        roster: Roster,
        timeouts: schema.Timeouts = DEFAULT_TIMEOUTS,
    ) -> None:
        """``timeouts`` are those of the file and of ``block`` together."""
        self.name = name
        self.timeouts = timeouts
        self.attempt_timeout = block.retries.per_attempt_timeout or inf
        self.block = block
        self.backends = backends
        self._roster = roster
        # the roster's own at each pick: whoever simulates a pool gives it others
        self._pick = make_pick(block.balance, lambda: roster.clock(), lambda: roster.chance())  # noqa: PLW0108
        self.hash_on = None if block.hash_on is None else parse_hash_on(block.hash_on)  # what makes a request's key
        self.retried_statuses = tuple([parse_status_range(text) for text in block.retries.statuses])
        self.sticky: Sticky | None = None  # whose clients stay with their backends, if they do
        self.hedges = block.retries.hedge_after is not None
        self._timed = block.balance == "least_time"
        self._first: tuple[Tier, ...] = ()  # see ``tiers.Tiers``
        self._others: tuple[Tier, ...] = ()
        self._known_changes = -1
        self._limited = any(entry.max_in_flight is not None for entry in block.backends)
        self._news: list[tuple[int, str]] = []  # to be logged outside the lock: level and message

    def __repr__(self) -> str:
        available = sum(backend.available for backend in self.backends)
        return f"<Pool {self.name}: {available} of {len(self.backends)} backends available, {self.block.balance}>"

    @property
    def roster(self) -> Roster:
        """What this generation shares with the ones before and after it."""
        return self._roster

    def acquire(
        self,
        exclude: Collection[Backend] = (),
        key: int | None = None,
        on_cancel: OnCancel | None = None,
        patience: float | None = None,
        ends_by: float = inf,
        prefer: Backend | None = None,
    ) -> Lease:
        """A lease of the backend that is to get the next attempt; one of ``exclude`` only where no other is available.

        ``key`` is the ``hashing.digest`` of what a pool that hashes goes by, None where the request has nothing such.
        Who is asked first is said by ``tiers``, but ``prefer``, of this pool, before all others where it may be given
        work, were it only what must stay with it. ``NoBackendError`` where nobody is available. Where all that are, are
        full, it waits for its turn, unless ``max_queue`` others do: ``PoolFullError``. ``QueueTimeout`` where its turn
        does not come within ``patience`` seconds (None: the pool's), ``ExchangeTimeout`` where not by the instant
        ``ends_by``. Through ``on_cancel`` it is heard that the client has gone; why, is raised.
        """
        roster = self._roster
        waiter: Waiter[Lease] | None = None
        with roster.lock:
            if not exclude:
                roster.requests += 1
                if not roster.requests % _COUNTED:
                    roster.budget.catch_up(roster.requests, roster.clock())
            lease = None
            if roster.waiting and (prefer is None or prefer.full or not prefer.draining):
                self._catch_up()  # (nobody in the queue waits for one that drains and has a place)
            else:
                lease = self.take(exclude, key, prefer)
            if lease is None:
                somebody = bool(self._others) or (prefer is not None and self._admits(prefer))
                if somebody and len(roster.waiting) < self.block.max_queue:
                    waiter = Waiter(roster, self.take, exclude, key, prefer)
                    served = hand_out(roster)
        if self._news:
            self._tell_news()
        if waiter is not None:
            for other in served:
                other.wake()
            return self._wait(waiter, on_cancel, self.timeouts.queue if patience is None else patience, ends_by)
        if lease is not None:
            return lease
        if somebody:
            raise PoolFullError(f"pool {self.name}: every backend has as much work as it may have")
        raise self._nobody()

    def acquire_now(self, exclude: Collection[Backend], key: int | None) -> Lease | None:
        """A lease of another backend than those, if one can take it now without overtaking anybody."""
        roster = self._roster
        with roster.lock:
            return None if roster.waiting or not self.has_other(exclude) else self.take(exclude, key)

    def take(self, exclude: Collection[Backend], key: int | None, prefer: Backend | None = None) -> Lease | None:
        """As ``acquire``, but called under the lock: without a wait, and None where nobody can take one more."""
        self._catch_up()
        detour = False
        if prefer is not None and prefer not in exclude and self._admits(prefer):
            if not prefer.full:
                return self._lease(prefer)
            detour = True
        tiers = self._first
        if exclude:
            tiers = self._others
            if not self.has_other(exclude):
                exclude = ()
        for tier in tiers:
            candidates = self._left(tier, exclude) if exclude or self._limited else tier
            if candidates:
                lease = self._lease(self._pick(candidates) if key is None else bounded_hash(candidates, key))
                if detour:
                    lease.detour = True
                return lease
        return None

    def _admits(self, backend: Backend) -> bool:
        """Whether work that is meant for a backend may go there."""
        for tier in self._first:
            if backend in tier:
                return True
        return backend.draining and backend in self.backends  # a reload may have taken it away meanwhile

    def has_other(self, tried: Collection[Backend]) -> bool:
        """Whether a backend that was not tried is available, full or not."""
        return any(backend not in tried for tier in self._others for backend in tier)

    def check_available(self) -> None:
        """``NoBackendError`` where no backend is available; takes nothing."""
        roster = self._roster
        with roster.lock:
            self._catch_up()
            somebody = bool(self._others)
        if self._news:
            self._tell_news()
        if not somebody:
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

    def note_share(self, backend: Backend, failed: bool) -> None:
        """An attempt is over, by the backend's fault or well, and the share of those that failed counts."""
        ejected = ""
        with self._roster.lock:
            if backend.window is not None:
                backend.window.note(failed, self._roster.clock())
                if failed:
                    ejected = self._note(note_share, backend)
        self._tell(backend, ejected)

    def may_retry(self, lease: Lease, tried: Collection[Backend]) -> bool:
        """Whether one more attempt at the request of this lease is within the pool's means; if so, it counts.

        After a backend that was known to be bad, it costs nothing to go to one that is not, and where there is none at
        all, one attempt is enough.
        """
        block, roster = self.block.retries.budget, self._roster
        if lease.gamble and not self._has_good(()):
            return False
        if block is None or (lease.gamble and self._has_good(tried)):
            return True
        with roster.lock:
            return roster.budget.take(block, roster.requests, roster.clock())

    def verdict(self, lease: Lease, failure: BackendError) -> ProxyError:
        """What to tell a client whose last attempt has failed so.

        That nobody is available, and when to come back, where that was known, and not a byte was sent.
        """
        if lease.gamble and failure.retry is Retry.ALWAYS and not self._has_good(()):
            return self._nobody()
        return failure

    def _has_good(self, tried: Collection[Backend]) -> bool:
        return any(backend.available and backend not in tried for backend in self.backends)

    def _lease(self, backend: Backend) -> Lease:
        roster = self._roster
        backend.in_flight += 1
        backend.requests += 1
        lease = Lease(self, backend)
        if self._timed:
            lease.taken_at = roster.clock()
        if roster.panics:
            lease.gamble = not backend.available
        return lease

    def _wait(self, waiter: Waiter[Lease], on_cancel: OnCancel | None, seconds: float, ends_by: float) -> Lease:
        """What comes of the queue."""
        left = ends_by - self._roster.clock()
        try:
            waiter.wait(max(0.0, min(seconds, left)), on_cancel)
        except BaseException:
            lease = waiter.leave()
            if lease is not None:
                lease.release()
            raise
        lease = waiter.leave()
        if lease is None and left < seconds:
            raise ExchangeTimeout(f"pool {self.name}: every backend was full until its time was over", waiter.waited)
        if lease is None:
            raise QueueTimeout(f"pool {self.name}: every backend was full for {seconds:g} s", waited=waiter.waited)
        lease.waited = waiter.waited
        return lease

    def _note(self, note: Callable[[Backend, Sequence[Backend], schema.Outliers, float], str], backend: Backend) -> str:
        roster = self._roster
        block = roster.outliers
        if block is None or backend not in roster.backends:
            return ""
        ejected = note(backend, roster.backends, block, roster.clock())
        if ejected:
            roster.changes += 1
            roster.returns_at = next_return(roster.backends)
        return ejected

    def _catch_up(self) -> None:
        """Take in what has changed since the last pick; called under the lock."""
        roster = self._roster
        if roster.returns_at and roster.clock() >= roster.returns_at:
            self._end_ejections()
        if roster.ramping:
            ramp(roster, roster.clock())
        if self._known_changes != roster.changes:
            self._sort_into_tiers()

    def _end_ejections(self) -> None:
        roster = self._roster
        for backend in end_ejections(roster.backends, roster.clock()):
            self._news.append((logging.INFO, f"{backend.address} is no longer ejected"))
        roster.returns_at = next_return(roster.backends)

    def _tell(self, backend: Backend, what: str) -> None:
        if what:
            _log.warning("pool %s: %s %s", self.name, backend.address, what)

    def _tell_news(self) -> None:
        news, self._news = self._news, []
        for level, what in news:
            _log.log(level, "pool %s: %s", self.name, what)

    def _left(self, tier: Sequence[Backend], exclude: Collection[Backend]) -> list[Backend]:
        """Those of a tier that may take one more."""
        return [backend for backend in tier if not backend.full and backend not in exclude]

    def _sort_into_tiers(self) -> None:
        """Who may be picked, the best first; called under the lock."""
        roster = self._roster
        self._known_changes = roster.changes
        self._first, self._others, panic = sort_into_tiers(self.backends, self.block.panic_threshold)
        if roster.panics != panic:
            roster.panics = panic
            available = f"{sum([backend.available for backend in self.backends])} of {len(self.backends)} backends"
            if roster.panics:
                self._news.append((logging.WARNING, f"panic: {available} are available, all that are ready get work"))
            else:
                self._news.append((logging.INFO, f"no panic any more: {available} are available"))

    def _nobody(self) -> NoBackendError:
        return NoBackendError(f"pool {self.name}: no backend is available", self._retry_after())

    def _retry_after(self) -> int:
        """Whole seconds until a check may have found a backend again."""
        check = self.block.health_check
        return 1 if check is None else max(1, math.ceil(check.interval_unhealthy or check.interval))
