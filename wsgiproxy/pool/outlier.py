"""Passive health: a backend that fails real requests is ejected for a while.

The rule of the room: pure, told of the time, called under the pool's lock; only what is the backend's own fault is
counted here (``errors.Blame.BACKEND``). The idea and most figures are Envoy's (outlier detection).
"""

from __future__ import annotations

from collections.abc import Sequence

from wsgiproxy.config import schema
from wsgiproxy.pool.backend import Backend


def note_failure(backend: Backend, others: Sequence[Backend], block: schema.Outliers, now: float) -> str:
    """One attempt failed: no connection, no answer, or none that was whole.

    Returns why, and for how long, the backend is ejected, empty where it is not; ``others`` are the whole pool.
    """
    backend.gateway_failures += 1
    if backend.gateway_failures != block.consecutive_gateway_failures:
        return ""
    return _eject(backend, others, block, f"{backend.gateway_failures} failures in a row", now)


def note_server_error(backend: Backend, others: Sequence[Backend], block: schema.Outliers, now: float) -> str:
    """One attempt was answered with a 5xx status; returns as ``note_failure``."""
    backend.gateway_failures = 0
    backend.server_errors += 1
    if backend.server_errors != block.consecutive_5xx:
        return ""
    return _eject(backend, others, block, f"{backend.server_errors} answers in a row with a 5xx status", now)


def end_ejections(backends: Sequence[Backend], now: float) -> list[Backend]:
    """Take those back whose time is over: they."""
    back = [backend for backend in backends if 0 < backend.ejected_until <= now]
    for backend in back:
        backend.take_back()
    return back


def next_return(backends: Sequence[Backend]) -> float:
    """When the next ejection ends; 0 where there is none."""
    return min([backend.ejected_until for backend in backends if backend.ejected_until], default=0.0)


def _eject(backend: Backend, others: Sequence[Backend], block: schema.Outliers, why: str, now: float) -> str:
    """Eject the backend unless too many are, or nobody would be left."""
    ejected = sum([other.ejected_until > 0 for other in others]) + 1
    left = [other for other in others if other is not backend and other.available]
    if backend.ejected_until or not left or ejected > max(1, len(others) * block.max_ejection_percent // 100):
        backend.gateway_failures = backend.server_errors = 0  # asked again when it fails as often once more
        return ""
    if now - backend.ejected_at > block.max_ejection_time * 2:
        backend.ejections = 0  # it has behaved since
    backend.ejections += 1
    seconds = min(block.base_ejection_time * backend.ejections, block.max_ejection_time)
    backend.ejected_at, backend.ejected_until = now, now + seconds
    return f"is ejected for {seconds:g} s: {why}"
