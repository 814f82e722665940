"""What the tests of pieces in the kernel share: a line from socket to socket through two streams of ours."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from math import inf
from typing import Any

import gevent.socket

from tests.loopback import driver
from tests.scripted import background
from tests.unit.transport.pairs import LATE, soon
from wsgiproxy.transport.greenlet_stream import GreenletStream
from wsgiproxy.transport.splice import Piped, PipePool
from wsgiproxy.transport.stream import BACKEND

PIECE = 256 * 1024


class Line:
    """From ``origin``, a socket, to ``source``, a stream of ours, and from ``sink``, another one, to ``target``."""

    def __init__(self, pair: Callable[[], tuple[socket.socket, socket.socket]]) -> None:
        self.pool = PipePool()
        self.origin, near = pair()
        self.target, far = pair()
        self.source, self.sink = self._stream(near, "source"), self._stream(far, "sink")

    def _stream(self, sock: socket.socket, name: str) -> GreenletStream:
        sock.setblocking(False)
        return GreenletStream(sock, BACKEND, driver()._sweeper, name, self.pool)

    def pump(self, patience: float = LATE, pieces: float = inf) -> int:
        """Move everything, or so many pieces; the number of pieces that were piped."""
        piped = 0
        while pieces > 0 and len(piece := self.source.recv_piece(PIECE, soon(patience))):
            piped += isinstance(piece, Piped)
            self.sink.send_all(piece, patience)
            assert isinstance(piece, bytes) or not len(piece)
            pieces -= 1
        return piped

    def close(self) -> None:
        for end in (self.origin, self.target, self.source, self.sink):
            end.close()
        self.pool.close()


def tcp() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname(), LATE)
        theirs = listener.accept()[0]
        theirs.settimeout(LATE)
        return ours, theirs


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def send(sock: socket.socket, data: bytes) -> Callable[[], Any]:
    """Send in the background, then shut down the sending side."""

    def run() -> None:
        sock.setblocking(False)
        rest = memoryview(data)
        while rest:
            gevent.socket.wait_write(sock.fileno(), LATE)
            with contextlib.suppress(BlockingIOError):
                rest = rest[sock.send(rest) :]
        sock.shutdown(socket.SHUT_WR)

    return background(run)
