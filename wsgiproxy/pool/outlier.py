"""Passive health: a backend that fails real requests is ejected for a while.

The rule of the room: pure, told of the time, called under the pool's lock; only what is the backend's own fault is
counted here (``errors.Blame.BACKEND``). The idea and most figures are Envoy's (outlier detection).

There are always fewer ejected than there are backends, and never more than ``max_ejection_percent`` of them, but that
one may always be. Each ejection ends: by time, by a good check, or by a reload that leaves too many of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from wsgiproxy.config import schema
from wsgiproxy.pool.backend import Backend
from wsgiproxy.pool.failure_window import FailureWindow

# What a client can bring about at will, which says nothing of the backend: a method, or a version, that it has not
# (RFC 9110 15.6.2, 15.6.6).
CLIENTS_FAULT = frozenset({501, 505})


def note_failure(backend: Backend, others: Sequence[Backend], block: schema.Outliers, now: float) -> str:
    """One attempt failed: no connection, no answer, or none that was whole.

    Returns why, and for how long, the backend is ejected, empty where it is not; ``others`` are the whole pool.
    """
    backend.gateway_failures += 1
    if not 0 < block.consecutive_gateway_failures <= backend.gateway_failures:
        return ""
    return _eject(backend, others, block, f"{backend.gateway_failures} failures in a row", now)


def note_server_error(backend: Backend, others: Sequence[Backend], block: schema.Outliers, now: float) -> str:
    """One attempt was answered with a 5xx status that is the backend's fault; returns as ``note_failure``."""
    backend.gateway_failures = 0
    backend.server_errors += 1
    if not 0 < block.consecutive_5xx <= backend.server_errors:
        return ""
    return _eject(backend, others, block, f"{backend.server_errors} answers in a row with a 5xx status", now)


def note_share(backend: Backend, others: Sequence[Backend], block: schema.Outliers, now: float) -> str:
    """One attempt that failed in either way is in the backend's window; returns as ``note_failure``."""
    window = backend.window
    if window is None or not block.failure_percent:
        return ""
    attempts, failures = window.attempts, window.failures
    if attempts < block.minimum_requests or failures * 100 < attempts * block.failure_percent:
        return ""
    return _eject(backend, others, block, f"{failures} of {attempts} attempts failed in {window.seconds:g} s", now)


def end_ejections(backends: Sequence[Backend], now: float) -> list[Backend]:
    """Take those back whose time is over: they."""
    back = [backend for backend in backends if 0 < backend.ejected_until <= now]
    for backend in back:
        backend.take_back()
    return back


def next_return(backends: Sequence[Backend]) -> float:
    """When the next ejection ends; 0 where there is none."""
    return min([backend.ejected_until for backend in backends if backend.ejected_until], default=0.0)


def settle(backends: Sequence[Backend], block: schema.Outliers | None) -> list[Backend]:
    """The pool has these backends, and these rules, from now on: whom that takes back.

    Where more are ejected than may be, those come back whose time would be over first.
    """
    share_counts = block is not None and block.failure_percent > 0
    for backend in backends:
        if block is None or not share_counts:
            backend.window = None
        elif backend.window is None or backend.window.seconds != block.window:
            backend.window = FailureWindow(block.window)
    ejected = sorted(
        [backend for backend in backends if backend.ejected_until], key=lambda backend: backend.ejected_until
    )
    back = ejected if block is None else ejected[: max(0, len(ejected) - _most(block, len(backends)))]
    for backend in back:
        backend.take_back()
    return back


def _most(block: schema.Outliers, count: int) -> int:
    """How many of so many backends may be ejected at once."""
    return min(count - 1, max(1, count * block.max_ejection_percent // 100))


def _eject(backend: Backend, others: Sequence[Backend], block: schema.Outliers, why: str, now: float) -> str:
    """Eject the backend unless too many are, or nobody would be left; its checks may have taken it out already."""
    ejected = sum([other.ejected_until > 0 for other in others]) + 1
    left = [other for other in others if other is not backend and other.available]
    backend.forget_failures()  # where it stays: asked again when it fails as often once more
    if backend.ejected_until or backend.health == "unhealthy" or not left or ejected > _most(block, len(others)):
        return ""
    if now - backend.ejected_at > block.max_ejection_time * 2:
        backend.ejections = 0  # it has behaved since
    backend.ejections += 1
    seconds = min(block.base_ejection_time * backend.ejections, block.max_ejection_time)
    backend.ejected_at, backend.ejected_until = now, now + seconds
    return f"is ejected for {seconds:g} s: {why}"
