"""How much of its work a backend gets that has just come, or come back: caches are cold, pools are empty.

The rule of the room: told of the time. The curve is Envoy's (slow_start_config); HAProxy's is its straight one.
"""

from __future__ import annotations

from wsgiproxy.config import schema
from wsgiproxy.pool.backend import SHARE, Roster

_INTERVAL = 0.1  # seconds between two looks


def ramped(block: schema.SlowStart, seconds: float) -> float:
    """The part of its weight, above 0 and at most 1, that a backend has so many seconds after it began."""
    if seconds >= block.duration:
        return 1.0
    part: float = (max(seconds, 0.0) / block.duration) ** (1 / block.aggression)
    return max(block.floor / 100, part)


def ramp(roster: Roster, now: float) -> None:
    """Work out the shares of those that start slowly, unless that was just done; called under the lock. O(n)."""
    block = roster.slow_start
    if now - roster.ramped_at < _INTERVAL:
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
