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
from typing import Any, Literal

from wsgiproxy.config import schema
from wsgiproxy.pool.budget import RetryBudget
from wsgiproxy.pool.hashing import digest
from wsgiproxy.transport.choose import choose_driver
from wsgiproxy.transport.stream import Driver
from wsgiproxy.upstream.messages import Upstream

SHARE = 100  # units of work for a weight of 1: fine enough for the first percent of a slow start
AdminState = Literal["ready", "drain", "maint"]
Health = Literal["checking", "healthy", "unhealthy"]


class Roster:
    """What the generations of one pool share: the lock, clock, chance, how to wait, its queue, retries and two numbers.

    ``changes`` grows with each change of a backend's availability, ``requests`` with each request, retries not counted.
    ``backends`` and ``slow_start`` are the latest generation's: an older one may still be asked for a backend, and must
    not work out who is due by what it knows itself.
    """

    __slots__ = (
        "backends", "budget", "chance", "changes", "clock", "driver", "lock", "panics", "ramped_at", "ramping",
        "requests", "returns_at", "slow_start", "waiting",
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
        self.slow_start: schema.SlowStart | None = None
        self.lock = threading.Lock()
        self.waiting: deque[Any] = deque()  # of ``queue.Waiter``, who came first in front
        self.panics = False  # so few are available that all must help, see ``tiers``
        self.ramping = False  # somebody may be starting slowly
        self.ramped_at = 0.0  # when the shares were last worked out
        self.returns_at = 0.0  # when the next ejection ends; 0: nobody is ejected
        self.changes = 0
        self.requests = 0
        self.budget = RetryBudget()


class Backend:
    """One server of one pool."""

    __slots__ = (
        "added",
        "address",
        "admin_state",
        "backup",
        "check_reason",
        "checked",
        "checked_at",
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
        "ramp_from",
        "requests",
        "roster",
        "seed",
        "server_errors",
        "share",
        "streak",
        "upstream",
        "weight",
    )  # fmt: skip

    def __init__(self, pool_name: str, address: str, upstream: Upstream, roster: Roster, health: Health) -> None:
        """``address`` is canonical; ``health`` is ``checking`` where the first check is still to come."""
        self.pool_name = pool_name
        self.address = address
        self.seed = digest(address)  # of the waits for keys, see ``hashing``
        self.upstream = upstream
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
        self.checked = health == "checking"  # health checks are made
        self.streak = 0  # checks in a row that contradict ``health``
        self.check_reason = ""  # of the last check: why it was bad; empty for a good one
        self.checked_at = 0.0  # time.monotonic(); 0: never
        self.in_flight = 0
        self.requests = 0  # attempts sent here
        self.failures = 0  # attempts that failed by this backend's fault
        self.gateway_failures = 0  # in a row
        self.server_errors = 0  # answers with a 5xx status in a row
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
        """Whether it is ready, has a weight, and is not known to be bad by its checks."""
        return self.works and self.health != "unhealthy"

    @property
    def works(self) -> bool:
        """Whether it is ready and has a weight."""
        return self.admin_state == "ready" and self.weight > 0

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
        self.gateway_failures = self.server_errors = 0
        self.roster.changes += 1
        self.start_slowly()

    def record_check(
        self, reason: str, healthy_threshold: int, unhealthy_threshold: int, now: float | None = None
    ) -> bool:
        """Take in the result of a check, ``reason`` being empty for a good one; whether ``health`` changed.

        The first result decides; after that it takes a streak of contrary results (HAProxy's rise and fall).
        """
        good = not reason
        with self.roster.lock:
            if not self.checked:
                return False  # taken off while this one was under way: nothing would ever correct it
            self.check_reason = reason
            self.checked_at = time.monotonic() if now is None else now
            if good and self.ejected_until:
                self.take_back()  # Envoy: successful_active_health_check_uneject_host
            if good == (self.health == "healthy") and self.health != "checking":
                self.streak = 0
                return False
            self.streak += 1
            threshold = healthy_threshold if good else unhealthy_threshold
            if self.health != "checking" and self.streak < threshold:
                return False
            if good and (self.added or self.health == "unhealthy"):
                self.start_slowly()
            self.health = "healthy" if good else "unhealthy"
            self.streak = 0
            self.roster.changes += 1
            return True
