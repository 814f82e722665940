"""How many retries a pool may make, so that they cannot multiply an outage.

The rule of the room: pure, told of the time; nothing is done for a request that needs no retry but to count it, which
the pool does, and a look now and then. The idea is Finagle's (RetryBudget: 20 % of the requests of a sliding window,
and some a second).
"""

from __future__ import annotations

from wsgiproxy.config import schema

WINDOW = 10  # seconds that the budget looks back (Finagle: 10), in slots of one


class RetryBudget:
    """The retries of one pool in the last ``WINDOW`` seconds beside the requests that it got."""

    __slots__ = ("_at", "_requests", "_retries", "_total")

    def __init__(self, began: float = 0.0) -> None:
        """``began`` is since when requests are counted, an instant of the clock that ``take`` is told of."""
        self._requests = [0.0] * WINDOW  # by second, modulo the window
        self._retries = [0] * WINDOW
        self._at = began  # the last look
        self._total = 0  # requests counted until then

    def __repr__(self) -> str:
        return f"<RetryBudget {sum(self._retries)} retries of {sum(self._requests):.0f} requests in {WINDOW} s>"

    def take(self, block: schema.RetryBudget, total: int, now: float) -> bool:
        """Whether one more retry may be made, which then counts. O(``WINDOW``).

        ``total`` is how many requests the pool has had, ever; ``now`` a ``time.monotonic()`` instant in seconds.
        """
        self.catch_up(total, now)
        allowed = max(block.percent / 100 * sum(self._requests), block.per_second * WINDOW)
        if sum(self._retries) + 1 > allowed:
            return False
        self._retries[int(now) % WINDOW] += 1
        return True

    def catch_up(self, total: int, now: float) -> None:
        """Begin the seconds since the last look; the requests since then are taken to have come evenly. O(``WINDOW``).

        To be called now and then, lest the requests of a busy minute be spread over the quiet hours before it.
        """
        at, new = min(self._at, now), total - self._total
        first, last = int(at), int(now)
        for second in range(max(first + 1, last - WINDOW + 1), last + 1):
            self._requests[second % WINDOW] = 0.0
            self._retries[second % WINDOW] = 0
        for second in range(max(first, last - WINDOW + 1), last + 1):
            within = min(second + 1, now) - max(second, at)
            self._requests[second % WINDOW] += new * within / (now - at) if now > at else new
        self._at, self._total = now, total
