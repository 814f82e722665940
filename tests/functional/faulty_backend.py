"""A backend that goes wrong as it is told: ``python faulty_backend.py NAME HOST:PORT BOOK`` serves until it is killed.

BOOK is a file of one page that both sides map, so that whoever tests sees what arrived even after a kill: the first
number is the fault (an index of ``FAULTS``), then come the client requests and the health checks that arrived. An
answer takes ``DELAY`` seconds and tells the backend's name. Nothing of the proxy is imported.
"""

from __future__ import annotations

import mmap
import re
import socket
import struct
import sys
from pathlib import Path
from typing import Any

import gevent
import gevent.server

FAULTS = ("none", "hang", "reset", "error", "app_error", "slow", "flap", "cut")
NUMBERS = struct.Struct("=3Q")  # fault, requests, checks
DELAY = 0.01  # seconds that a healthy answer takes
SLOW = 10  # times as long
FLAP = 1.0  # seconds up, and as many down
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time


class Book:
    """The mapped file."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(mmap.PAGESIZE))
        with path.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), mmap.PAGESIZE)

    @property
    def fault(self) -> str:
        """What is wrong at this moment."""
        return FAULTS[NUMBERS.unpack_from(self._page)[0]]

    @fault.setter
    def fault(self, name: str) -> None:
        struct.pack_into("=Q", self._page, 0, FAULTS.index(name))

    @property
    def requests(self) -> int:
        """Client requests that have arrived: their heads."""
        return int(NUMBERS.unpack_from(self._page)[1])

    @property
    def checks(self) -> int:
        """Health checks that have arrived."""
        return int(NUMBERS.unpack_from(self._page)[2])

    def note(self, check: bool) -> None:
        """One more has arrived."""
        _, requests, checks = NUMBERS.unpack_from(self._page)
        struct.pack_into("=2Q", self._page, 8, requests + (not check), checks + check)


class Server:
    """Every connection is a greenlet."""

    def __init__(self, name: str, address: tuple[str, int], book: Book) -> None:
        self._name = name
        self._address = address
        self._book = book
        self._open: set[Any] = set()
        self._listener: Any = None

    def run(self) -> None:
        """Listen; while it flaps, only every other second."""
        self._listen()
        while True:
            gevent.sleep(FLAP if self._book.fault == "flap" else 0.02)
            if self._book.fault == "flap" and self._listener is not None:
                self._listener.stop()
                self._listener = None
                for sock in list(self._open):
                    sock.shutdown(socket.SHUT_RDWR)
            elif self._listener is None:
                self._listen()

    def _listen(self) -> None:
        self._listener = gevent.server.StreamServer(self._address, self._serve, backlog=512)
        self._listener.reuse_addr = 1
        self._listener.start()
        self._address = self._listener.server_host, self._listener.server_port

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._address[1]

    def _serve(self, sock: Any, _peer: object) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._open.add(sock)
        data = b""
        try:
            while True:
                while (end := data.find(b"\r\n\r\n")) < 0:
                    if not (piece := sock.recv(65536)):
                        return
                    data += piece
                head, data = data[:end], data[end + 4 :]
                check = b" /healthz " in head
                self._book.note(check)
                found = LENGTH.search(head)
                size = int(found[1]) if found else 0
                while len(data) < size:
                    if not (piece := sock.recv(65536)):
                        return
                    data += piece
                data = data[size:]
                if not self._answer(sock, check):
                    return
        except OSError:
            pass
        finally:
            self._open.discard(sock)
            sock.close()

    def _answer(self, sock: Any, check: bool) -> bool:
        """Answer as the fault says; whether the connection goes on."""
        fault = self._book.fault
        if fault == "hang":
            while self._book.fault == "hang":
                gevent.sleep(0.05)
            return False
        if fault == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            return False
        if fault == "error" or (fault == "app_error" and not check):
            sock.sendall(b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno")
            return True
        gevent.sleep(DELAY * SLOW if fault == "slow" else DELAY)
        body = self._name.encode() * 2000
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        if fault == "cut":
            sock.sendall(answer[: -len(body) // 2])
            return False
        sock.sendall(answer)
        return True


def main(name: str, address: str, book: str) -> None:
    """Serve at ``host:port``; the kernel chooses port 0."""
    host, _, port = address.rpartition(":")
    server = Server(name, (host, int(port)), Book(Path(book)))
    runner = gevent.spawn(server.run)
    gevent.sleep(0)
    print(f"listening on http://{host}:{server.port}", flush=True)
    runner.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
