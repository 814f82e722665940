"""One HTTP/1.1 exchange with one backend, over TCP or a unix socket.

The rule of the room: the request is written from its parts, one framing only; the answer is held to the same grammar
as a client's request. Where the exchange ends cleanly the connection goes back to its connector, from one place, the
body's end; in every other case it is closed. Nothing here retries: an error says whether that is safe.
"""

from __future__ import annotations

import time
from math import inf

from wsgiproxy.config import schema
from wsgiproxy.errors import (
    BackendProtocolError,
    ResetError,
    Retry,
    StaleConnectionError,
    TruncatedBodyError,
    WriteTimeout,
)
from wsgiproxy.http1.body import BodyReader
from wsgiproxy.http1.headers import without
from wsgiproxy.http1.message import ResponseHead
from wsgiproxy.http1.parser import END_OF_HEAD, parse_response
from wsgiproxy.http1.writer import LAST_CHUNK, chunk, field_lines, request_head
from wsgiproxy.transport.stream import Stream
from wsgiproxy.upstream.connector import Connector
from wsgiproxy.upstream.messages import IDEMPOTENT, OnCancel, RequestBody, UpstreamRequest, UpstreamResponse

_MAX_HEAD = 64 * 1024  # bytes of an answer's head (nginx proxy_buffer_size: 4k or 8k; HAProxy tune.bufsize: 16k)
_MAX_INTERIM = 16  # 1xx answers before the final one
_RECEIVE = 64 * 1024  # bytes asked for while the head is awaited
_VERSION = b"HTTP/1."
_LENGTH = frozenset({"content-length"})  # what a 204 and a 304 lose (RFC 9110 8.6; gevent.pywsgi fails on it)
_BODY_EXPECTED = frozenset({"PATCH", "POST", "PUT"})  # say "no body" outright (RFC 9110 8.6)

_monotonic = time.monotonic


class HttpUpstream:
    """A backend that speaks HTTP/1.1; see ``upstream.messages.Upstream``."""

    def __init__(self, authority: str, connector: Connector) -> None:
        """``authority`` is the Host that names the backend itself."""
        self._authority = authority
        self._connector = connector
        self._timeouts = schema.PoolTimeouts()
        self._own_host = False

    def __repr__(self) -> str:
        return f"<HttpUpstream {self._authority}, {self._connector!r}>"

    def configure(self, block: schema.Pool) -> None:
        """Take on the timeouts, keep-alive and host rules of a pool's block."""
        self._timeouts = block.timeouts
        self._own_host = block.host == "backend"
        self._connector.configure(block.keep_alive)

    def send(self, request: UpstreamRequest, *, fresh: bool = False) -> UpstreamResponse:
        """Send a request and wait for the head of its answer.

        A request that must not be repeated gets a closer look at the connection that it is to reuse.
        """
        # Before a connection is held: a client may take its time with the first piece of its body.
        first = b"" if request.body is None else request.body.read_some()
        stream = None if fresh else self._connector.take(request.method not in IDEMPOTENT)
        if stream is not None:
            return self._exchange(stream, request, first, True)
        return self._exchange(self._connector.dial(_monotonic() + self._timeouts.connect), request, first, False)

    def send_probe(self, request: UpstreamRequest, timeout: float) -> UpstreamResponse:
        """Send a health check on a connection of its own, which is closed after it."""
        deadline = _monotonic() + timeout
        exchange = _Exchange(self._connector.dial(deadline), None, deadline)
        try:
            return exchange.run(request, request.host or self._authority, self._timeouts)
        except BaseException:
            exchange.close()
            raise

    def check_connect(self, timeout: float) -> None:
        """Connect and hang up."""
        self._connector.dial(_monotonic() + timeout).close()

    def idle_connections(self) -> int:
        """How many idle connections are held."""
        return self._connector.idle_connections()

    def close(self) -> None:
        """Close the idle connections; exchanges under way finish and then close theirs."""
        self._connector.close()

    def _exchange(self, stream: Stream, request: UpstreamRequest, first: bytes, reused: bool) -> UpstreamResponse:
        exchange = _Exchange(stream, self._connector)
        host = self._authority if self._own_host else request.host or self._authority
        try:
            return exchange.run(request, host, self._timeouts, first)
        except ResetError as error:
            exchange.close()
            if reused and not exchange.answered:
                raise _stale(error, exchange.sent) from error
            raise
        except BaseException:
            exchange.close()
            raise


class _Exchange:
    """One request on one connection, and the body of its answer (``upstream.messages.ResponseBody``)."""

    __slots__ = (
        "_connector", "_give_up_at", "_on_cancel", "_piece", "_read_timeout", "_reader", "_reusable", "_stream",
        "answered", "sent",
    )  # fmt: skip

    def __init__(self, stream: Stream, connector: Connector | None, give_up_at: float = inf) -> None:
        """``connector`` takes the connection back after a clean end; no wait is longer than to ``give_up_at``."""
        self._stream: Stream | None = stream
        self._connector = connector
        self._give_up_at = give_up_at
        self._on_cancel: OnCancel | None = None
        self._piece = b""  # the next piece, where it came with the head
        self._reader: BodyReader | None = None  # for what is still to come
        self._reusable = False
        self._read_timeout = 0.0
        self.sent = False  # a byte of the request has left
        self.answered = False  # a byte of the answer has come

    def run(
        self, request: UpstreamRequest, host: str, timeouts: schema.PoolTimeouts, first: bytes = b""
    ) -> UpstreamResponse:
        """Send the request, wait for the head of the answer; the body is this object.

        ``first`` is the first piece of the request's body, empty only where the whole body is.
        """
        stream = self._open_stream()
        self._read_timeout = timeouts.read
        if request.on_cancel is not None:
            self._on_cancel = request.on_cancel
            request.on_cancel(stream.abort)
        head_bytes = _request_head(request, host)
        if request.body is None:
            stream.send_all(head_bytes, timeouts.write)
            self.sent = True
            sent_whole, early = True, b""
        else:
            sent_whole, early = self._send_with_body(stream, head_bytes, request, request.body, first, timeouts.write)
        head, rest = self._read_head(stream, request.method, early)
        framing = head.framing
        self._reusable = head.keep_alive and sent_whole
        if framing.length == len(rest):
            self._piece = rest
            self._finish()
        else:
            self._reader = BodyReader(framing, rest, self._receive, BackendProtocolError, TruncatedBodyError)
            if self._reader.finished:  # no body was announced, yet bytes came
                self._reusable = False
                self._finish()
        fields = without(head.fields, _LENGTH) if head.status in (204, 304) else head.fields
        return UpstreamResponse(head.status, head.reason, fields, framing.length, self)

    def __iter__(self) -> _Exchange:
        return self

    def __next__(self) -> bytes:
        piece = self._piece
        if piece:
            self._piece = b""
            return piece
        reader = self._reader
        if reader is None or self._stream is None:
            raise StopIteration
        try:
            piece = reader.read_some()
        except BaseException:
            self.close()
            raise
        if reader.finished:
            self._reusable = self._reusable and not reader.leftover()
            self._finish()
        if not piece:
            raise StopIteration
        return piece

    def is_ready(self) -> bool:
        """Whether the next piece, or the end, can be had without a wait."""
        return self._stream is None or bool(self._piece) or (self._reader is not None and self._reader.is_ready())

    def is_over(self) -> bool:
        """Whether the last byte has been handed out."""
        return self._stream is None and not self._piece

    def close(self) -> None:
        """Close the connection unless the exchange has ended cleanly, when it was given back."""
        self._reusable = False
        self._finish()

    def _finish(self) -> None:
        """The end, clean or not: the one place where the connection leaves the exchange. Idempotent."""
        stream, self._stream = self._stream, None
        if stream is None:
            return
        if self._on_cancel is not None:
            self._on_cancel(None)
        if self._reusable and self._connector is not None:
            self._connector.give_back(stream)
        else:
            stream.close()

    def _open_stream(self) -> Stream:
        if self._stream is None:
            raise ResetError("the exchange is over")
        return self._stream

    def _deadline(self) -> float:
        return min(_monotonic() + self._read_timeout, self._give_up_at)

    def _receive(self, size: int) -> bytes:
        """For the body's reader; a reset within a body is a cut."""
        try:
            return self._open_stream().recv(size, self._deadline())
        except ResetError as error:
            raise TruncatedBodyError(str(error)) from error

    def _send_with_body(
        self, stream: Stream, head: bytes, request: UpstreamRequest, body: RequestBody, piece: bytes, timeout: float
    ) -> tuple[bool, bytes]:
        """Send head and body piece by piece; whether all was sent, and what was received meanwhile.

        It ends early where the backend refuses, or hangs up, before it has the whole body; a backend that begins any
        other answer may well be reading on. The head goes out with ``piece``, the first one.
        """
        early = b""
        chunked = request.framing.chunked
        left = inf if request.framing.length is None else request.framing.length
        data = head
        try:
            while piece:
                left -= len(piece)
                self.sent = True  # even where it fails: a part may have left, and the backend may act on it
                stream.send_all(data + (chunk(piece) if chunked else piece), timeout)
                data = b""
                if not left:
                    break
                if len(early) <= _MAX_HEAD and not stream.is_quiet():
                    received = stream.recv(_RECEIVE, self._deadline())
                    early += received
                    if not received or _refuses(early, request.method):
                        return False, early
                piece = body.read_some()
            if data or chunked:
                stream.send_all(data + (LAST_CHUNK if chunked else b""), timeout)
        except ResetError:
            return False, early  # it may have refused the body and said so: what it said is read next
        except WriteTimeout:
            if stream.is_quiet():
                raise
            return False, early  # the same, by a backend that stopped reading
        return True, early

    def _read_head(self, stream: Stream, method: str, data: bytes) -> tuple[ResponseHead, bytes]:
        """The head of the final answer, and what was received after it; interim answers are absorbed.

        ``data`` was received already.
        """
        self.answered = bool(data)
        for _ in range(_MAX_INTERIM + 1):
            while (end := data.find(END_OF_HEAD)) < 0:
                if data:
                    _check_partial(data)
                piece = stream.recv(_RECEIVE, self._deadline())
                if not piece:
                    raise ResetError("the backend closed the connection before it answered")
                self.answered = True
                data = data + piece if data else piece
            if end > _MAX_HEAD:
                raise BackendProtocolError(f"the head of the answer is longer than {_MAX_HEAD} bytes")
            head, data = parse_response(data[: end + 4], method), data[end + 4 :]
            if head.status >= 200:
                return head, data
            if head.status == 101:
                raise BackendProtocolError("the backend switched protocols without being asked")
        raise BackendProtocolError(f"more than {_MAX_INTERIM} interim answers")


def _check_partial(data: bytes) -> None:
    """Refuse at once the beginning of a head that no further byte can make right: we would else wait for it."""
    if not data.startswith(_VERSION) and not _VERSION.startswith(data):
        raise BackendProtocolError(f"the answer is not HTTP/1: {data[:20]!r}")
    if data.count(b"\n") != data.count(b"\r\n"):
        raise BackendProtocolError("a line of the answer's head ends without a carriage return")
    if len(data) > _MAX_HEAD:
        raise BackendProtocolError(f"the head of the answer is longer than {_MAX_HEAD} bytes")


def _refuses(data: bytes, method: str) -> bool:
    """Whether ``data``, received while the body was being sent, holds the head of an answer that refuses it."""
    while (end := data.find(END_OF_HEAD)) >= 0:
        status = parse_response(data[: end + 4], method).status
        if status >= 200:
            return status >= 400
        data = data[end + 4 :]
    return False


def _stale(error: ResetError, sent: bool) -> StaleConnectionError:
    """What a dead reused connection means: before a byte of the request has left, another try is always safe."""
    stale = StaleConnectionError(str(error))
    if not sent:
        stale.retry = Retry.ALWAYS
    return stale


def _request_head(request: UpstreamRequest, host: str) -> bytes:
    """The head's bytes: Host first (RFC 9110 7.2), then the fields, then the one framing."""
    framing = request.framing
    length = ""
    if framing.chunked:
        length = "Transfer-Encoding: chunked\r\n"
    elif request.body is not None or request.method in _BODY_EXPECTED:
        length = f"Content-Length: {framing.length}\r\n"
    return request_head(request.method, request.target, f"Host: {host}\r\n{field_lines(request.fields)}{length}")
