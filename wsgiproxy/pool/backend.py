"""One server of a pool, and everything about it that outlives a reload: health, streaks, in_flight, counters.

The rule of the room: a ``Backend`` is keyed by (pool, address) and lives as long as the configuration names it. Its
numbers are changed under its pool's lock (``Roster.lock``) and read without it. It must not know how it is spoken to
beyond holding its ``Upstream``, nor how it is picked.
"""

from __future__ import annotations

import threading
import time
from typing import Literal

from wsgiproxy.upstream.messages import Upstream

AdminState = Literal["ready", "drain", "maint"]
Health = Literal["checking", "healthy", "unhealthy"]


class Roster:
    """What the generations of one pool share: the lock, and a number that grows when a backend's availability does."""

    __slots__ = ("changes", "lock")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.changes = 0


class Backend:
    """One server of one pool."""

    __slots__ = (
        "address",
        "admin_state",
        "backup",
        "check_reason",
        "checked",
        "checked_at",
        "current_weight",
        "failures",
        "health",
        "in_flight",
        "max_in_flight",
        "picked",
        "pool_name",
        "priority",
        "requests",
        "roster",
        "streak",
        "upstream",
        "weight",
    )  # fmt: skip

    def __init__(self, pool_name: str, address: str, upstream: Upstream, roster: Roster, health: Health) -> None:
        """``address`` is canonical; ``health`` is ``checking`` where the first check is still to come."""
        self.pool_name = pool_name
        self.address = address
        self.upstream = upstream
        self.roster = roster
        self.weight = 1
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
        self.current_weight = 0  # the smooth round robin's account
        self.picked = 0  # least_conn's last pick of it, counted in those of its equals

    def __repr__(self) -> str:
        backup = ", backup" if self.backup else ""
        return (
            f"<Backend {self.pool_name} {self.address}: {self.admin_state}, {self.health}, "
            f"{self.in_flight} in flight, weight {self.weight}{backup}>"
        )

    @property
    def available(self) -> bool:
        """Whether it may be given work: ready, has a weight, and not known to be bad."""
        return self.admin_state == "ready" and self.weight > 0 and self.health != "unhealthy"

    @property
    def full(self) -> bool:
        """Whether as many exchanges are under way as there may be."""
        return 0 < self.max_in_flight <= self.in_flight

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
            if good == (self.health == "healthy") and self.health != "checking":
                self.streak = 0
                return False
            self.streak += 1
            threshold = healthy_threshold if good else unhealthy_threshold
            if self.health != "checking" and self.streak < threshold:
                return False
            self.health = "healthy" if good else "unhealthy"
            self.streak = 0
            self.roster.changes += 1
            return True
