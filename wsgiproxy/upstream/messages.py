"""What goes to a backend and what comes back, whatever protocol lies between: the seam of this room.

``proxy`` makes an ``UpstreamRequest`` and reads an ``UpstreamResponse``; each kind of backend (``upstream.http``,
``upstream.inprocess``) is an ``Upstream`` that turns the one into the other. Nothing here knows pools, routes or
sockets.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, NamedTuple, Protocol

from wsgiproxy.config import schema
from wsgiproxy.errors import ProxyError
from wsgiproxy.http1.message import NO_BODY, Fields, Framing
from wsgiproxy.http1.writer import field_lines
from wsgiproxy.transport.splice import Piped
from wsgiproxy.transport.stream import Stream

DEFAULT_TIMEOUTS = schema.Timeouts()
IDEMPOTENT = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PUT", "TRACE"})  # may be repeated (RFC 9110 9.2.2)

# Given a function, arranges that it is called with the reason once the client has gone; given None, takes that back.
OnCancel = Callable[[Callable[[ProxyError], None] | None], None]


class RequestBody(Protocol):
    """The client's body, read once from start to end."""

    def read_piece(self) -> bytes | Piped:
        """As ``read_some``, of a body of known length that is only sent on: its bytes may stay in the kernel."""

    def read_some(self) -> bytes:
        """The next piece as soon as any is there; ``b""`` at the end."""

    def end_by(self, instant: float) -> None:
        """Wait for no piece beyond an instant of ``time.monotonic()``, where the host can: ``ExchangeTimeout`` then."""

    def interrupt(self) -> None:
        """Make a ``read_some`` that waits raise ``transport.stream.InterruptedWaitError``, where that is possible."""

    def trailers(self) -> Fields:
        """The trailer fields, once the end was read; none where the body was not chunked."""


class ClientAddress(NamedTuple):
    """Who a connection is from and to, for a PROXY header: IP addresses and ports; empty and 0 where not known."""

    source: str = ""
    source_port: int = 0
    destination: str = ""
    destination_port: int = 0


NOBODY = ClientAddress()


class UpstreamRequest:
    """One request, ready to be sent: every field is end-to-end, legal and final.

    ``target`` is the raw request target; ``host`` the client's authority; ``lines`` are the fields as lines,
    ``fields`` the same as pairs, without Host and the framing fields, which ``framing`` and the upstream's own
    rules decide. ``environ`` is the client's WSGI environ (never changed) and ``script_name``/``path_info``
    (decoded, latin-1) are how a WSGI application of this process must see the path. ``body`` is None where
    ``framing`` is ``NO_BODY``. ``upgrade`` is the protocol that the client asks to switch to, already found fit.
    ``on_early_hints`` takes the fields of each 103. ``trailers`` names the trailer fields, in lower case, that are
    passed on, both ways. ``client`` and ``scheme`` are those of the client that is believed; empty where the
    environ says it all. ``head_by`` is the instant of ``time.monotonic()`` by which the head of the answer must be
    there, ``ends_by`` the one by which all must be over, ``timeouts`` what else it may take.
    """

    __slots__ = (
        "body", "client", "ends_by", "environ", "framing", "head_by", "host", "lines", "method", "on_cancel",
        "on_early_hints", "path_info", "query", "scheme", "script_name", "target", "timeouts", "trailers", "upgrade",
    )  # fmt: skip

    def __init__(
        self,
        method: str,
        target: str,
        host: str,
        fields: Fields,
        *,
        framing: Framing = NO_BODY,
        body: RequestBody | None = None,
        environ: dict[str, Any] | None = None,
        script_name: str = "",
        path_info: str = "",
        query: str = "",
        on_cancel: OnCancel | None = None,
        upgrade: str = "",
        on_early_hints: Callable[[Fields], None] | None = None,
        trailers: tuple[str, ...] = (),
        client: ClientAddress = NOBODY,
        scheme: str = "",
        timeouts: schema.Timeouts = DEFAULT_TIMEOUTS,
        ends_by: float = inf,
    ) -> None:
        self.method = method
        self.target = target
        self.host = host
        self.lines = field_lines(fields) if fields else ""
        self.framing = framing
        self.body = body
        self.environ = environ if environ is not None else {}
        self.script_name = script_name
        self.path_info = path_info
        self.query = query
        self.on_cancel = on_cancel
        self.upgrade = upgrade
        self.on_early_hints = on_early_hints
        self.trailers = trailers
        self.client = client
        self.scheme = scheme
        self.timeouts = timeouts
        self.head_by = inf
        self.ends_by = ends_by

    def twin(self, on_cancel: OnCancel) -> UpstreamRequest:
        """The same request without a body once more, to be cancelled by other means; nobody is told of its 103s."""
        twin = UpstreamRequest(
            self.method,
            self.target,
            self.host,
            [],
            environ=self.environ,
            script_name=self.script_name,
            path_info=self.path_info,
            query=self.query,
            on_cancel=on_cancel,
            trailers=self.trailers,
            client=self.client,
            scheme=self.scheme,
            timeouts=self.timeouts,
            ends_by=self.ends_by,
        )
        twin.lines = self.lines
        return twin

    @property
    def fields(self) -> Fields:
        """The fields as pairs, made of ``lines`` on each call."""
        pairs = (line.partition(": ") for line in self.lines.split("\r\n")[:-1])
        return [(name, value) for name, _, value in pairs]


def may_be_repeated(request: UpstreamRequest) -> bool:
    """Whether a backend that has acted on it may get it once more: by its method, or by the client's word for it.

    That is an Idempotency-Key (draft-ietf-httpapi-idempotency-key-header): the application knows a repetition by it.
    """
    return request.method in IDEMPOTENT or bool(request.environ.get("HTTP_IDEMPOTENCY_KEY"))


class ResponseBody(Protocol):
    """A backend's body: an iterator of pieces. The end is clean; a body cut short raises ``TruncatedBodyError``."""

    def __iter__(self) -> ResponseBody:
        """Itself."""

    def __next__(self) -> bytes:
        """The next piece, never empty, as soon as any is there."""

    def read_piece(self) -> bytes | Piped:
        """The next piece, for a reader who only sends it on: its bytes may stay in the kernel; ``b""`` at the end."""

    def is_ready(self) -> bool:
        """Whether the next piece, or the end, can be had without a wait."""

    def is_over(self) -> bool:
        """Whether the last byte has been handed out, as far as the announced length tells."""

    def trailers(self) -> Fields:
        """The trailer fields that were asked for, once the end was handed out."""

    def take_over(self) -> tuple[Stream, bytes]:
        """After a 101: the connection, and what was received behind the head. ``close`` still closes it."""

    def close(self) -> None:
        """Give back or close what the body came from. Idempotent, at any point."""


class UpstreamResponse:
    """The head of a backend's answer, end-to-end fields only, and its body; ``length`` is that of the body if known.

    ``connect_seconds`` is how long it took to open its connection, 0 where one was open.
    """

    __slots__ = ("body", "connect_seconds", "fields", "length", "reason", "status")

    def __init__(self, status: int, reason: str, fields: Fields, length: int | None, body: ResponseBody) -> None:
        self.status = status
        self.reason = reason
        self.fields = fields
        self.length = length
        self.body = body
        self.connect_seconds = 0.0

    def __repr__(self) -> str:
        return f"<UpstreamResponse {self.status} {self.reason}, {len(self.fields)} fields>"


class Upstream(Protocol):
    """One backend, as something that answers requests."""

    def send(self, request: UpstreamRequest, *, fresh: bool = False) -> UpstreamResponse:
        """Send a request and wait for the head of its answer.

        ``fresh`` forbids a reused connection. Raises a ``BackendError``, or a ``ClientError`` where the client's own
        body fails; whatever it raises, no connection and no application object is left open.
        """

    def check_connect(self, timeout: float) -> None:
        """Connect and hang up (a tcp health check); raises a ``BackendError``."""

    def send_probe(self, request: UpstreamRequest, timeout: float) -> UpstreamResponse:
        """Send a health check on a connection of its own; the whole of it must be done within ``timeout`` seconds."""

    def idle_connections(self) -> int:
        """How many idle connections are held."""

    def configure(self, block: schema.Pool) -> None:
        """Take on the keep-alive, host and PROXY rules of a pool's block; idle connections stay."""

    def close(self) -> None:
        """Close the idle connections; exchanges under way finish and then close theirs. Idempotent."""
