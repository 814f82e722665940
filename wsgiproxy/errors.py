"""Every error that the proxy raises on purpose.

An error knows three things about itself, so that nobody above has to guess from its type:

* ``status``: the HTTP status that tells the client about it (499 is only ever logged);
* ``blame``: whose fault it is; only ``BACKEND`` counts against a backend;
* ``retry``: whether, and when, another attempt is safe.

Errors are born at the edge where the fact is known (the transport, the grammar, the pool) and are caught in two
places: ``proxy.forward`` asks whether to try again, ``proxy.app`` renders what is left. This module imports nothing.
"""

from __future__ import annotations

import enum


class Blame(enum.Enum):
    """Whose fault an error is."""

    CLIENT = "client"
    BACKEND = "backend"
    PROXY = "proxy"
    OPERATOR = "operator"


class Retry(enum.Enum):
    """When another attempt is safe."""

    NEVER = "never"
    ALWAYS = "always"  # not one byte of the request was sent
    IDEMPOTENT = "idempotent"  # the backend may have acted on it: only methods that may be repeated (RFC 9110 9.2.2)


class ProxyError(Exception):
    """The base of them all; ``reason`` is the word that the access log prints."""

    status = 500
    blame = Blame.PROXY
    retry = Retry.NEVER
    reason = "internal_error"


# --- ours -------------------------------------------------------------------------------------------------------------


class NoBackendError(ProxyError):
    """No backend of the pool is available; ``retry_after`` (whole seconds) says when to come back.

    ``waited`` is for how many seconds the request was in the pool's queue.
    """

    status = 503
    reason = "no_backend"

    def __init__(self, message: str, retry_after: int = 1, waited: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.waited = waited


class PoolFullError(NoBackendError):
    """Every available backend of the pool has as many exchanges under way as it may have."""

    reason = "pool_full"


class QueueTimeout(NoBackendError):
    """Every available backend of the pool stayed full for as long as a request may wait for one."""

    reason = "queue_timeout"


class OutOfResourcesError(ProxyError):
    """This process has no descriptor or memory left for a connection to a backend: no backend is to blame."""

    status = 503
    reason = "out_of_resources"


class ScoreboardError(ProxyError):
    """The memory that the processes of one proxy share cannot be used: another version, damaged, or full."""

    status = 503
    reason = "scoreboard_error"


class ExchangeTimeout(ProxyError):
    """The whole exchange took longer than it may: who is to blame, of client and backends, is not known.

    ``waited`` is for how many seconds it was in the pool's queue, where it came to its end.
    """

    status = 504
    reason = "total_timeout"

    def __init__(self, message: str, waited: float = 0.0) -> None:
        super().__init__(message)
        self.waited = waited


class HedgeLostError(ProxyError):
    """An attempt that was given up because another backend, asked beside it, has answered first: nobody's fault."""

    reason = "hedge_lost"


class NotFoundError(ProxyError):
    """No route matches the request."""

    status = 404
    blame = Blame.CLIENT
    reason = "no_route"


# --- the backend's ----------------------------------------------------------------------------------------------------


class BackendError(ProxyError):
    """Anything that a backend did wrong.

    ``passing`` is whether it may be over in moments, so that where there is no other backend the same is worth asking
    again: it said no at once, and has done nothing.
    """

    passing = False
    status = 502
    blame = Blame.BACKEND
    reason = "backend_error"


class ConnectError(BackendError):
    """A connection to the backend could not be made (refused, unreachable, no such name)."""

    passing = True
    retry = Retry.ALWAYS
    reason = "connect_error"


class ConnectTimeout(BackendError):
    """The backend did not accept a connection in time."""

    status = 504
    retry = Retry.ALWAYS
    reason = "connect_timeout"


class TlsTimeout(ConnectTimeout):
    """The backend did not end the TLS handshake in time."""

    reason = "tls_timeout"


class AttemptTimeout(BackendError):
    """The head of the answer did not come within what one attempt may take; ``ALWAYS`` where nothing was sent."""

    status = 504
    retry = Retry.IDEMPOTENT
    reason = "attempt_timeout"


class StaleConnectionError(BackendError):
    """A reused connection died before any byte of the answer came back.

    Worth a fresh connection to the same backend: most likely it was closed for having been idle too long. ``retry`` is
    ``ALWAYS`` where not even the request could be sent.
    """

    retry = Retry.IDEMPOTENT
    reason = "stale_connection"


class ReadTimeout(BackendError):
    """The backend was silent for longer than the read timeout."""

    status = 504
    retry = Retry.IDEMPOTENT
    reason = "read_timeout"


class FirstByteTimeout(ReadTimeout):
    """The backend had not begun to answer within the first-byte timeout."""

    reason = "first_byte_timeout"


class WriteTimeout(BackendError):
    """The backend did not take the request's bytes in time."""

    status = 504
    retry = Retry.IDEMPOTENT
    reason = "write_timeout"


class ResetError(BackendError):
    """The backend closed or reset a fresh connection before it answered."""

    retry = Retry.IDEMPOTENT
    reason = "backend_reset"


class BackendProtocolError(BackendError):
    """The backend's answer is not HTTP/1.1 as RFC 9112 has it."""

    reason = "backend_protocol"


class TlsError(BackendError):
    """The backend's TLS handshake failed, or its certificate was not good: not one byte of the request was sent."""

    retry = Retry.ALWAYS
    reason = "tls_error"


class RetriedStatusError(BackendError):
    """The answer had one of the statuses that the pool tries again after, and was given up for another attempt."""

    passing = True
    retry = Retry.IDEMPOTENT
    reason = "retried_status"

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class TruncatedBodyError(BackendError):
    """The backend's answer ended before its announced end: the client must see a cut, never a clean end."""

    reason = "truncated_body"


class AppError(BackendError):
    """A WSGI application of this process, serving as a backend, raised or broke PEP 3333."""

    status = 500
    reason = "app_error"


# --- the client's -----------------------------------------------------------------------------------------------------


class ClientError(ProxyError):
    """Anything that a client did wrong."""

    status = 400
    blame = Blame.CLIENT
    reason = "bad_request"


class BadRequestError(ClientError):
    """The request is not HTTP/1.1 as RFC 9112 has it, or is ambiguous."""


class ContentTooLargeError(ClientError):
    """The request's body is longer than the listener takes."""

    status = 413
    reason = "content_too_large"


class TargetTooLongError(ClientError):
    """The request target is longer than the listener takes."""

    status = 414
    reason = "target_too_long"


class HeadersTooLargeError(ClientError):
    """The request's header section is longer, or has more fields, than the listener takes."""

    status = 431
    reason = "headers_too_large"


class NotImplementedByProxyError(ClientError):
    """The request asks for a transfer coding or a feature that this proxy, or this host server, does not have."""

    status = 501
    reason = "not_implemented"


class TooManyConnectionsError(ClientError):
    """One client address has more connections open than the listener takes."""

    status = 429
    reason = "too_many_connections"


class VersionNotSupportedError(ClientError):
    """The request is in an HTTP version other than 1.0 and 1.1."""

    status = 505
    reason = "version_not_supported"


class RequestTimeout(ClientError):
    """The client did not finish its request in time."""

    status = 408
    reason = "client_timeout"


class ClientDisconnectedError(ClientError):
    """The client went away; the status is for the log alone (nginx's 499)."""

    status = 499
    reason = "client_disconnected"


# --- the operator's ---------------------------------------------------------------------------------------------------


class ConfigError(ProxyError):
    """One mistake in the configuration.

    ``file``, ``line`` and ``column`` (both from 1; 0 where there is no position) say where, ``key`` is the path of the
    key (``pools.web.backends[1]``; empty for the file itself), ``problem`` says what is wrong and what to do about it.
    """

    blame = Blame.OPERATOR
    reason = "config_error"

    def __init__(self, problem: str, *, file: str = "", line: int = 0, column: int = 0, key: str = "") -> None:
        self.problem = problem
        self.file = file
        self.line = line
        self.column = column
        self.key = key
        super().__init__(str(self))

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return ": ".join(part for part in (where, self.key, self.problem) if part)


class InvalidConfigError(ProxyError):
    """A configuration that was refused whole; ``mistakes`` lists every ``ConfigError`` found, in file order."""

    blame = Blame.OPERATOR
    reason = "config_error"

    def __init__(self, mistakes: list[ConfigError]) -> None:
        self.mistakes = mistakes
        super().__init__("\n".join(str(mistake) for mistake in mistakes))
