"""The backends of the functional tests: a small threaded HTTP/1.1 server that does what the path says, and a WSGI app.

``python backends.py NAME 127.0.0.1:0`` (or ``unix:/path``) prints ``listening on ADDRESS`` and serves until it is
killed; a third argument delays each echo by so many seconds. What it has seen is told under ``/control/``, which a test
asks directly, never through the proxy. Nothing here knows of the proxy, and nothing of it is imported, so that a defect
of ours cannot hide itself.

* ``/control/stats``  what was seen so far, see ``Books``
* ``/control/go/KEY``  one step more for whoever waits for KEY
* ``/hold/KEY``  waits for a step, then echoes
* ``/stepped/KEY/N``  a chunked answer: its head at once, then N pieces, one for each step; ``?sized``: with a length
* ``/download/N``  N bytes of ``generated``; ``?chunked``
* ``/cut/head``, ``/cut/body``, ``/cut/chunked``, ``/cut/reset``  hangs up before the head, or within the body
* ``/early/N``  answers 413 before it has read the body, and hangs up
* ``/raw?BYTES``  sends the quoted bytes
* ``/upload``, and everything else  echoes the request as JSON
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import select
import socket
import struct
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any
from urllib.parse import unquote_to_bytes

PIECE = random.Random(1).randbytes(256 * 1024)  # no part of it is like another one


class PeerGoneError(Exception):
    """The proxy closed the connection while an answer was under way."""


def generated(size: int) -> Iterator[bytes]:
    """``size`` bytes, always the same, in pieces, of which no two are the same."""
    for start in range(0, size, len(PIECE)):
        yield (start.to_bytes(8, "big") + PIECE[8:])[: size - start]


class Books:
    """What one backend has seen. Control requests are left out; health checks are counted apart."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.requests: list[str] = []  # "METHOD target", in order
        self.connections: set[int] = set()  # those that brought such requests
        self.checks = 0
        self.cancelled: list[str] = []  # requests whose connection was closed before the answer's end
        self.steps: defaultdict[str, threading.Semaphore] = defaultdict(lambda: threading.Semaphore(0))

    def note(self, line: str, connection: int) -> None:
        """A request has come."""
        with self.lock:
            if line.endswith(" /healthz"):
                self.checks += 1
            elif "/control/" not in line:
                self.requests.append(line)
                self.connections.add(connection)

    def stats(self) -> dict[str, Any]:
        """All of it, as JSON types."""
        with self.lock:
            seen = {"requests": self.requests, "connections": len(self.connections)}
            return {**seen, "checks": self.checks, "cancelled": self.cancelled, "counts": Counter(self.requests)}

    def step(self, key: str) -> threading.Semaphore:
        """The steps of a key."""
        with self.lock:
            return self.steps[key]


class Request:
    """One request; its body is read by whoever wants it."""

    def __init__(self, reader: IO[bytes], line: str) -> None:
        self.line = line.rpartition(" ")[0]
        self.method, self.target, self.version = line.split(" ")
        self.path, _, self.query = self.target.partition("?")
        self.fields: list[tuple[str, str]] = []
        self._reader = reader
        while text := reader.readline().decode("latin-1").rstrip("\r\n"):
            name, _, value = text.partition(":")
            self.fields.append((name, value.strip()))

    def field(self, name: str) -> str:
        """The value of a header field, empty where there is none."""
        return next((value for key, value in self.fields if key.lower() == name), "")

    def body(self) -> Iterator[bytes]:
        """The body's pieces. A chunk with a bad end, or an early end, raises ``PeerGoneError``."""
        if self.field("transfer-encoding") == "chunked":
            while size := int(self._reader.readline() or b"0", 16):
                yield self._read(size)
                self._read(2)
            if self._reader.readline() != b"\r\n":
                raise PeerGoneError
            return
        left = int(self.field("content-length") or 0)
        while left:
            piece = self._read(min(left, len(PIECE)))
            left -= len(piece)
            yield piece

    def _read(self, size: int) -> bytes:
        data = self._reader.read(size)
        if len(data) < size:
            raise PeerGoneError
        return data


class Server:
    """Accepts connections, a thread for each, until the process is killed."""

    def __init__(self, name: str, listener: socket.socket, delay: float) -> None:
        self._name = name
        self._delay = delay
        self._listener = listener
        self._books = Books()
        self._numbers = itertools.count(1)

    def run(self) -> None:
        """Serve for ever."""
        while True:
            sock, _ = self._listener.accept()
            if sock.family == socket.AF_INET:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(sock, next(self._numbers)), daemon=True).start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        reader: Any = sock.makefile("rb", len(PIECE))
        with sock, reader:
            request = None
            try:
                while line := reader.readline().decode("latin-1").rstrip("\r\n"):
                    request = Request(reader, line)
                    self._books.note(request.line, number)
                    if not self._answer(sock, request, number):
                        return
                    request = None
            except (PeerGoneError, OSError):
                if request is not None:  # else it was idle
                    with self._books.lock:
                        self._books.cancelled.append(request.line)

    def _answer(self, sock: socket.socket, request: Request, number: int) -> bool:
        """Answer one request; whether the connection goes on."""
        word, _, argument = request.path[1:].partition("/")
        action: Callable[[socket.socket, Request, str], bool] | None = getattr(self, f"_do_{word}", None)
        if action is not None:
            return action(sock, request, argument)
        time.sleep(self._delay)
        return self._echo(sock, request, number)

    def _echo(self, sock: socket.socket, request: Request, number: int = 0) -> bool:
        digest, size = digest_of(request.body())
        facts = {"name": self._name, "method": request.method, "target": request.target, "fields": request.fields}
        send_json(sock, {**facts, "sha256": digest, "size": size, "connection": number}, request.method == "HEAD")
        return request.field("connection") != "close"

    def _do_control(self, sock: socket.socket, request: Request, argument: str) -> bool:
        if argument != "stats":
            self._books.step(argument.removeprefix("go/")).release()
        send_json(sock, self._books.stats())
        return True

    def _do_hold(self, sock: socket.socket, request: Request, key: str) -> bool:
        self._wait_for_step(sock, key)
        return self._echo(sock, request)

    def _do_stepped(self, sock: socket.socket, request: Request, argument: str) -> bool:
        key, _, count = argument.partition("/")
        pieces = [f"data: piece {index}\n\n".encode() for index in range(int(count))]
        sized = request.query == "sized"
        length = f"Content-Length: {sum(map(len, pieces))}" if sized else "Transfer-Encoding: chunked"
        sock.sendall(f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{length}\r\n\r\n".encode())
        for piece in pieces:
            self._wait_for_step(sock, key)
            sock.sendall(piece if sized else chunk(piece))
        sock.sendall(b"" if sized else b"0\r\n\r\n")
        return True

    def _do_download(self, sock: socket.socket, request: Request, size: str) -> bool:
        chunked = request.query == "chunked"
        length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
        sock.sendall(f"HTTP/1.1 200 OK\r\n{length}\r\n\r\n".encode())
        for piece in generated(int(size)):
            sock.sendall(chunk(piece) if chunked else piece)
        sock.sendall(b"0\r\n\r\n" if chunked else b"")
        return True

    def _do_cut(self, sock: socket.socket, request: Request, where: str) -> bool:
        for _ in request.body():
            pass
        if where in ("body", "reset"):
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 500)
        elif where == "chunked":
            sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"x" * 500))
        if where == "reset":
            self._wait_for_step(sock, "reset")  # or the reset would overtake the bytes
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False

    def _do_early(self, sock: socket.socket, request: Request, argument: str) -> bool:
        sock.sendall(b"HTTP/1.1 413 No\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfull")
        return False

    def _do_raw(self, sock: socket.socket, request: Request, argument: str) -> bool:
        answer = unquote_to_bytes(request.query)
        sock.sendall(answer)
        return b"Connection: close" not in answer

    def _wait_for_step(self, sock: socket.socket, key: str) -> None:
        """Wait for one step of ``key``; ``PeerGoneError`` once the proxy has hung up."""
        step = self._books.step(key)
        while not step.acquire(timeout=0.02):
            if select.select([sock], [], [], 0)[0] and not sock.recv(1, socket.MSG_PEEK):
                raise PeerGoneError


def chunk(data: bytes) -> bytes:
    """One chunk (RFC 9112 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def digest_of(pieces: Iterable[bytes]) -> tuple[str, int]:
    """The SHA-256 of all the pieces together, and their size."""
    digest, size = hashlib.sha256(), 0
    for piece in pieces:
        digest.update(piece)
        size += len(piece)
    return digest.hexdigest(), size


def send_json(sock: socket.socket, facts: dict[str, Any], head_only: bool = False) -> None:
    """A whole answer in one system call: a killed process has sent all of it or nothing."""
    body = json.dumps(facts).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    sock.sendall(head if head_only else head + body)


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """A WSGI application (PEP 3333) that echoes: a backend in the daemon's own process, or under gunicorn."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    facts: dict[str, Any] = {key: value for key, value in environ.items() if key.isupper() and isinstance(value, str)}
    facts |= {"name": "app", "size": len(body), "target": environ["SCRIPT_NAME"] + environ["PATH_INFO"]}
    answer = json.dumps(facts).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
    return [answer]


def main(name: str, address: str, delay: str = "0") -> None:
    """Listen on ``host:port`` or ``unix:/path`` and serve."""
    if address.startswith("unix:"):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(address.removeprefix("unix:"))
        listener.listen(128)
    else:
        host, _, port = address.rpartition(":")
        listener = socket.create_server((host, int(port)), backlog=512)
        address = f"http://{host}:{listener.getsockname()[1]}"
    print(f"listening on {address}", flush=True)
    Server(name, listener, float(delay)).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
