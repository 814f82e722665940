"""Two streams tied together: everything gets through, each end and each failure is passed on, nothing is left."""

from __future__ import annotations

import contextlib
import functools
import random
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.socket
import pytest

from tests.loopback import PATIENCE, driver, wait_for
from tests.unit.proxy.journeys import FakeBody, environ_of
from wsgiproxy.errors import ClientDisconnectedError, ProxyError, ResetError, WriteTimeout
from wsgiproxy.proxy.exchange import Exchange
from wsgiproxy.proxy.tunnel import Tunnel
from wsgiproxy.transport.stream import BACKEND, CLIENT, Stream


class FakeLease:
    """Notes how it is released."""

    def __init__(self) -> None:
        self.released: list[bool] = []

    def release(self, failed: bool = False) -> None:
        self.released.append(failed)


class Scene:
    """A tunnel between two socket pairs, with the far end of each at hand."""

    def __init__(
        self,
        idle_timeout: float = PATIENCE,
        backend_early: bytes = b"",
        client_early: bytes = b"",
        write_timeout: float = PATIENCE,
    ) -> None:
        self.client, near_client = pair()
        self.backend, near_backend = pair()
        self.near: list[Stream] = [
            driver().adopt(socket.socket(fileno=near.detach()), errors, name)
            for near, errors, name in ((near_client, CLIENT, "the client"), (near_backend, BACKEND, "the backend"))
        ]
        self.logged: list[Exchange] = []
        self.cancel: Callable[[ProxyError], None] | None = None  # what our server calls when it cuts the connection
        self.exchange = Exchange(environ_of(**{"wsgiproxy.on_cancel": self.on_cancel}), self.logged.append)
        self.lease = FakeLease()
        self.pumps: list[Any] = []
        self.body = FakeBody([])
        lease: Any = self.lease
        self.tunnel = Tunnel(
            self.near[1], backend_early, lease, self.exchange, self.body, self.spawn, idle_timeout, write_timeout
        )
        self.running = driver().spawn(functools.partial(self.run, client_early), "the connection")
        self.outcome: list[BaseException | None] = []

    def spawn(self, function: Callable[[], None], name: str) -> Any:
        self.pumps.append(driver().spawn(function, name))
        return self.pumps[-1]

    def on_cancel(self, cancel: Callable[[ProxyError], None] | None) -> None:
        self.cancel = cancel

    def cut(self) -> None:
        """What our server does to a connection when it stops."""
        error = ClientDisconnectedError("the server has stopped")
        if self.cancel is not None:
            self.cancel(error)
        self.near[0].abort(error)

    def run(self, early: bytes) -> None:
        try:
            self.tunnel.run_tunnel(self.near[0], early)
        except ProxyError as error:
            self.outcome.append(error)
        else:
            self.outcome.append(None)

    @property
    def over(self) -> bool:
        return bool(self.outcome)

    def wait_over(self) -> BaseException | None:
        """Wait until both directions are over; what ``run_tunnel`` raised."""
        wait_for(lambda: self.over, "the tunnel to end")
        assert [pump.dead for pump in self.pumps] == [True]
        return self.outcome[0]

    def close(self) -> None:
        """End it all."""
        for near in self.near:
            near.close()
        self.wait_over()
        self.client.close()
        self.backend.close()


def pair() -> tuple[Any, Any]:
    """Both ends of a TCP connection, which can be reset."""
    with contextlib.closing(gevent.socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        ends = gevent.socket.create_connection(listener.getsockname()), listener.accept()[0]
    for end in ends:
        end.settimeout(PATIENCE)
    return ends


def reset(sock: Any) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@pytest.fixture(name="scene")
def fixture_scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.close()


def read_all(sock: Any) -> bytes:
    data = b""
    while piece := sock.recv(65536):
        data += piece
    return data


def test_bytes_go_both_ways_as_they_come(scene: Scene) -> None:
    scene.client.sendall(b"question")
    assert scene.backend.recv(100) == b"question"
    scene.backend.sendall(b"answer")
    assert scene.client.recv(100) == b"answer"


def test_what_came_early_goes_first() -> None:
    scene = Scene(backend_early=b"from the backend", client_early=b"from the client")
    assert scene.backend.recv(100) == b"from the client"
    assert scene.client.recv(100) == b"from the backend"
    scene.close()


def test_large_amounts_go_both_ways_at_once(scene: Scene) -> None:
    data = random.Random(1).randbytes(8_000_000)
    senders = [gevent.spawn(send_and_end, sock, data) for sock in (scene.client, scene.backend)]
    readers = [gevent.spawn(read_all, sock) for sock in (scene.client, scene.backend)]
    assert [reader.get(timeout=20) == data for reader in readers] == [True, True]
    gevent.joinall(senders)
    scene.wait_over()
    assert scene.exchange.bytes_sent == len(data)


def send_and_end(sock: Any, data: bytes) -> None:
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("first", ["client", "backend"])
def test_the_end_of_one_direction_leaves_the_other_one(scene: Scene, first: str) -> None:
    one, other = (scene.client, scene.backend) if first == "client" else (scene.backend, scene.client)
    one.shutdown(socket.SHUT_WR)
    assert other.recv(100) == b""
    other.sendall(b"still here")
    assert one.recv(100) == b"still here"
    assert not scene.over
    other.shutdown(socket.SHUT_WR)
    assert one.recv(100) == b""
    assert scene.wait_over() is None
    assert scene.exchange.reason == "done"


def test_a_backend_that_goes_ends_both_directions_once_it_is_written_to(scene: Scene) -> None:
    scene.backend.close()
    assert scene.client.recv(100) == b""
    asking = gevent.spawn(keep_sending, scene.client, b"anybody there?", 0.01)
    assert isinstance(scene.wait_over(), ResetError)
    asking.kill()


def test_a_reset_by_the_client_ends_both_directions_at_once(scene: Scene) -> None:
    scene.backend.sendall(b"hello")
    assert scene.client.recv(100) == b"hello"
    reset(scene.client)
    assert scene.wait_over() is None
    assert scene.exchange.reason == "client_disconnected"


def test_a_reset_by_the_backend_ends_both_directions_at_once_and_is_told(scene: Scene) -> None:
    scene.client.sendall(b"hello")
    assert scene.backend.recv(100) == b"hello"
    reset(scene.backend)
    assert isinstance(scene.wait_over(), ResetError)
    assert scene.exchange.reason == "backend_reset"
    scene.tunnel.close()
    assert scene.lease.released == [True]


def test_a_reset_by_the_backend_after_the_clients_end_is_not_held_against_it(scene: Scene) -> None:
    scene.client.shutdown(socket.SHUT_WR)
    assert scene.backend.recv(100) == b""
    reset(scene.backend)
    assert isinstance(scene.wait_over(), ResetError)
    scene.tunnel.close()
    assert scene.lease.released == [False]


def test_a_server_that_stops_ends_both_directions_at_once(scene: Scene) -> None:
    scene.backend.sendall(b"hello")
    assert scene.client.recv(100) == b"hello"
    scene.cut()
    assert scene.wait_over() is None
    assert scene.exchange.reason == "client_disconnected"


def test_a_server_that_stops_ends_a_tunnel_that_nobody_reads_the_client_of(scene: Scene) -> None:
    scene.client.shutdown(socket.SHUT_WR)
    assert scene.backend.recv(100) == b""
    scene.cut()
    assert scene.wait_over() is None
    assert scene.exchange.reason == "client_disconnected"


@pytest.mark.parametrize(("deaf", "reason"), [("client", "client_disconnected"), ("backend", "write_timeout")])
def test_a_side_that_takes_nothing_ends_the_tunnel_although_the_other_way_is_busy(deaf: str, reason: str) -> None:
    scene = Scene(write_timeout=0.3)
    silent, talker = (scene.client, scene.backend) if deaf == "client" else (scene.backend, scene.client)
    talking = gevent.spawn(keep_sending, talker, bytes(1_000_000), 0)
    busy = gevent.spawn(keep_sending, silent, b"tick", 0.05)
    assert isinstance(scene.wait_over(), WriteTimeout) == (deaf == "backend")
    assert scene.exchange.reason == reason
    gevent.killall([talking, busy])
    scene.close()


def keep_sending(sock: Any, data: bytes, pause: float) -> None:
    with contextlib.suppress(OSError):
        while True:
            sock.sendall(data)
            gevent.sleep(pause)


def test_the_end_of_the_connections_greenlet_ends_both_directions(scene: Scene) -> None:
    scene.backend.sendall(b"hello")
    assert scene.client.recv(100) == b"hello"
    scene.running.kill()
    wait_for(lambda: scene.pumps[0].dead, "the other direction to end")
    scene.outcome.append(None)


def test_silence_both_ways_ends_the_tunnel() -> None:
    scene = Scene(idle_timeout=0.3)
    begin = time.monotonic()
    scene.wait_over()
    assert time.monotonic() - begin >= 0.3
    assert scene.exchange.reason == "tunnel_timeout"
    scene.close()


def test_silence_one_way_does_not() -> None:
    scene = Scene(idle_timeout=0.4)
    for _ in range(6):
        gevent.sleep(0.15)
        scene.backend.sendall(b"tick")
        assert scene.client.recv(100) == b"tick"
    assert not scene.over
    scene.close()


def test_close_gives_everything_back_once(scene: Scene) -> None:
    scene.client.shutdown(socket.SHUT_WR)
    scene.backend.shutdown(socket.SHUT_WR)
    scene.wait_over()
    scene.tunnel.close()
    scene.tunnel.close()
    assert scene.logged == [scene.exchange]
    assert scene.lease.released == [False, False]
    assert scene.body.closed == 2


def test_without_a_tunnel_there_is_nothing_to_iterate_over(scene: Scene) -> None:
    assert list(scene.tunnel) == []
