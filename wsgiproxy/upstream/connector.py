"""The connections of one backend address: idle ones that may be used again, and new ones.

The rule of the room: a connection is here or with one exchange, never both, and the most recently used one is taken
first, so that the others grow old and are closed. It must not know HTTP, pools or other addresses.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from wsgiproxy.config import schema
from wsgiproxy.transport.stream import Stream

_monotonic = time.monotonic


class Connector:
    """Idle connections of one address, and how to make more. ``list.append`` and ``pop`` are atomic: no lock."""

    def __init__(self, address: str, dial: Callable[[float], Stream]) -> None:
        """``dial(deadline)`` makes a connection or raises ``ConnectError`` or ``ConnectTimeout``."""
        self._address = address
        self._dial = dial
        self._idle: list[tuple[float, Stream]] = []  # (when to close it, the connection), the oldest first
        self._closed = False
        self._max_idle = 0
        self._idle_timeout = 0.0

    def __repr__(self) -> str:
        return f"<Connector {self._address}, {len(self._idle)} idle{', closed' if self._closed else ''}>"

    def configure(self, block: schema.KeepAlive) -> None:
        """Take on the limits of a pool's block; they hold from the next connection that is given back."""
        self._max_idle = block.max_idle
        self._idle_timeout = block.idle_timeout

    def idle_connections(self) -> int:
        """How many idle connections are held."""
        return len(self._idle)

    def take(self, look: bool = False) -> Stream | None:
        """An idle connection that is still good, or None; ``look`` as for ``Stream.is_quiet``."""
        idle = self._idle
        while idle:
            try:
                close_at, stream = idle.pop()
            except IndexError:  # another thread took the last one
                return None
            if stream.is_quiet(look) and close_at > _monotonic():
                return stream
            stream.close()
        return None

    def dial(self, deadline: float) -> Stream:
        """A new connection."""
        stream = self._dial(deadline)
        stream.watch(self._evict)
        return stream

    def give_back(self, stream: Stream) -> None:
        """Keep a connection whose last exchange ended cleanly, or close it."""
        idle = self._idle
        now = _monotonic()
        oldest = idle[:1]  # a copy: another thread may take it meanwhile
        if oldest and oldest[0][0] <= now:
            self._close_expired(now)
        if self._closed or len(idle) >= self._max_idle or not stream.is_quiet():
            stream.close()
            return
        idle.append((now + self._idle_timeout, stream))
        if self._closed:  # by another thread, meanwhile
            self.close()

    def close(self) -> None:
        """Close the idle connections, and from now on each one that is given back."""
        self._closed = True
        while self._idle:
            try:
                self._idle.pop()[1].close()
            except IndexError:  # another thread took the last one
                return

    def _close_expired(self, now: float) -> None:
        try:
            while self._idle[0][0] <= now:
                self._idle.pop(0)[1].close()
        except IndexError:  # none is left
            return

    def _evict(self, _reset: bool) -> None:
        """Close the idle connections that the backend has closed, as soon as that is seen."""
        for entry in [entry for entry in self._idle if not entry[1].is_quiet()]:
            self._idle.remove(entry)
            entry[1].close()
