"""What happened to one client request: which route and backend, how many attempts, how long, how it ended.

Everything that the access log prints is collected here while the request travels; ``finish`` hands it over once. This
module must not know how the log looks, nor decide anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from wsgiproxy.errors import ProxyError
from wsgiproxy.http1.message import RequestHead
from wsgiproxy.proxy.client import ClientFacts

_monotonic = time.monotonic


class FailedAttempt(NamedTuple):
    """One attempt that brought no answer: at which backend, why (an error's ``reason``), how long it took."""

    backend: str
    reason: str
    seconds: float


class Exchange:
    """One client request. Times are ``time.monotonic()`` instants; ``reason`` is why it ended as it did."""

    __slots__ = (
        "_log", "attempts", "backend", "bytes_sent", "client", "connect_seconds", "ended_at", "environ", "failures",
        "first_byte_at", "head", "pool", "queue_seconds", "reason", "route", "started_at", "status",
    )  # fmt: skip

    def __init__(self, environ: dict[str, Any], log: Callable[[Exchange], None] | None) -> None:
        """``log`` is called with the exchange when it is over."""
        self._log = log
        self.environ = environ
        self.head: RequestHead | None = None
        self.client: ClientFacts | None = None  # None: nobody is believed but the peer itself
        self.started_at = _monotonic()
        self.first_byte_at = 0.0  # when the head of the answer was there; 0: never
        self.ended_at = 0.0
        self.route = ""
        self.pool = ""
        self.backend = ""
        self.attempts = 0
        self.failures: list[FailedAttempt] | None = None  # None: there was none
        self.queue_seconds = 0.0  # waited for a backend that is not full
        self.connect_seconds = 0.0  # to open the connection that the answer came on; 0: one was open
        self.status = 0
        self.bytes_sent = 0  # of the body
        self.reason = "done"

    @property
    def address(self) -> str:
        """The client's, empty where it has none."""
        return self.client.address if self.client is not None else self.environ.get("REMOTE_ADDR") or ""

    def fail(self, error: ProxyError) -> None:
        """Note why it did not end well."""
        self.reason = error.reason

    def fail_attempt(self, backend: str, error: ProxyError, seconds: float) -> None:
        """Note why an attempt brought no answer."""
        if self.failures is None:
            self.failures = []
        self.failures.append(FailedAttempt(backend, error.reason, seconds))

    def finish(self) -> None:
        """It is over: tell the log. Idempotent."""
        log, self._log = self._log, None
        if log is not None:
            self.ended_at = _monotonic()
            log(self)
