"""A connection's client and server that do what a script says, without sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from typing import Any

from wsgiproxy.config import schema
from wsgiproxy.errors import ProxyError
from wsgiproxy.server.connection import Connection
from wsgiproxy.server.environ import listener_environ
from wsgiproxy.server.pace import Pace

GET = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"
SIZED = b"POST /sized HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST /chunked HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;e\r\nllo\r\n0\r\nT: t\r\n\r\n"
)
EXPECTING = b"PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class ScriptedClient:
    """A stream whose bytes come piece by piece, one for each ``recv``; an error in their place is raised."""

    def __init__(self, script: Iterable[bytes | ProxyError]) -> None:
        self.script = [piece for piece in script if piece != b""]
        self.sent = b""
        self.received = 0
        self.closed = False
        self.shut_down = False

    def recv(self, size: int, deadline: float) -> bytes:
        if not self.script:
            return b""
        piece = self.script[0]
        if isinstance(piece, ProxyError):
            raise piece
        self.script[:1] = [piece[size:]] if piece[size:] else []
        self.received += len(piece[:size])
        return piece[:size]

    def send_all(self, data: bytes, timeout: float, deadline: float = inf) -> None:
        assert not self.shut_down
        self.sent += data

    def is_quiet(self, look: bool = False) -> bool:
        return not self.script

    def watch(self, on_hang_up: Callable[[bool], None] | None) -> None:
        pass

    def abort(self, error: ProxyError) -> None:
        self.script = [error]

    def shutdown_write(self) -> None:
        self.shut_down = True

    def close(self) -> None:
        self.closed = True

    reset = close


class Host:
    """What a connection needs of its server; the application tells what it saw."""

    def __init__(self, app: Any = None, limits: schema.Limits | None = None) -> None:
        self.app = app or self.echo
        self.limits = limits or schema.Limits()
        self.timeouts = schema.ClientTimeouts()
        self.pace = Pace(self.timeouts, self.limits)
        self.keep_underscores = False
        self.most_requests = self.limits.requests or inf
        self.draining = False
        self.seen: list[tuple[str, bytes]] = []
        self.forgotten: list[Connection] = []

    def echo(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        self.seen.append((environ["RAW_URI"], environ["wsgi.input"].read()))
        start_response("200 OK", [("Date", "d")])
        return [environ["RAW_URI"].encode()]

    def forget(self, connection: Connection) -> None:
        self.forgotten.append(connection)

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        raise AssertionError("nothing is to be called later here")

    def serve(self, *script: bytes | ProxyError) -> ScriptedClient:
        client = ScriptedClient(script)
        connection = Connection(self, client, listener_environ("h", "1"))  # type: ignore[arg-type]
        connection.serve()
        assert client.closed
        assert self.forgotten.pop() is connection
        return client


def deaf(_: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """An application that never reads its input."""
    start_response("200 OK", [("Date", "d")])
    return [b"deaf"]


def ok(body: bytes, more: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\nDate: d\r\nContent-Length: %d\r\n%b\r\n%b" % (len(body), more, body)


def last(body: bytes) -> bytes:
    return ok(body, b"Connection: close\r\n")


def statuses(sent: bytes) -> list[int]:
    return [int(part[:3]) for part in sent.split(b"HTTP/1.1 ")[1:]]
