"""One client connection: read a request, call the application, write its answer, keep alive.

The rule of the room: the client is never trusted and never waited for without a deadline; any WSGI application may
stand behind, so its answer is checked before it is written. An answer that refused a request, or that was cut, is the
connection's last. A client that leaves while it has sent more than was read is noticed no sooner than that is read or
an answer to it fails. This module must not know proxying.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

from wsgiproxy.config import schema
from wsgiproxy.errors import (
    BadRequestError,
    ClientDisconnectedError,
    ClientError,
    ContentTooLargeError,
    HeadersTooLargeError,
    ProxyError,
    RequestTimeout,
    TargetTooLongError,
)
from wsgiproxy.http1.body import BodyReader
from wsgiproxy.http1.headers import tokens
from wsgiproxy.http1.message import Fields, RequestHead
from wsgiproxy.http1.parser import END_OF_HEAD, check_partial, parse_request
from wsgiproxy.server.environ import request_environ
from wsgiproxy.server.input import RequestInput
from wsgiproxy.server.pace import BodySource, Pace
from wsgiproxy.server.response import Application, Response, refusal
from wsgiproxy.server.welcome import Welcome
from wsgiproxy.transport.stream import Stream

_RECEIVE = 16 * 1024  # bytes asked for while a head is awaited
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_LINGER_SECONDS = 5.0  # after a last answer, how long we read on so that a reset does not destroy it (nginx: 30)
_LINGER_QUIET_SECONDS = 1.0  # the same without a byte from the client (nginx: 5)
_EMPTY_LINE = b"\r\n"
_HALF_CLOSE_GRACE = 0.5  # seconds that a client who has shut down its sending side is still waited for

_monotonic = time.monotonic
_log = logging.getLogger("wsgiproxy.server")


class Owner(Protocol):
    """What a connection needs of the server that accepted it."""

    app: Application
    limits: schema.Limits
    timeouts: schema.ClientTimeouts
    pace: Pace
    keep_underscores: bool
    most_requests: float  # on one connection
    draining: bool

    def forget(self, connection: Connection) -> None:
        """The connection has ended."""

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        """Call ``function`` on the hub in a while."""


class Connection:
    """A client's connection and the requests that come over it, one after the other."""

    __slots__ = (
        "_base", "_buffer", "_cancel", "_gone", "_handed_over", "_head", "_response", "_server", "_stream", "idle",
        "requests",
    )  # fmt: skip

    def __init__(self, server: Owner, stream: Stream, base: dict[str, Any]) -> None:
        """``base`` is what the environs of all its requests have in common."""
        self._server = server
        self._stream = stream
        self._base = base
        self._base["wsgiproxy.on_cancel"] = self._on_cancel
        self._base["wsgi.early_hints"] = self._send_early_hints
        self._buffer = b""  # received, and not yet parsed
        self._head: RequestHead | None = None  # of the request under way
        self._cancel: Callable[[ProxyError], None] | None = None
        self._response: Response | None = None  # the one under way
        self._gone = False
        self._handed_over = False  # to a tunnel
        self.idle = True  # between two requests
        self.requests = 0

    def __repr__(self) -> str:
        return f"<Connection {self._stream!r}, {self.requests} requests{', idle' if self.idle else ''}>"

    def serve(self, welcome: Welcome | None = None) -> None:
        """Serve until either side is done with the connection. Never raises."""
        try:
            if welcome is not None:
                stream = welcome.greet(self, self._stream, self._base)
                if stream is None:
                    return
                self._stream = stream
            self._stream.watch(self._hung_up)
            while self._serve_one():
                pass
        except ClientDisconnectedError:
            pass  # nobody is left to tell
        except ClientError as error:
            self._refuse(error)
        except Exception:  # noqa: BLE001 - a defect of ours must end this connection alone, and be seen
            _log.exception("%r failed", self)
        finally:
            self._base.clear()
            self._stream.close()
            self._server.forget(self)

    def be_last(self) -> None:
        """The answer under way, if there is one, is the connection's last and says so."""
        if self._response is not None:
            self._response.be_last()

    def close_idle(self) -> None:
        """Close the connection if it is between two requests; one that has come but was not read yet is served."""
        if self.idle and self._stream.is_quiet(look=True):
            self._stream.abort(ClientDisconnectedError("the server is stopping"))

    def cut(self) -> None:
        """Close the connection whatever it is doing."""
        error = ClientDisconnectedError("the server has stopped")
        if self._cancel is not None:
            self._cancel(error)
        self._stream.abort(error)

    def _serve_one(self) -> bool:
        """Serve one request; whether another one may follow."""
        head = self._read_head()
        if head is None:
            return False
        self._head = head
        self.requests += 1
        server, stream = self._server, self._stream
        body = self._open_body(head)
        environ = request_environ(self._base, head)
        environ["wsgi.input"] = body
        may_keep = head.keep_alive and not server.draining and self.requests < server.most_requests
        self._response = response = Response(stream, head, server.pace, may_keep, body)
        if "HTTP_UPGRADE" in environ and _asks_for_upgrade(head):
            environ["wsgiproxy.upgrade"] = True
            response.hand_over = self._hand_over
        if head.version == "HTTP/1.0":
            del environ["wsgi.early_hints"]
        may_follow = response.run(server.app, environ)
        self._response = self._head = None
        self._cancel = None  # an application that did not take it back must not hear of later requests
        if not may_follow:
            if not body.finished or self._buffer or not stream.is_quiet():
                self._linger()
            return False
        if head.framing.length == 0:
            return True
        if not body.read_away():
            self._linger()
            return False
        self._buffer = body.leftover()
        return True

    def _read_head(self) -> RequestHead | None:
        """The next request's head; None where the client ends the connection instead.

        What has been received and not parsed is in ``_buffer`` all the time, also when this raises.
        """
        if len(self._buffer) < 3 and not self._await_request():
            return None
        limits, buffer = self._server.limits, self._buffer
        start = 2 if buffer.startswith(b"\r\n") else 0  # RFC 9112 2.2: one empty line before a request is forgiven
        end = buffer.find(END_OF_HEAD, start)
        if end < 0:
            deadline = _monotonic() + self._server.timeouts.header
            seen = 0
            while end < 0:
                check_partial(buffer, start, seen)
                if len(buffer) > limits.header_bytes:
                    raise self._too_large(buffer)
                data = self._stream.recv(_RECEIVE, deadline)
                if not data:
                    return None
                seen = len(buffer)
                self._buffer = buffer = buffer + data
                end = buffer.find(END_OF_HEAD, max(seen - 3, start))
        end += 4
        if end > limits.header_bytes:
            raise self._too_large(buffer)
        head = parse_request(
            buffer[start:end],
            max_fields=limits.header_count,
            max_target=limits.target_bytes,
            keep_underscores=self._server.keep_underscores,
        )
        self._buffer = buffer[end:]
        return head

    def _await_request(self) -> bool:
        """Wait until the next request begins; false where it does not. An empty line before it does not begin it."""
        server = self._server
        if server.draining and self.requests and not self._buffer:
            return False
        patience = server.timeouts.keep_alive if self.requests else server.timeouts.header
        deadline = _monotonic() + patience
        buffer = self._buffer
        while len(buffer) < 3 and _EMPTY_LINE.startswith(buffer):
            self.idle = True
            try:
                data = self._stream.recv(_RECEIVE, deadline)
            except RequestTimeout:
                return False
            if not data:
                return False
            self._buffer = buffer = buffer + data
        self.idle = False
        return True

    def _too_large(self, buffer: bytes) -> ClientError:
        line = buffer.find(b"\r\n", 2)
        most = self._server.limits.target_bytes
        if line < 0 or line > most + 64:
            return TargetTooLongError(f"the request line is longer than {most} bytes")
        return HeadersTooLargeError(f"the request head is longer than {self._server.limits.header_bytes} bytes")

    def _open_body(self, head: RequestHead) -> RequestInput:
        framing, limit = head.framing, self._server.limits.body_bytes
        if framing.length == 0:
            return RequestInput()
        if limit is not None and framing.length is not None and framing.length > limit:
            raise ContentTooLargeError(f"the request body is longer than {limit} bytes")
        source = BodySource(self._stream, self._server.pace, len(self._buffer))
        reader = BodyReader(framing, self._buffer, source.receive, BadRequestError, ClientDisconnectedError)
        before_read = self._send_continue if head.expect_continue and not self._buffer else None
        self._buffer = b""
        return RequestInput(reader, limit, before_read, source)

    def _send_continue(self) -> None:
        self._server.pace.send(self._stream, _CONTINUE)

    def _send_early_hints(self, fields: Fields) -> None:
        """``wsgi.early_hints``: send a 103 with these fields ahead of the answer."""
        if self._response is not None:
            self._response.send_early_hints(fields)

    def _hand_over(self) -> bytes:
        """Leave the stream to a tunnel, which sees for itself whether the client is there; what came early."""
        self._stream.watch(None)
        self._handed_over = True  # a hang-up that was seen before is its affair, too
        self._cancel = None
        early, self._buffer = self._buffer, b""
        return early

    def _refuse(self, error: ClientError) -> None:
        """Answer a request that never became one, and close."""
        head = self._head
        line = f"{head.method} {head.target} {head.version}" if head is not None else _first_line(self._buffer)
        _log.info(
            "a request of %s was refused: %d, %s: %.300r",
            self._base.get("REMOTE_ADDR") or "-", error.status, error, line,
        )  # fmt: skip
        try:
            self._server.pace.send(self._stream, refusal(error))
            self._linger()
        except ProxyError:
            pass  # the client is gone, or does not read: there is nobody to tell

    def _linger(self) -> None:
        """Say that this was all, then read and drop what still comes, for a moment and no longer."""
        over = _monotonic() + _LINGER_SECONDS
        try:
            self._stream.shutdown_write()
            while (now := _monotonic()) < over and self._stream.recv(_RECEIVE, min(now + _LINGER_QUIET_SECONDS, over)):
                pass
        except ProxyError:
            pass  # the client is gone, or took too long: either way it is over

    def _on_cancel(self, cancel: Callable[[ProxyError], None] | None) -> None:
        """``wsgiproxy.on_cancel``: have ``cancel`` called once the client has gone."""
        self._cancel = cancel
        if cancel is not None and self._gone:
            self._cancel_now()

    def _hung_up(self, reset: bool) -> None:
        """The client closed, or shut down its sending side: it cannot be told apart until we write to it."""
        if reset:
            self._cancel_now()
        else:
            self._server.call_later(_HALF_CLOSE_GRACE, self._cancel_now)

    def _cancel_now(self) -> None:
        if self._handed_over:
            return
        self._gone = True
        if self._cancel is not None:
            self._cancel(ClientDisconnectedError("the client closed the connection"))


def _asks_for_upgrade(head: RequestHead) -> bool:
    """Whether a request with an Upgrade field may be answered 101: HTTP/1.1, nominated, no body (RFC 9110 7.8)."""
    return (
        head.version == "HTTP/1.1"
        and head.framing.length == 0
        and "upgrade" in tokens(head.environ.get("HTTP_CONNECTION", ""))
    )


def _first_line(data: bytes) -> str:
    """The beginning of what was no request, for the log."""
    return data[:1000].lstrip(b"\r\n").partition(b"\n")[0].decode("latin-1")
