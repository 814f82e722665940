"""Receive and send on a non-blocking descriptor: compiled where that was built, by the ``os`` module elsewhere.

Nothing is raised for the normal case that there is nothing to receive, or no room to send; ``OSError`` for the rest.
"""

from __future__ import annotations

import os

try:
    from wsgiproxy.transport._calls import receive, send
except ImportError:

    def receive(fd: int, size: int) -> bytes | None:
        """Up to ``size`` bytes, ``b""`` at the end of the stream, None for nothing yet."""
        try:
            return os.read(fd, size)
        except BlockingIOError:
            return None

    def send(fd: int, data: bytes | memoryview) -> int | None:
        """How many bytes of ``data`` the kernel took; None where it has no room."""
        try:
            return os.write(fd, data)
        except BlockingIOError:
            return None


__all__ = ["receive", "send"]
