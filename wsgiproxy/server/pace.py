"""How slow a client may be: the deadlines for what it sends and for what it takes.

The rule of the room: a client is never waited for without a deadline, and a deadline is moved by bytes, not by time:
who sends or takes a byte now and then is late all the same. Only time spent waiting for the client counts. The idea is
Kestrel's (MinRequestBodyDataRate, MinResponseDataRate). This module must not know HTTP.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from math import inf
from typing import TypeVar

from wsgiproxy.config import schema
from wsgiproxy.transport.splice import Piped
from wsgiproxy.transport.stream import InterruptedWaitError, Stream

_monotonic = time.monotonic


Received = TypeVar("Received", bytes, bytes | Piped)


class Pace:
    """What one listener asks of its clients; durations in seconds, ``rate`` in bytes a second, 0 for none."""

    __slots__ = ("body", "rate", "response", "write")

    def __init__(self, timeouts: schema.ClientTimeouts, limits: schema.Limits) -> None:
        self.body = timeouts.body
        self.write = timeouts.write
        self.response = timeouts.response
        self.rate = limits.min_rate

    def send(self, stream: Stream, data: bytes | Piped, over: float = inf) -> None:
        """Send all of ``data``, by the instant ``over`` at the latest."""
        if self.rate:
            late = _monotonic() + self.write + len(data) / self.rate
            if late < over:  # noqa: PLR1730 - min() costs more, and every answer comes by here
                over = late
        stream.send_all(data, self.write, over)


class BodySource:
    """Receives one request's body from the client, which must keep pace."""

    __slots__ = ("_pace", "_received", "_stream", "_waited", "_waiting", "interrupted", "over")

    def __init__(self, stream: Stream, pace: Pace, received: int) -> None:
        """``received`` is the number of bytes that came with the head."""
        self._stream = stream
        self._pace = pace
        self._received = received
        self._waited = 0.0  # seconds that the client has been waited for
        self._waiting = False
        self.interrupted = False  # since the reader of the body was last asked for a piece
        self.over = inf  # the instant at which all waiting ends

    def receive(self, size: int) -> bytes:
        """Up to ``size`` bytes as soon as any are there, ``b""`` at the end; ``RequestTimeout`` where it is late."""
        return self._receive(self._stream.recv, size)

    def receive_piece(self, size: int) -> bytes | Piped:
        """The same, of bytes that may stay in the kernel."""
        return self._receive(self._stream.recv_piece, size)

    def interrupt(self) -> None:
        """Make the ``receive`` that waits, if there is one, raise ``InterruptedWaitError``."""
        if self._waiting:
            self.interrupted = True
            self._stream.interrupt()

    def _receive(self, receive: Callable[[int, float], Received], size: int) -> Received:
        if self.interrupted:  # bytes ended the wait that was meant, but no piece has come of them
            raise InterruptedWaitError("the wait was interrupted")
        pace = self._pace
        started = _monotonic()
        allowed = pace.body
        if pace.rate:
            allowed = min(allowed, pace.body + self._received / pace.rate - self._waited)
        self._waiting = True
        try:
            data = receive(size, min(started + allowed, self.over))
        finally:
            self._waiting = False
            self._waited += _monotonic() - started
        self._received += len(data)
        return data
