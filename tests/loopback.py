"""A front server of this process on a loopback socket, and a client that shows every byte.

Both run on the hub of the test's own thread: the client's waits are the server's turns. The client reads answers by a
small reader of its own, never by ``wsgiproxy.http1``, so that a common mistake of both sides cannot hide.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

import gevent
import gevent.socket

from wsgiproxy.config import schema
from wsgiproxy.server.listener import open_listener
from wsgiproxy.server.server import Server
from wsgiproxy.transport.greenlet import GreenletDriver

T = TypeVar("T")

PATIENCE = 5.0  # seconds that a client waits for anything before the test fails


class Answer(NamedTuple):
    """One response: ``fields`` as they came, names in lower case."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes

    def __getitem__(self, name: Any) -> Any:
        """The values of a field joined with commas, None where it is not there."""
        values = [value for field, value in self.fields if field == name]
        return ", ".join(values) if values else None


class Client:
    """A raw connection to a server."""

    def __init__(self, address: Any, source: str = "") -> None:
        """``source`` is the client's own address, where it matters."""
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.sock = gevent.socket.socket(family, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE)
        if source:
            self.sock.bind((source, 0))
        try:
            self.sock.connect(address)
        except OSError:
            self.sock.close()
            raise
        self._received = b""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        """Send all of ``data``."""
        self.sock.sendall(data)

    def get(self, target: str = "/", *lines: str) -> Answer:
        """The answer to a GET with these further field lines."""
        self.send("".join(f"{line}\r\n" for line in (f"GET {target} HTTP/1.1", "Host: x", *lines, "")).encode())
        return self.answer()

    def answer(self, method: str = "GET") -> Answer:
        """The next response on the connection, to a request with ``method``."""
        head = self.read_to(b"\r\n\r\n").decode("latin-1")
        first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
        version, status = first.split(" ")[:2]
        assert version == "HTTP/1.1", first
        fields = [(name.lower(), value) for name, value in (line.split(": ", 1) for line in lines)]
        answer = Answer(int(status), fields, b"")
        if method == "HEAD" or answer.status in (204, 304) or answer.status < 200:
            return answer
        return answer._replace(body=self._body(answer))

    def _body(self, answer: Answer) -> bytes:
        length, coding = answer["content-length"], answer["transfer-encoding"]
        assert length is None or coding is None, answer
        if length is not None:
            return self.read_exactly(int(length))
        if coding is None:
            return self.rest()
        assert coding == "chunked", answer
        body = b""
        while size := int(self.read_to(b"\r\n"), 16):
            body += self.read_exactly(size)
            assert self.read_exactly(2) == b"\r\n"
        assert self.read_exactly(2) == b"\r\n"
        return body

    def read_to(self, mark: bytes) -> bytes:
        """Everything up to ``mark`` and with it; ``EOFError`` where the server closes before."""
        while (end := self._received.find(mark)) < 0:
            self._receive()
        return self._take(end + len(mark))

    def read_exactly(self, size: int) -> bytes:
        """``size`` bytes; ``EOFError`` where the server closes before."""
        while len(self._received) < size:
            self._receive()
        return self._take(size)

    def rest(self) -> bytes:
        """Everything up to the server's close; ``ConnectionResetError`` where that is a reset."""
        with contextlib.suppress(EOFError):
            while True:
                self._receive()
        return self._take(len(self._received))

    def is_silent(self, seconds: float = 0.1) -> bool:
        """Whether nothing comes, not even the end, for a while."""
        if self._received:
            return False
        self.sock.settimeout(seconds)
        try:
            self._receive()
        except TimeoutError:
            return True
        except EOFError:
            pass
        finally:
            self.sock.settimeout(PATIENCE)
        return False

    def is_closed(self) -> bool:
        """Whether the server has closed, cleanly or not, and nothing but that is left to read."""
        try:
            return self.rest() == b""
        except ConnectionResetError:
            return True

    def close_with_reset(self) -> None:
        """Go away so that the server sees a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.sock.close()

    def _receive(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            raise EOFError(f"closed after {self._received[-200:]!r}")
        self._received += data

    def _take(self, size: int) -> bytes:
        taken, self._received = self._received[:size], self._received[size:]
        return taken


class Serving:
    """A started server and its clients; ``server`` is the real thing."""

    def __init__(self, server: Server, address: Any) -> None:
        self.server = server
        self.address = address
        self._clients: list[Client] = []

    def client(self, source: str = "") -> Client:
        """A new connection, closed with the server at the latest."""
        client = Client(self.address, source)
        self._clients.append(client)
        return client

    def exchange(self, data: bytes) -> bytes:
        """Send ``data`` on a connection of its own, and nothing more; all that comes back until the server closes."""
        client = self.client()
        client.send(data)
        client.sock.shutdown(socket.SHUT_WR)
        return client.rest()

    def close(self) -> None:
        """End it all."""
        for client in self._clients:
            client.sock.close()
        self.server.close()


@contextlib.contextmanager
def serving(
    app: Any,
    *,
    address: str = "127.0.0.1:0",
    limits: schema.Limits | None = None,
    timeouts: schema.ClientTimeouts | None = None,
    **more: Any,
) -> Iterator[Serving]:
    """``app`` behind a real server on a loopback socket; ``more`` are further keys of the listener's block."""
    listener = schema.Listener(
        address=address, limits=limits or schema.Limits(), timeouts=timeouts or schema.ClientTimeouts(), **more
    )
    sock = open_listener(listener)
    server = Server(app, sock, listener, driver())
    server.start()
    running = Serving(server, sock.getsockname())
    try:
        yield running
    finally:
        running.close()
        assert server.connections == 0, server


@functools.cache
def driver() -> GreenletDriver:
    """One driver for all tests: its sweep runs as long as the hub does."""
    return GreenletDriver()


def wait_for(predicate: Callable[[], T], what: str = "the condition") -> T:
    """What ``predicate`` returns, as soon as that is true; the server goes on meanwhile."""
    deadline = time.monotonic() + PATIENCE
    while not (value := predicate()):
        assert time.monotonic() < deadline, f"waited {PATIENCE:g} s for {what}"
        gevent.sleep(0.005)
    return value
