"""How much of its work a backend gets that has just come, or come back: caches are cold, pools are empty.

The rule of the room: pure. The curve is Envoy's (slow_start_config); HAProxy's slowstart is its straight one.
"""

from __future__ import annotations

from wsgiproxy.config import schema


def ramped(block: schema.SlowStart, seconds: float) -> float:
    """The part of its weight, above 0 and at most 1, that a backend has so many seconds after it began."""
    if seconds >= block.duration:
        return 1.0
    part: float = (max(seconds, 0.0) / block.duration) ** (1 / block.aggression)
    return max(block.floor / 100, part)
