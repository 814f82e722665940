"""A greenlet stream and the blocking socket at its other end, and what tests do with the two."""

from __future__ import annotations

import socket
import struct
import time
from typing import Any

import gevent.socket

from tests.loopback import driver, wait_for
from wsgiproxy.transport.greenlet_stream import GreenletStream
from wsgiproxy.transport.stream import BACKEND

LATE = 5.0  # seconds of scheduling delay that a busy machine may add
MUCH = 10_000_000  # bytes: more than the kernel holds


class Counting(GreenletStream):
    """A stream that counts how often the hub called it for reading."""

    fired = 0

    def _on_readable(self) -> None:
        self.fired += 1
        super()._on_readable()


class Pair:
    """A stream and the peer's blocking socket."""

    def __init__(self, errors: Any = BACKEND) -> None:
        ours, self.peer = socket.socketpair()
        ours.setblocking(False)
        self.peer.settimeout(LATE)
        self.stream = Counting(ours, errors, driver()._sweeper, "peer")

    def let_it_be_seen(self) -> None:
        """Until the hub has noticed what the peer did, and that nobody reads."""
        seen = self.stream.fired
        wait_for(lambda: self.stream.fired > seen, "the hub to notice")

    def close(self) -> None:
        self.stream.close()
        self.peer.close()


def soon(seconds: float = LATE) -> float:
    return time.monotonic() + seconds


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def tcp_pair(errors: Any = BACKEND) -> tuple[GreenletStream, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        peer = listener.accept()[0]
    peer.settimeout(LATE)
    return driver().adopt(ours, errors, "peer"), peer


def taken(peer: socket.socket, size: int) -> bytes:
    """So many bytes, read by the peer while the hub goes on."""
    received = bytearray()
    while len(received) < size:
        gevent.socket.wait_read(peer.fileno(), LATE)
        received += peer.recv(1 << 20)
    return bytes(received)
