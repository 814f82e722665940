"""Backends that play a script: real loopback sockets, and on each connection exactly what the test says.

A script is a list of steps for one connection: bytes are sent as they are, anything else is called with the ``Peer``
(its own methods make good steps). After the last step the peer waits for the other side to close. Runs on the hub of
the test's own thread.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gevent
import gevent.socket

from tests.loopback import PATIENCE, wait_for
from wsgiproxy.errors import ProxyError

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Step = Any  # bytes, or a function of the peer
Script = Sequence[Step]


class Peer:
    """The backend's end of one connection; ``closed`` is true once the other side has closed, cleanly or not."""

    def __init__(self, sock: Any) -> None:
        self.sock = sock
        self.closed = False
        self.heads: list[str] = []
        self.bodies: list[bytes] = []
        self._received = b""

    def head(self) -> None:
        """Read one request head and keep it."""
        self.heads.append(self.read_to(b"\r\n\r\n").decode("latin-1"))

    def body(self, size: int) -> None:
        """Read so many bytes of a body and keep them."""
        while len(self._received) < size:
            self._receive()
        self.bodies.append(self._received[:size])
        self._received = self._received[size:]

    def read_to(self, mark: bytes) -> bytes:
        """Everything up to ``mark``, and with it."""
        while (end := self._received.find(mark)) < 0:
            self._receive()
        taken, self._received = self._received[: end + len(mark)], self._received[end + len(mark) :]
        return taken

    def close(self) -> None:
        """Hang up."""
        self.sock.close()

    def reset(self) -> None:
        """Hang up so that the other side sees a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def play(self, script: Script) -> None:
        """All steps, and then the wait for the other side's end, which may also come before the last step."""
        try:
            for step in script:
                if isinstance(step, bytes):
                    self.sock.sendall(step)
                else:
                    step(self)
            while self.sock.fileno() >= 0 and not self.closed:
                data = self.sock.recv(65536)
                self._received += data
                self.closed = not data
        except ConnectionError:
            self.closed = True
        finally:
            self.sock.close()

    @property
    def unread(self) -> bytes:
        """What came and no step has read."""
        return self._received

    def _receive(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            self.closed = True
            raise EOFError(f"closed after {self._received[-200:]!r}")
        self._received += data


def body(size: int) -> Step:
    """A step: read so many bytes."""
    return lambda peer: peer.body(size)


def pause(seconds: float) -> Step:
    """A step: be silent for so long."""
    return lambda peer: gevent.sleep(seconds)


def serve(*answers: bytes) -> list[Step]:
    """A script: one request head is read before each answer."""
    return [step for answer in answers for step in (Peer.head, answer)]


class Backend:
    """A listener; its n-th connection plays the n-th script, and there must be no more connections than scripts."""

    def __init__(self, *scripts: Script) -> None:
        self._listener = gevent.socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self._scripts = list(scripts)
        self._greenlets: list[gevent.Greenlet[..., Any]] = []
        self.peers: list[Peer] = []
        self.errors: list[BaseException] = []
        self.host, self.port = self._listener.getsockname()
        self.address = f"http://{self.host}:{self.port}"
        self._accepting = gevent.spawn(self._accept)

    def expect(self, *scripts: Script) -> None:
        """Scripts for further connections."""
        self._scripts.extend(scripts)

    def wait_closed(self, index: int = -1) -> None:
        """Until the other side has closed the connection."""
        wait_for(lambda: self.peers and self.peers[index].closed, "the connection to be closed")

    def stop(self) -> None:
        """Listen no more: connections are refused."""
        self._accepting.kill()
        self._listener.close()

    def close(self) -> None:
        """End it all; raises what went wrong in a script."""
        self.stop()
        gevent.killall(self._greenlets)
        for peer in self.peers:
            peer.close()
        if self.errors:
            raise self.errors[0]

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            sock.settimeout(PATIENCE)
            peer = Peer(sock)
            self.peers.append(peer)
            if not self._scripts:
                self.errors.append(AssertionError(f"connection {len(self.peers)} has no script"))
                peer.close()
                continue
            self._greenlets.append(gevent.spawn(self._play, peer, self._scripts.pop(0)))

    def _play(self, peer: Peer, script: Script) -> None:
        try:
            peer.play(script)
        except Exception as error:  # noqa: BLE001 - it is raised again when the backend is closed
            self.errors.append(error)


@contextlib.contextmanager
def backend(*scripts: Script) -> Iterator[Backend]:
    """A backend for the time of a block."""
    running = Backend(*scripts)
    try:
        yield running
    finally:
        running.close()


def background(call: Callable[[], object]) -> Callable[[], Any]:
    """Run ``call`` in a greenlet, as far as it gets; the function returned waits for its result or its error."""
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(call())
        except ProxyError as error:
            outcome.append(error)

    greenlet = gevent.spawn(run)
    gevent.sleep(0)

    def join() -> object:
        greenlet.join(PATIENCE)
        assert outcome, "it still waits"
        return outcome[0]

    return join
