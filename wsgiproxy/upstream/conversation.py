"""One request on one connection, and the answer to it, as it is read.

The rule of the room: the request is written from its parts, one framing only; the answer is held to the same grammar
as a client's request. The connection leaves from one place, the end, clean or not. A backend may answer before it has
the whole body: a refusal ends the upload; any other answer is delivered while a task of the driver sends the rest, or
after the upload where nobody can do both at once. Not even its end ends the upload: the backend may want it all.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from math import inf

from wsgiproxy.config import schema
from wsgiproxy.errors import (
    BackendProtocolError,
    FirstByteTimeout,
    ProxyError,
    ReadTimeout,
    ResetError,
    TruncatedBodyError,
    WriteTimeout,
)
from wsgiproxy.http1.body import BodyReader, Received
from wsgiproxy.http1.headers import allowed_trailers, without
from wsgiproxy.http1.message import Fields, ResponseHead
from wsgiproxy.http1.parser import END_OF_HEAD, parse_response
from wsgiproxy.http1.writer import request_head
from wsgiproxy.transport.splice import Piped
from wsgiproxy.transport.stream import InterruptedWaitError, Stream, Task
from wsgiproxy.upstream.connector import Connector
from wsgiproxy.upstream.deadlines import overdue
from wsgiproxy.upstream.messages import OnCancel, UpstreamRequest, UpstreamResponse
from wsgiproxy.upstream.upload import Upload

Spawn = Callable[[Callable[[], None], str], Task]

_MAX_HEAD = 64 * 1024  # bytes of an answer's head (nginx proxy_buffer_size: 4k or 8k; HAProxy tune.bufsize: 16k)
_MAX_INTERIM = 16  # 1xx answers before the final one
_RECEIVE = 64 * 1024  # bytes asked for while the head is awaited
_VERSION = b"HTTP/1."
_LENGTH = frozenset({"content-length"})  # what a 304 loses (gevent.pywsgi fails on it); the parser takes it off a 204
_BODY_EXPECTED = frozenset({"PATCH", "POST", "PUT"})  # say "no body" outright (RFC 9110 8.6)
_END_OF_UPLOAD = 5.0  # seconds that an interrupted upload has to end

_monotonic = time.monotonic


class Conversation:
    """One request on one connection, and the body of its answer (``upstream.messages.ResponseBody``)."""

    __slots__ = (
        "_connector", "_ended", "_give_up_at", "_on_cancel", "_patience", "_piece", "_reader", "_request", "_reusable",
        "_spawn", "_stream", "_trailer_names", "_upload", "_uploading", "answered", "sent",
    )  # fmt: skip

    def __init__(
        self, stream: Stream, connector: Connector | None, spawn: Spawn | None = None, give_up_at: float = inf
    ) -> None:
        """``connector`` takes the connection back after a clean end; no wait is longer than to ``give_up_at``."""
        self._stream: Stream | None = stream
        self._connector = connector
        self._spawn = spawn
        self._give_up_at = give_up_at
        self._on_cancel: OnCancel | None = None
        self._piece = b""  # the next piece, where it came with the head
        self._reader: BodyReader | None = None  # for what is still to come
        self._ended = False  # the answer is here to its last byte
        self._reusable = False
        self._request: UpstreamRequest | None = None
        self._patience = 0.0  # seconds for the next byte to come
        self._trailer_names: tuple[str, ...] = ()
        self._upload: Upload | None = None
        self._uploading: Task | None = None  # sends what is left of the body
        self.sent = False  # a byte of the request has left
        self.answered = False  # a byte of the answer has come

    def run(self, request: UpstreamRequest, host: str, first: bytes = b"") -> UpstreamResponse:
        """Send the request, wait for the head of the answer; the body is this object.

        ``first`` is the first piece of the request's body, empty only where the whole body is.
        """
        stream = self._open_stream()
        self._request = request
        timeouts = request.timeouts
        self._await_answer(timeouts)
        give_up_at = self._give_up_at
        self._give_up_at = min(give_up_at, request.head_by, request.ends_by)
        self._trailer_names = request.trailers
        if request.on_cancel is not None:
            self._on_cancel = request.on_cancel
            request.on_cancel(stream.abort)
        head_bytes = _request_head(request, host)
        if request.body is None:
            stream.send_all(head_bytes, timeouts.write, self._give_up_at)
            self.sent = True
            head, rest = self._read_head(stream, request, b"")
            self._reusable = head.keep_alive
        else:
            upload = Upload(stream, head_bytes, request, request.body, first, timeouts.write, self._give_up_at)
            head, rest = self._send_and_read_head(stream, request, upload)
        self._give_up_at = min(give_up_at, request.ends_by)
        request.head_by = inf  # it is there
        if head.status == 101:
            self._piece = rest
            return UpstreamResponse(head.status, head.reason, head.fields, None, self)
        framing = head.framing
        if framing.length == len(rest):
            self._piece = rest
            self._end()
        else:
            self._reader = BodyReader(framing, rest, self._receive, BackendProtocolError, TruncatedBodyError)
            if self._reader.finished:  # no body was announced, yet bytes came
                self._reusable = False
                self._end()
        fields = without(head.fields, _LENGTH) if head.status == 304 else head.fields
        return UpstreamResponse(head.status, head.reason, fields, framing.length, self)

    def __iter__(self) -> Conversation:
        return self

    def __next__(self) -> bytes:
        piece = self._piece
        if piece:
            self._piece = b""
            return piece
        piece = self._read(self._receive)
        if not piece:
            raise StopIteration
        return piece

    def read_piece(self) -> bytes | Piped:
        """The next piece, which may stay in the kernel; ``b""`` at the end."""
        piece, self._piece = self._piece, b""
        return piece or self._read(self._receive_piece)

    def is_ready(self) -> bool:
        """Whether the next piece, or the end, can be had without a wait."""
        if self._ended or self._stream is None or self._piece:
            return True
        return self._reader is not None and self._reader.is_ready()

    def is_over(self) -> bool:
        """Whether the last byte has been handed out."""
        return (self._ended or self._stream is None) and not self._piece

    def trailers(self) -> Fields:
        """The trailer fields that were asked for, once the end was handed out."""
        return [] if self._reader is None else allowed_trailers(self._reader.trailers(), self._trailer_names)

    def take_over(self) -> tuple[Stream, bytes]:
        """After a 101: the connection, and what was received behind the head."""
        stream, early, self._piece = self._open_stream(), self._piece, b""
        if self._on_cancel is not None:
            self._on_cancel(None)  # who reads on hears of the client's end by reading
        return stream, early

    def close(self) -> None:
        """Close the connection unless the exchange has ended cleanly, when it was given back.

        Where the answer has ended cleanly before the request's body has, that is waited for.
        """
        stream, upload = self._stream, self._upload
        if stream is None:
            return
        try:
            if upload is not None and self._uploading is not None and self.is_over():
                # Whatever the backend does now but to read, it has had enough of the body.
                stream.watch_unread(upload.stop)
                self._uploading.join()
                stream.watch_unread(None)
            else:
                self._reusable = False
        finally:
            self._finish()

    def _end(self) -> None:
        """The answer is here to its last byte. An upload that still goes on keeps the connection until ``close``."""
        self._ended = True
        if self._uploading is None or self._upload is None or self._upload.whole:
            self._finish()

    def _finish(self) -> None:
        """The end, clean or not: the one place where the connection leaves. Idempotent."""
        stream, self._stream = self._stream, None
        if stream is None:
            return
        if self._on_cancel is not None:
            self._on_cancel(None)
        upload = self._upload
        if upload is not None and not upload.whole:
            self._reusable = False
        if self._reusable and self._connector is not None:
            self._connector.give_back(stream)
        else:
            stream.close()
        if upload is not None and self._uploading is not None and not upload.whole:
            # Nobody may read the client's body once the answer is over but whoever serves the client.
            upload.stop()
            self._uploading.join(_END_OF_UPLOAD)

    def _open_stream(self) -> Stream:
        if self._stream is None:
            raise ResetError("the exchange is over")
        return self._stream

    def _await_answer(self, timeouts: schema.Timeouts) -> None:
        """What comes next is the first byte of an answer."""
        self._patience = timeouts.read if timeouts.first_byte is None else timeouts.first_byte

    def _deadline(self) -> float:
        """When a wait that begins now is over. An exchange that must be, is: there may be nothing to wait for."""
        now = _monotonic()
        if now >= self._give_up_at:
            raise self._overdue(ReadTimeout("there is no time left"))
        return min(now + self._patience, self._give_up_at)

    def _put_off(self, seconds: float) -> None:
        """Give the attempt the time that was spent waiting for the client: that is not the backend's fault."""
        request, upload = self._request, self._upload
        if request is not None and upload is not None and request.head_by < inf:
            request.head_by += seconds
            self._give_up_at = upload.deadline = min(request.head_by, request.ends_by)

    def _overdue(self, error: ReadTimeout) -> ProxyError:
        return error if self._request is None else overdue(self._request, error, True)

    def _read(self, receive: Callable[[int], Received]) -> bytes | Received:
        """What is to come, by ``receive``; ``b""`` at the end."""
        reader = self._reader
        if reader is None or self._ended or self._stream is None:
            return b""
        try:
            piece = reader.read_piece(receive)
        except BaseException:
            self.close()
            raise
        if reader.finished:
            self._reusable = self._reusable and not reader.leftover()
            self._end()
        return piece

    def _receive(self, size: int) -> bytes:
        """For the body's reader; a reset within a body is a cut."""
        deadline = self._deadline()
        try:
            return self._open_stream().recv(size, deadline)
        except ResetError as error:
            raise TruncatedBodyError(str(error)) from error
        except ReadTimeout as error:
            raise self._overdue(error) from error

    def _receive_piece(self, size: int) -> bytes | Piped:
        deadline = self._deadline()
        try:
            return self._open_stream().recv_piece(size, deadline)
        except ResetError as error:
            raise TruncatedBodyError(str(error)) from error
        except ReadTimeout as error:
            raise self._overdue(error) from error

    def _send_and_read_head(
        self, stream: Stream, request: UpstreamRequest, upload: Upload
    ) -> tuple[ResponseHead, bytes]:
        """Send head and body, as far as the backend wants it; the head of its answer, and what came behind it."""
        self._upload = upload
        # Another host's wsgi.input cannot be interrupted, so that a task that reads it might outlive the answer.
        spawn = self._spawn if hasattr(request.environ.get("wsgi.input"), "interrupt") else None
        try:
            early = self._send_body(stream, upload, request.method, spawn is not None)
        finally:
            self.sent = upload.sent
        head, rest = self._read_head(stream, request, early)
        self._reusable = head.keep_alive
        if spawn is not None and head.status < 400 and not (upload.whole or upload.broken):
            upload.deadline = request.ends_by
            self._uploading = spawn(upload.send_rest, "upload")
        return head, rest

    def _send_body(self, stream: Stream, upload: Upload, method: str, duplex: bool) -> bytes:
        """Send head and body piece by piece; what was received meanwhile.

        It ends early where the backend hangs up or answers before it has the whole body. Where nobody can go on with
        the upload while the answer is read, not ``duplex``, only an answer that refuses the body ends it.
        """
        early = b""
        try:
            upload.send_piece()
            while not upload.whole:
                self._deadline()  # a client that sends slowly ends no wait of ours
                if len(early) <= _MAX_HEAD and not stream.is_quiet():
                    received = stream.recv(_RECEIVE, self._deadline())
                    early += received
                    status = _final_status(early, method)
                    if not received or status >= 400 or (status and duplex):
                        break
                    continue  # TLS may have more that came with it
                began = _monotonic()
                try:
                    stream.watch_unread(upload.interrupt if len(early) <= _MAX_HEAD else None)
                    upload.read_piece()
                except InterruptedWaitError:
                    continue  # to see what the backend says
                finally:
                    stream.watch_unread(None)
                    self._put_off(_monotonic() - began)
                upload.send_piece()
            return early
        except ResetError:
            return early  # it may have refused the body and said so: what it said is read next
        except WriteTimeout:
            if stream.is_quiet(look=True):
                raise
            return early + (stream.recv_now(_RECEIVE) or b"")  # the same, by a backend that stopped reading

    def _read_head(self, stream: Stream, request: UpstreamRequest, data: bytes) -> tuple[ResponseHead, bytes]:
        """The head of the final answer, and what was received after it; 103 is handed on, other 1xx are absorbed.

        ``data`` was received already.
        """
        self.answered = bool(data)
        for _ in range(_MAX_INTERIM + 1):
            while (end := data.find(END_OF_HEAD)) < 0:
                if data:
                    _check_partial(data)
                try:
                    piece = stream.recv(_RECEIVE, self._deadline())
                except ReadTimeout as error:
                    if data:
                        raise
                    raise FirstByteTimeout(str(error)) from error
                if not piece:
                    raise ResetError("the backend closed the connection before it answered")
                if not data:
                    self.answered = True
                    self._patience = request.timeouts.read
                data = data + piece if data else piece
            if end > _MAX_HEAD:
                raise BackendProtocolError(f"the head of the answer is longer than {_MAX_HEAD} bytes")
            head, data = parse_response(data[: end + 4], request.method), data[end + 4 :]
            if head.status >= 200:
                return head, data
            if head.status == 101:
                if not request.upgrade or head.upgrade != request.upgrade:
                    raise BackendProtocolError("the backend switched protocols without being asked")
                return head, data
            if head.status == 103 and request.on_early_hints is not None:
                request.on_early_hints(head.fields)
            if not data:
                self._await_answer(request.timeouts)
        raise BackendProtocolError(f"more than {_MAX_INTERIM} interim answers")


def _check_partial(data: bytes) -> None:
    """Refuse at once the beginning of a head that no further byte can make right: we would else wait for it."""
    if not data.startswith(_VERSION) and not _VERSION.startswith(data):
        raise BackendProtocolError(f"the answer is not HTTP/1: {data[:20]!r}")
    if data.count(b"\n") != data.count(b"\r\n"):
        raise BackendProtocolError("a line of the answer's head ends without a carriage return")
    if len(data) > _MAX_HEAD:
        raise BackendProtocolError(f"the head of the answer is longer than {_MAX_HEAD} bytes")


def _final_status(data: bytes, method: str) -> int:
    """The status of the final answer whose head ``data`` holds; 0 where there is none yet."""
    while (end := data.find(END_OF_HEAD)) >= 0:
        status = parse_response(data[: end + 4], method).status
        if status >= 200:
            return status
        data = data[end + 4 :]
    return 0


def _request_head(request: UpstreamRequest, host: str) -> bytes:
    """The head's bytes: Host first (RFC 9110 7.2), then the fields, then what belongs to this hop."""
    framing = request.framing
    hop = ""
    if framing.chunked:
        hop = "Transfer-Encoding: chunked\r\n"
    elif request.body is not None or request.method in _BODY_EXPECTED:
        hop = f"Content-Length: {framing.length}\r\n"
    if request.upgrade:
        hop += f"Connection: Upgrade\r\nUpgrade: {request.upgrade}\r\n"
    elif request.trailers:  # RFC 9110 10.1.4, 6.6.2
        hop += "Connection: TE\r\nTE: trailers\r\n"
        if framing.chunked:
            hop += f"Trailer: {', '.join(request.trailers)}\r\n"
    return request_head(request.method, request.target, host, request.lines, hop)
