"""One server of a pool, and everything about it that outlives a reload: health, streaks, in_flight, counters.

The rule of the room: a ``Backend`` is keyed by (pool, address) and lives as long as the configuration names it. Its
numbers are changed under its pool's lock (``Roster.lock``) and read without it. It must not know how it is spoken to
beyond holding its ``Upstream``, nor how it is picked.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any, Literal, NamedTuple

from wsgiproxy.config import schema
from wsgiproxy.pool.budget import RetryBudget
from wsgiproxy.pool.failure_window import FailureWindow
from wsgiproxy.pool.hashing import digest
from wsgiproxy.transport.choose import choose_driver
from wsgiproxy.transport.stream import Driver
from wsgiproxy.upstream.messages import Upstream

SHARE = 100  # units of work for a weight of 1: fine enough for the first percent of a slow start
AdminState = Literal["ready", "drain", "maint"]
Health = Literal["checking", "healthy", "draining", "unhealthy"]  # draining: well, and asks for no new work
Verdict = Literal["good", "drain", "bad"]
KEPT_RESULTS = 10  # of checks, for who wants to know why (HAProxy shows the last one)


class CheckResult(NamedTuple):
    """One check: the instant of the roster's clock at its end, what it found, and how long it took, in seconds.

    ``reason`` says why it was not good; it is empty for a good one.
    """

    at: float
    verdict: Verdict
    seconds: float
    reason: str


class HealthReport(NamedTuple):
    """What a backend's checks have found.

    ``health`` is so since the instant ``changed_at`` (0: from the beginning); ``alike`` is how many checks in a row
    found what the last one did, ``streak`` how many in a row contradict ``health``. ``results`` are the last
    ``KEPT_RESULTS``, the latest one last.
    """

    health: Health
    changed_at: float
    alike: int
    streak: int
    results: tuple[CheckResult, ...]


class Roster:
    """What the generations of one pool share: the lock, clock, chance, how to wait, its queue, retries and two numbers.

    ``changes`` grows with each change of a backend's availability, ``requests`` with each request, retries not counted.
    ``backends``, ``outliers`` and ``slow_start`` are the latest generation's: an older one may still be asked for a
    backend, or told of a failure, and must not work out who is due by what it knows itself.
    """

    __slots__ = (
        "backends", "budget", "chance", "changes", "clock", "driver", "lock", "outliers", "panics", "ramped_at",
        "ramping", "requests", "returns_at", "slow_start", "waiting",
    )  # fmt: skip

    def __init__(
        self,
        driver: Driver | None = None,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """``driver`` is how this process waits, by default what suits it; ``clock`` is the driver's."""
        self.driver = choose_driver() if driver is None else driver
        self.clock = clock
        self.chance = chance  # at least 0, below 1
        self.backends: tuple[Backend, ...] = ()
        self.outliers: schema.Outliers | None = None
        self.slow_start: schema.SlowStart | None = None
        self.lock = threading.Lock()
        self.waiting: deque[Any] = deque()  # of ``queue.Waiter``, who came first in front
        self.panics = False  # so few are available that all must help, see ``tiers``
        self.ramping = False  # somebody may be starting slowly
        self.ramped_at = 0.0  # when the shares were last worked out
        self.returns_at = 0.0  # when the next ejection ends; 0: nobody is ejected
        self.changes = 0
        self.requests = 0
        self.budget = RetryBudget(clock())


class Backend:
    """One server of one pool."""

    __slots__ = (
        "added",
        "address",
        "admin_state",
        "alike",
        "awaited",
        "backup",
        "changed_at",
        "checked",
        "current_weight",
        "ejected_at",
        "ejected_until",
        "ejections",
        "failures",
        "gateway_failures",
        "health",
        "in_flight",
        "latency",
        "latency_at",
        "max_in_flight",
        "picked",
        "pool_name",
        "priority",
        "prober",
        "ramp_from",
        "requests",
        "results",
        "roster",
        "seed",
        "server_errors",
        "share",
        "streak",
        "upstream",
        "weight",
        "window",
    )  # fmt: skip

    def __init__(self, pool_name: str, address: str, upstream: Upstream, roster: Roster, health: Health) -> None:
        """``address`` is canonical; ``health`` is ``checking`` where the first check is still to come."""
        self.pool_name = pool_name
        self.address = address
        self.seed = digest(address)  # of the waits for keys, see ``hashing``
        self.upstream = upstream
        self.prober = upstream  # what checks are made with
        self.roster = roster
        self.weight = 1
        self.share = SHARE  # of the work: the weight times SHARE, less for a while after ramp_from
        self.ramp_from = 0.0  # when a slow start began, a time.monotonic() instant; 0: none is under way
        self.added = False  # to a pool that was at work already
        self.priority = 0
        self.backup = False
        self.max_in_flight = 0  # 0: as many as come
        self.admin_state: AdminState = "ready"
        self.health: Health = health
        self.awaited = False  # no work before its first check
        self.checked = health == "checking"  # health checks are made
        self.changed_at = 0.0  # when health changed last
        self.streak = 0  # checks in a row that contradict ``health``
        self.alike = 0  # checks in a row that found what the last one did
        self.results: tuple[CheckResult, ...] = ()  # the last ones, the latest one last
        self.in_flight = 0
        self.requests = 0  # attempts sent here
        self.failures = 0  # attempts that failed by this backend's fault
        self.gateway_failures = 0  # in a row
        self.server_errors = 0  # answers with a 5xx status in a row
        self.window: FailureWindow | None = None  # where the share of failures counts
        self.ejections = 0  # how often in the recent past
        self.ejected_at = -inf  # the last time, a time.monotonic() instant
        self.ejected_until = 0.0  # 0: it is not ejected
        self.current_weight = 0  # the smooth round robin's account
        self.picked = 0  # the last pick of it, counted in those of its equals: for balances that rotate among them
        self.latency = 0.0  # seconds to the first byte, a peak EWMA as of the instant latency_at; for least_time
        self.latency_at = 0.0

    def __repr__(self) -> str:
        backup = ", backup" if self.backup else ""
        return (
            f"<Backend {self.pool_name} {self.address}: {self.admin_state}, {self.health}"
            f"{', ejected' if self.ejected_until else ''}, "
            f"{self.in_flight} in flight, weight {self.weight}{backup}>"
        )

    @property
    def available(self) -> bool:
        """Whether it may be given work: fit, and not ejected."""
        return self.fit and not self.ejected_until

    @property
    def fit(self) -> bool:
        """Whether it is one of those that work, and is not known to be bad by its checks."""
        return self.works and self.health != "unhealthy"

    @property
    def works(self) -> bool:
        """Whether it is ready, has a weight, does not ask to be drained, and does not wait for its first check."""
        return self.admin_state == "ready" and self.weight > 0 and self.health != "draining" and not self.awaited

    @property
    def draining(self) -> bool:
        """Whether it gets no new work, yet may go on with what must stay with it: by its operator's or its own wish."""
        if self.admin_state == "maint" or self.health == "unhealthy" or self.ejected_until:
            return False
        return self.admin_state == "drain" or self.health == "draining" or self.weight == 0

    @property
    def full(self) -> bool:
        """Whether as many exchanges are under way as there may be."""
        return 0 < self.max_in_flight <= self.in_flight

    def start_slowly(self) -> None:
        """Begin with a small share of the work, where the pool wants that; called under the lock."""
        self.ramp_from = self.roster.clock()
        self.added = False
        self.roster.ramping = True
        self.roster.ramped_at = 0.0

    def take_back(self) -> None:
        """End an ejection; called under the lock."""
        self.ejected_until = 0.0
        self.forget_failures()
        self.roster.changes += 1
        self.start_slowly()

    def forget_failures(self) -> None:
        """Count failures of real requests from now on; called under the lock."""
        self.gateway_failures = self.server_errors = 0
        if self.window is not None:
            self.window.clear()

    def record_check(
        self,
        reason: str,
        healthy_threshold: int,
        unhealthy_threshold: int,
        *,
        drains: bool = False,
        seconds: float = 0.0,
    ) -> bool:
        """Take in the result of a check, which took so long; whether ``health`` changed.

        ``reason`` says why it is not good; ``drains`` that the backend asks for no new work. The first result decides;
        after that it takes a streak of contrary results (HAProxy's rise and fall) to be unhealthy, or no longer so. To
        drain and to return from that is the backend's own decision, which counts at once.
        """
        verdict: Verdict = "good" if not reason else "drain" if drains else "bad"
        with self.roster.lock:
            if not self.checked:
                return False  # taken off while this one was under way: nothing would ever correct it
            now = self.roster.clock()
            self.alike = self.alike + 1 if self.results and self.results[-1].verdict == verdict else 1
            self.results = (*self.results[1 - KEPT_RESULTS :], CheckResult(now, verdict, seconds, reason))
            old, new = self.health, self._judge(verdict, healthy_threshold, unhealthy_threshold)
            # Envoy: successful_active_health_check_uneject_host. One that was ejected again after that is taken back
            # only where the checks have seen it fail, too: else they see nothing of what is wrong with it.
            seen = self.ejections <= 1 or (new == "healthy" and old == "unhealthy")
            if verdict == "good" and self.ejected_until and now - seconds >= self.ejected_at and seen:
                self.take_back()
            if new == old:
                return False
            if new == "healthy" and (self.added or old != "checking"):
                self.start_slowly()
            self.health = new
            self.awaited = False
            self.changed_at = now
            self.streak = 0
            self.roster.changes += 1
            return True

    def health_report(self) -> HealthReport:
        """What its checks have found, of one moment."""
        with self.roster.lock:
            return HealthReport(self.health, self.changed_at, self.alike, self.streak, self.results)

    def stop_checks(self) -> bool:
        """It is checked no more, and counts as healthy from now on; whether it did not before. Under the lock."""
        changed = self.health != "healthy"
        if changed:
            self.changed_at = self.roster.clock()
        self.health = "healthy"
        self.checked = self.awaited = False
        self.streak = self.alike = 0
        self.results = ()
        return changed

    def _judge(self, verdict: Verdict, healthy_threshold: int, unhealthy_threshold: int) -> Health:
        """The health after one more check."""
        bad, was_bad = verdict == "bad", self.health == "unhealthy"
        meant: Health = "unhealthy" if bad else "healthy" if verdict == "good" else "draining"
        if bad == was_bad or self.health == "checking":
            self.streak = 0
            return meant
        self.streak += 1
        return meant if self.streak >= (unhealthy_threshold if bad else healthy_threshold) else self.health
