"""What a service manager wants to be told (sd_notify(3)): ready, reloading, stopping, still alive.

The rule of the room: who was not started by such a manager says nothing; one that does not listen changes nothing.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping

_log = logging.getLogger("wsgiproxy")


class Notifier:
    """Speaks to the manager that ``environ`` names, if there is one.

    ``watchdog_interval`` is how often ``alive`` must be called, in seconds, half of what the manager allows; 0: never.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):  # a name in the abstract space (unix(7))
            self._address = f"\0{self._address[1:]}"
        self.watchdog_interval = 0.0
        if self._address and environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            micros = environ.get("WATCHDOG_USEC", "")
            self.watchdog_interval = int(micros) / 2e6 if micros.isdigit() else 0.0

    def __repr__(self) -> str:
        return f"<Notifier to {self._address!r}>"

    def ready(self) -> None:
        """It serves; also after a reload."""
        self._send("READY=1")

    def reloading(self) -> None:
        """It has begun to read its file again; ``ready`` ends that."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """It takes no more clients."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """It still goes round."""
        self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
                sock.sendto(text.encode(), self._address)
        except OSError as error:
            _log.warning("the service manager could not be told %s: %s", text.partition("\n")[0], error.strerror)
