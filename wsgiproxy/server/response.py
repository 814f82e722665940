"""One answer of a WSGI application, onto the wire: ``start_response``, ``write``, framing (PEP 3333; RFC 9112 6).

The rule of the room: the application's status and headers are checked before a byte of them is sent, hop-by-hop fields
are ours alone, and an answer that cannot be completed as announced is cut, never ended cleanly. The head goes out
together with the first piece of the body. Beside PEP 3333's, a body object may have

* ``read_piece()``: the next piece of a large body, which may be one that stays in the kernel
  (``transport.splice.Piped``), ``b""`` at the end; raises what ``__next__`` would;
* ``ends_by``: the instant of ``time.monotonic()`` at which the client must have all of it, or is cut;
* ``is_over()``: where that is true it need not be asked for another piece;
* ``is_ready()``: where that is false its first piece will take a while, so the head is sent ahead;
* ``trailers()``: fields that are written behind the last chunk; ``trailer_names`` announces them in the head;
* ``run_tunnel(client, early)``: takes over the connection after a 101; ``early`` came right behind the request.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from math import inf
from typing import Any

import gevent

from wsgiproxy.errors import ClientDisconnectedError, ClientError, ProxyError
from wsgiproxy.http1.framing import content_length
from wsgiproxy.http1.headers import HOP_BY_HOP, is_forbidden_trailer
from wsgiproxy.http1.message import Fields, RequestHead
from wsgiproxy.http1.parser import answer_lines
from wsgiproxy.http1.writer import checked_field_lines, chunk, is_status, last_chunk, response_head
from wsgiproxy.server.input import RequestInput
from wsgiproxy.server.pace import Pace
from wsgiproxy.transport.splice import WORTH
from wsgiproxy.transport.stream import Stream

_JOIN_BYTES = 64 * 1024  # a first piece up to this size is copied behind the head to save a system call
_USUAL = frozenset(f"{status.value} {status.phrase}" for status in HTTPStatus if status.value >= 200)
_SWITCHING = "101"
_NOT_IN_HINTS = HOP_BY_HOP | {"content-length"}
_NOT_IN_SWITCH = _NOT_IN_HINTS - {"upgrade"}
_INTERNAL_ERROR = ProxyError("the application failed")

_monotonic = time.monotonic
_log = logging.getLogger("wsgiproxy.server")

StartResponse = Callable[..., Callable[[bytes], None]]
Application = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


class Response:
    """The answer to one request.

    ``hand_over``, where it is set, is the leave to answer 101: it frees the connection for a tunnel and returns what
    had been received behind the request.
    """

    __slots__ = (
        "_body", "_chunked", "_fields", "_head", "_head_sent", "_keep_alive", "_left", "_no_body", "_over", "_overrun",
        "_pace", "_result", "_status", "_stream", "hand_over",
    )  # fmt: skip

    def __init__(self, stream: Stream, head: RequestHead, pace: Pace, keep_alive: bool, body: RequestInput) -> None:
        """``pace`` is how fast the client must take the answer; ``keep_alive`` whether we would go on after this."""
        self._stream = stream
        self._head = head
        self._body = body
        self._pace = pace
        self._keep_alive = keep_alive
        self.hand_over: Callable[[], bytes] | None = None
        self._over = inf  # the instant at which the client must have the whole answer
        self._result: object = None  # the application's body object, where trailers may come of it
        self._status = ""
        self._fields: Fields = []
        self._head_sent = False
        self._chunked = False
        self._no_body = False
        self._overrun = False  # the application sends more than it announced
        self._left: int | None = None  # bytes of the body still to come, where its length was announced

    def run(self, app: Application, environ: dict[str, Any]) -> bool:
        """Call the application and send its answer; whether the connection may go on.

        Raises ``ClientError`` where the client is to blame; what the application raises is logged and answered with
        500, or with a cut once the head is out.
        """
        try:
            result = app(environ, self.start_response)
            try:
                self._send(result)
            finally:
                close = getattr(result, "close", None)
                if close is not None:
                    close()
        except (Exception, SystemExit, gevent.Timeout) as error:  # noqa: BLE001 - none may end the daemon; all are logged
            return self._failed(error)
        return self._keep_alive

    def start_response(self, status: str, headers: Fields, exc_info: Any = None, /) -> Callable[[bytes], None]:
        """PEP 3333's: note the head; it is sent with the first bytes of the body."""
        if exc_info is not None:
            try:
                if self._head_sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self._status:
            raise AssertionError("start_response was called twice without exc_info")
        if status not in _USUAL and not self._may_be(status):
            raise ValueError(f"not a WSGI status, or one that this request did not ask for: {status!r:.100}")
        self._status = "".join((status,))  # plain text, of whatever kind the application's is
        self._fields = headers
        return self.write

    def be_last(self) -> None:
        """Close the connection after this answer; the client is told so if the head is not out yet."""
        self._keep_alive = False

    def write(self, data: bytes) -> None:
        """Send a piece of the body, and the head before the first one."""
        if not self._head_sent:
            self._send_head(None, data)
        elif data and not self._no_body:  # an empty chunk would end the body
            self._put(self._framed(data))

    def send_early_hints(self, fields: Fields) -> None:
        """Send a 103 (RFC 8297), unless the head is out; ``ValueError`` or ``TypeError`` for illegal fields."""
        if not self._head_sent:
            kept = [field for field in fields if field[0].lower() not in _NOT_IN_HINTS]
            self._put(response_head("103 Early Hints", checked_field_lines(kept)))

    def _may_be(self, status: object) -> bool:
        """Whether an unusual status may begin this answer: none that is interim, but for a 101 that was asked for."""
        if not isinstance(status, str) or not is_status(status):
            return False
        return status[0] != "1" or (status[:3] == _SWITCHING and self.hand_over is not None)

    def _put(self, data: bytes) -> None:
        self._pace.send(self._stream, data, self._over)

    def _send(self, result: Iterable[bytes]) -> None:
        if self.hand_over is not None and self._status[:3] == _SWITCHING:
            self._switch(result, self.hand_over)
            return
        if type(result) in (list, tuple) and not self._head_sent and self._status:
            self._send_whole(b"".join(result))
            return
        self._result = result
        self._over = getattr(result, "ends_by", inf)
        is_ready = getattr(result, "is_ready", None)
        if is_ready is not None and not self._head_sent and not is_ready():
            self._send_head(None, b"")
        is_over = getattr(result, "is_over", None)
        for data in result:
            if data:
                self.write(data)
                if self._left != 0 and not self._chunked:
                    self._pass_on(result)
                if self._no_body or self._overrun or (self._left == 0 and is_over is not None and is_over()):
                    break
        if not self._head_sent:
            self._send_whole(b"")
        elif self._chunked:
            trailers = getattr(result, "trailers", None)
            fields = trailers() if trailers is not None else []
            self._put(last_chunk([field for field in fields if not is_forbidden_trailer(field[0])]))
        elif self._left is None and not self._no_body:
            self._stream.shutdown_write()  # the close is the end of the body: over TLS it must be told to be believed
        else:
            self._check_complete()

    def _pass_on(self, result: Any) -> None:
        """Send what is left of a large body without looking into it, where both sides can do that."""
        read_piece = getattr(result, "read_piece", None)
        left = self._left
        if read_piece is None or self._no_body or (left is not None and left < WORTH) or not self._stream.splices:
            return
        while left != 0 and len(piece := read_piece()):
            if isinstance(piece, bytes) or (left is not None and len(piece) > left):
                self.write(bytes(piece))
            else:
                if left is not None:
                    self._left = left - len(piece)
                self._pace.send(self._stream, piece, self._over)
            left = self._left

    def _send_whole(self, data: bytes) -> None:
        """Send head and body where the whole body is known."""
        self._send_head(len(data), data)
        self._check_complete()

    def _check_complete(self) -> None:
        if self._left and not self._no_body:
            raise ValueError(f"the application's body is {self._left} bytes shorter than its Content-Length")

    def _send_head(self, known_length: int | None, data: bytes) -> None:
        """Send the head, and behind it the first piece of the body; ``known_length`` as in ``_make_head``."""
        head = self._make_head(known_length)
        piece = self._framed(data) if data and not self._no_body else b""
        self._head_sent = True
        if self._pace.response:
            self._over = min(self._over, _monotonic() + self._pace.response)
        if len(piece) > _JOIN_BYTES:
            self._put(head)
            self._put(piece)
        else:
            self._put(head + piece)

    def _framed(self, data: bytes) -> bytes:
        if self._chunked:
            return chunk(data)
        if self._left is not None:
            if len(data) > self._left:
                _log.error("the application's body is longer than its Content-Length; the rest is dropped")
                self._overrun = True
                self._keep_alive = False
                data = data[: self._left]
            self._left -= len(data)
        return data

    def _make_head(self, known_length: int | None) -> bytes:
        """The head's bytes, once and for all; ``known_length`` is the body's where all of it is at hand."""
        if not self._status:
            raise AssertionError("the application returned without calling start_response")
        code = int(self._status[:3])
        if code < 200:
            raise ValueError("a 101 comes with a body object that has run_tunnel, and nothing is written before")
        bare = code in (204, 304)
        lines, announced, dated = answer_lines(self._fields, bare)
        length = None if announced is None else content_length("".join((announced,)))
        self._no_body = bare or self._head.method == "HEAD"
        if length is None and known_length is not None and not bare and (known_length or not self._no_body):
            length = known_length
            lines += f"Content-Length: {length}\r\n"
        if not dated:
            lines += f"Date: {_http_date(int(time.time()))}\r\n"
        lines += self._framing_lines(length)
        self._left = length
        return response_head(self._status, lines)

    def _framing_lines(self, length: int | None) -> str:
        """Transfer-Encoding and Connection, as the request's version and the body's length ask for."""
        http11 = self._head.version == "HTTP/1.1"
        lines = ""
        if self._body.failed:
            self._keep_alive = False
        if self._head.expect_continue and self._body.take_back_continue():
            self._keep_alive = False  # the client may send the body all the same, or not
        if length is None and not self._no_body:
            self._chunked = http11
            self._keep_alive = self._keep_alive and http11
            if http11:
                names = getattr(self._result, "trailer_names", ())
                lines = checked_field_lines([("Trailer", ", ".join(names))]) if names else ""
                lines += "Transfer-Encoding: chunked\r\n"
        if not self._keep_alive:
            return lines + "Connection: close\r\n"
        return lines if http11 else lines + "Connection: keep-alive\r\n"

    def _switch(self, result: Any, hand_over: Callable[[], bytes]) -> None:
        """Answer 101 (RFC 9110 7.8, 15.2.2) and let the application have the connection, which ends with that."""
        run_tunnel = getattr(result, "run_tunnel", None)
        fields = [field for field in self._fields if field[0].lower() not in _NOT_IN_SWITCH]
        if run_tunnel is None or self._head_sent or not any(name.lower() == "upgrade" for name, _ in fields):
            raise ValueError("a 101 comes with an Upgrade field and a body object that has run_tunnel")
        head = response_head(self._status, checked_field_lines([*fields, ("Connection", "Upgrade")]))
        self._keep_alive = False
        self._head_sent = True
        self._put(head)
        run_tunnel(self._stream, hand_over())

    def _failed(self, error: BaseException) -> bool:
        """The application, or the client, failed: answer if that is still possible, else cut."""
        if isinstance(error, ClientDisconnectedError):
            raise error
        if not isinstance(error, ProxyError):
            _log.error("the application failed: %s %s", self._head.method, self._head.path, exc_info=error)
        if not self._head_sent:
            if isinstance(error, ClientError):
                raise error
            self._put(refusal(error if isinstance(error, ProxyError) else _INTERNAL_ERROR, self._head.method))
            return False
        if self._chunked or self._no_body or self._left is not None:
            self._stream.close()  # the framing shows that something is missing
        else:
            self._stream.reset()  # only a reset shows it
        raise ClientDisconnectedError("the answer was cut") from error


def refusal(error: ProxyError, method: str = "GET") -> bytes:
    """A whole answer, the last one of its connection, for an error that has no application to render it."""
    body = f"{error.status} {HTTPStatus(error.status).phrase}\n".encode()
    fields = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Date", _http_date(int(time.time()))),
        ("Connection", "close"),
    ]
    head = response_head(f"{error.status} {HTTPStatus(error.status).phrase}", checked_field_lines(fields))
    return head if method == "HEAD" else head + body


@lru_cache(maxsize=2)
def _http_date(second: int) -> str:
    """An IMF-fixdate (RFC 9110 5.6.7), made once a second."""
    return formatdate(second, usegmt=True)
