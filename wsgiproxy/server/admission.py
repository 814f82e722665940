"""Who may come in: how many connections one client address may have open at once.

The rule of the room: whoever is counted on entering is counted out on leaving, whatever happened between. Clients
without an address (Unix sockets) are not counted. This module must not know sockets.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

_LOG_INTERVAL = 1.0  # seconds between two lines about clients that were turned away

_log = logging.getLogger("wsgiproxy.server")


class Admission:
    """The connections of one listener, counted by client address."""

    def __init__(self, most: int, now: Callable[[], float] = time.monotonic) -> None:
        """``most`` is the number for one address, 0 for no limit."""
        self._most = most
        self._now = now
        self._counts: dict[str, int] = {}
        self._addresses: dict[object, str] = {}
        self._turned_away = 0  # since the last line about it
        self._silent_until = 0.0

    def __repr__(self) -> str:
        return f"<Admission {len(self._addresses)} connections of {len(self._counts)} clients>"

    def admits(self, address: str) -> bool:
        """Whether a client at this address may have one more connection; says so in the log where it may not."""
        if not self._most or self._counts.get(address, 0) < self._most:
            return True
        self._turned_away += 1
        if self._now() >= self._silent_until:
            self._silent_until = self._now() + _LOG_INTERVAL
            _log.warning(
                "%s has %d connections open, no more are taken; turned away since the last such line: %d",
                address, self._most, self._turned_away,
            )  # fmt: skip
            self._turned_away = 0
        return False

    def enter(self, connection: object, address: str) -> None:
        """A connection is open now."""
        if self._most and address:
            self._addresses[connection] = address
            self._counts[address] = self._counts.get(address, 0) + 1

    def leave(self, connection: object) -> None:
        """A connection has ended; one that never entered does no harm."""
        address = self._addresses.pop(connection, None)
        if address is not None:
            self._counts[address] -= 1
            if not self._counts[address]:
                del self._counts[address]
