"""What became of the latest attempts on one backend: how many there were in a window of time, and how many failed.

The rule of the room: pure, told of the time. The window slides in steps of a tenth of it.
"""

from __future__ import annotations

SLOTS = 10  # of a window; the oldest one is dropped whole, so that at least nine tenths are looked at


class FailureWindow:
    """The attempts of the last ``seconds``."""

    __slots__ = ("_attempts", "_failures", "_latest", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.clear()

    def __repr__(self) -> str:
        return f"<FailureWindow {self.failures} of {self.attempts} attempts failed in {self.seconds:g} s>"

    @property
    def attempts(self) -> int:
        """How many there were, as of the last one."""
        return sum(self._attempts)

    @property
    def failures(self) -> int:
        """How many of them failed."""
        return sum(self._failures)

    def clear(self) -> None:
        """Forget them all."""
        self._attempts = [0] * SLOTS  # by slot, modulo their number
        self._failures = [0] * SLOTS
        self._latest = 0  # the slot of the last attempt, counted from the clock's zero

    def note(self, failed: bool, now: float) -> None:
        """One attempt is over; ``now`` in seconds of a clock that never goes back. O(1) but for a new slot."""
        slot = int(now * SLOTS / self.seconds)
        for passed in range(max(self._latest + 1, slot - SLOTS + 1), slot + 1):
            self._attempts[passed % SLOTS] = self._failures[passed % SLOTS] = 0
        self._latest = slot
        self._attempts[slot % SLOTS] += 1
        self._failures[slot % SLOTS] += failed
