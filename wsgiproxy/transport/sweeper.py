"""Deadlines that cost next to nothing while nothing is late: one timer for all streams of a hub.

The rule of the room: a wait only notes its deadline; finding the few that have passed is done here, coarsely, on the
loop's own time. This module must not know what a stream waits for.
"""

from __future__ import annotations

import time
from math import inf
from typing import Any, Protocol

from wsgiproxy.transport.stream import SWEEP_INTERVAL

_monotonic = time.monotonic


class Swept(Protocol):
    """What is looked at; ``bucket`` is the sweeper's own note of where it has it, 0 for nowhere."""

    bucket: int

    def check_deadlines(self, now: float) -> float:
        """End the waits that are late at ``now``; the earliest deadline that is left, ``inf`` for none."""


class Sweeper:
    """Finds the waits whose deadline has passed, by looking at each stream once per deadline rather than per wait.

    A stream stands in the bucket of the earliest deadline that it had when it was put there. When a bucket's time
    comes, the streams in it that have moved on are put into a later one, and those that are late are told so.
    """

    def __init__(self, loop: Any) -> None:
        self._buckets: dict[int, set[Swept]] = {}
        self._next = int(_monotonic() / SWEEP_INTERVAL)
        self._timer = loop.timer(SWEEP_INTERVAL, SWEEP_INTERVAL, ref=False)
        self._timer.start(self._sweep)

    def put(self, stream: Swept, deadline: float) -> None:
        """Look at ``stream`` when ``deadline`` has passed."""
        index = max(int(deadline / SWEEP_INTERVAL) + 1, self._next)
        self.remove(stream)
        stream.bucket = index
        self._buckets.setdefault(index, set()).add(stream)

    def remove(self, stream: Swept) -> None:
        """Look at ``stream`` no more."""
        bucket = self._buckets.get(stream.bucket)
        if bucket is not None:
            bucket.discard(stream)
        stream.bucket = 0

    def _sweep(self) -> None:
        now = _monotonic()
        while self._next <= now / SWEEP_INTERVAL:
            streams = self._buckets.pop(self._next, ())
            self._next += 1
            for stream in streams:
                stream.bucket = 0
                deadline = stream.check_deadlines(now)
                if deadline < inf:
                    self.put(stream, deadline)
