"""Large bodies that stay in the kernel, through the whole proxy: what arrives was sent, all of it or visibly cut."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

from tests.loopback import Client, Serving, driver, serving, wait_for
from tests.scripted import Backend, Peer, backend, background, body
from wsgiproxy.config import schema
from wsgiproxy.proxy.app import ProxyApp
from wsgiproxy.proxy.exchange import Exchange
from wsgiproxy.runtime import Runtime
from wsgiproxy.transport.splice import Piped, PipePool
from wsgiproxy.upstream import connector

DATA = random.Random(5).randbytes(8_000_000)
SIZE = len(DATA)
KERNEL = 100_000  # bytes that may have gone in the copied beginning, at the most
CONFIG = """\
daemon: {{listeners: ["127.0.0.1:0"]}}
pools: {{web: {{backends: ["{address}"], timeouts: {{read: 500ms, write: 500ms, tunnel: 500ms}}}}}}
routes: [{{pool: web}}]
"""
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


class Scene:
    """A backend, the proxy before it, and what it has logged and piped."""

    def __init__(self, running: Serving, server: Backend, logged: list[Exchange], piped: list[int]) -> None:
        self.running = running
        self.server = server
        self.logged = logged
        self._piped = piped

    @property
    def piped(self) -> int:
        """How many bytes went through pipes."""
        return sum(self._piped)

    def client(self) -> Client:
        return self.running.client()

    def ended(self) -> Exchange:
        """The one exchange, once it is logged."""
        wait_for(lambda: self.logged, "the log")
        (exchange,) = self.logged
        self.logged.clear()
        return exchange


Open = Callable[..., contextlib.AbstractContextManager[Scene]]


@pytest.fixture(name="scene")
def fixture_scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """A function that opens a scene, which leaves no pipe in use and none with bytes in it."""
    piped: list[int] = []
    receive = PipePool.receive

    def counting(pool: PipePool, descriptor: int, size: int) -> Piped | None:
        piece = receive(pool, descriptor, size)
        piped.append(0 if piece is None else len(piece))
        return piece

    monkeypatch.setattr(PipePool, "receive", counting)

    @contextlib.contextmanager
    def opened(*scripts: Any, min_rate: int = 0, **timeouts: float) -> Iterator[Scene]:
        logged: list[Exchange] = []
        with backend(*scripts) as server:
            config = tmp_path / "wsgiproxy.yaml"
            config.write_text(CONFIG.format(address=server.address))
            app = ProxyApp(Runtime(str(config), driver()), log=logged.append)
            limits = schema.Limits(min_rate=min_rate, body_bytes=None)
            try:
                with serving(app, limits=limits, timeouts=schema.ClientTimeouts(**timeouts)) as running:
                    yield Scene(running, server, logged, piped)
            finally:
                app.close()
        pool = driver()._pipes
        wait_for(lambda: pool._open == len(pool._idle), "the pipes to be given back")

    return opened


def sized(data: bytes) -> list[Any]:
    return [Peer.head, f"HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n".encode(), data]


def post(size: int, *lines: str) -> bytes:
    return "\r\n".join(
        ["POST /up HTTP/1.1", "Host: x", f"Content-Length: {size}", *lines, "", ""],
    ).encode()


# --- answers ----------------------------------------------------------------------------------------------------------


def test_a_large_answer_arrives_whole_is_counted_and_its_connection_is_used_again(scene: Open) -> None:
    with scene([*sized(DATA), *sized(DATA)]) as at:
        with at.client() as client:
            for _ in range(2):
                assert client.get().body == DATA
                assert (at.ended().bytes_sent, len(at.server.peers)) == (SIZE, 1)
        assert at.piped >= 2 * (SIZE - KERNEL)


def test_an_answer_that_ends_with_its_connection_is_piped_to_a_client_of_1_0(scene: Open) -> None:
    with scene([Peer.head, b"HTTP/1.1 200 OK\r\n\r\n", DATA, Peer.close]) as at, at.client() as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert client.rest().partition(b"\r\n\r\n")[2] == DATA
        assert (at.ended().bytes_sent, at.piped > SIZE - 2 * KERNEL) == (SIZE, True)


def test_a_reset_in_an_answer_that_ends_with_its_connection_is_a_reset_for_a_client_of_1_0(scene: Open) -> None:
    answer = [Peer.head, b"HTTP/1.1 200 OK\r\n\r\n", DATA, lambda peer: gevent.sleep(0.2), Peer.reset]
    with scene(answer) as at, at.client() as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            client.rest()
        assert at.ended().reason == "truncated_body"


@pytest.mark.parametrize("framing", ["Transfer-Encoding: chunked", ""])
def test_what_must_be_framed_for_the_client_is_copied(scene: Open, framing: str) -> None:
    head = f"HTTP/1.1 200 OK\r\n{framing}{chr(13) + chr(10) if framing else ''}\r\n".encode()
    data = b"%x\r\n%b\r\n0\r\n\r\n" % (SIZE, DATA) if framing else DATA
    with scene([Peer.head, head, data, *([] if framing else [Peer.close])]) as at, at.client() as client:
        assert client.get().body == DATA
        assert (at.ended().bytes_sent, at.piped) == (SIZE, 0)


@pytest.mark.parametrize("leave", [Peer.close, Peer.reset])
@pytest.mark.parametrize("size", [100, 70_000, 3_000_000, SIZE - 1])
def test_a_backend_that_ends_early_is_a_cut(scene: Open, leave: Any, size: int) -> None:
    with scene([*sized(DATA[:size]), leave]) as at, at.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        data = client.rest().partition(b"\r\n\r\n")[2]
        exchange = at.ended()
        assert data == DATA[: len(data)]
        assert len(data) < SIZE
        assert exchange.reason == "truncated_body"
        if leave is Peer.close:  # a reset may overtake what was sent before it
            assert (len(data), exchange.bytes_sent) == (size, size)


def test_a_backend_that_falls_silent_is_a_cut_in_time(scene: Open) -> None:
    with scene(sized(DATA[:3_000_000])) as at, at.client() as client:
        started = time.monotonic()
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert len(client.rest().partition(b"\r\n\r\n")[2]) == 3_000_000
        assert 0.5 <= time.monotonic() - started < 3
        assert at.ended().reason == "read_timeout"


@pytest.mark.parametrize("leave", [lambda client: client.sock.close(), Client.close_with_reset])
def test_a_client_that_leaves_is_logged_as_that_and_the_backend_is_let_go(scene: Open, leave: Any) -> None:
    with scene(sized(DATA)) as at:
        client = at.client()
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        client.read_exactly(500_000)
        leave(client)
        assert at.ended().reason == "client_disconnected"
        at.server.wait_closed()


@pytest.mark.parametrize("how", [{"write": 0.3}, {"response": 0.3}, {"write": 0.1, "min_rate": 2_000_000}])
def test_a_client_that_stops_reading_is_cut_off_in_time(scene: Open, how: dict[str, Any]) -> None:
    with scene(sized(DATA), **how) as at, at.client() as client:
        started = time.monotonic()
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert at.ended().reason == "client_disconnected"
        assert 0.1 <= time.monotonic() - started < 3
        assert at.piped


def test_a_client_that_reads_too_slowly_gets_no_more_than_the_time_for_the_answer(scene: Open) -> None:
    with scene(sized(DATA), response=0.5) as at, at.client() as client:
        started = time.monotonic()
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        while not at.logged:
            client.read_exactly(1000)
            gevent.sleep(0.01)
        assert 0.5 <= time.monotonic() - started < 3
        assert at.ended().reason == "client_disconnected"


# --- uploads ----------------------------------------------------------------------------------------------------------

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def test_a_large_upload_arrives_whole_and_both_connections_go_on(scene: Open, monkeypatch: Any) -> None:
    monkeypatch.setattr(connector, "WARY", 0.0)  # as if the backend were known for long
    with scene([Peer.head, body(SIZE), OK, Peer.head, body(SIZE), OK]) as at, at.client() as client:
        for number in range(2):
            client.send(post(SIZE) + DATA)
            assert client.answer().body == b"ok"
            assert at.server.peers[0].bodies[number] == DATA
            at.ended()
        assert (len(at.server.peers), at.piped >= 2 * (SIZE - 4 * KERNEL)) == (1, True)


def test_what_follows_an_upload_is_the_next_request(scene: Open) -> None:
    with scene([Peer.head, body(SIZE), OK, Peer.head, OK]) as at, at.client() as client:
        client.send(post(SIZE) + DATA + b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n")
        assert [client.answer().body for _ in range(2)] == [b"ok", b"ok"]
        assert at.server.peers[0].bodies == [DATA]
        assert at.server.peers[0].heads[1].startswith("GET /next ")


@pytest.mark.parametrize("leave", [lambda client: client.sock.close(), Client.close_with_reset])
@pytest.mark.parametrize("size", [100, 70_000, 3_000_000, SIZE - 1])
def test_a_client_that_ends_an_upload_early_is_a_cut_for_the_backend(scene: Open, leave: Any, size: int) -> None:
    with scene(*[[Peer.head, body(SIZE)]] * (size > 65_536)) as at:
        client = at.client()
        client.send(post(SIZE) + DATA[:size])
        leave(client)
        assert at.ended().reason == "client_disconnected"
        if size > 65_536:
            wait_for(lambda: at.server.errors, "the backend to find it cut")
            assert isinstance(at.server.errors.pop(), (EOFError, ConnectionError))
            received = at.server.peers[0].unread
            assert received == DATA[: len(received)]


def test_a_client_that_stalls_in_an_upload_is_late(scene: Open) -> None:
    with scene([Peer.head, body(SIZE)], body=0.3) as at, at.client() as client:
        client.send(post(SIZE) + DATA[:3_000_000])
        started = time.monotonic()
        assert client.answer().status == 408
        assert 0.2 <= time.monotonic() - started < 3
        wait_for(lambda: at.server.errors, "the backend to find it cut")
        at.server.errors.clear()
        assert at.server.peers[0].unread == DATA[:3_000_000]


def test_a_refusal_in_the_middle_of_an_upload_is_heard_and_ends_it(scene: Open) -> None:
    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"
    with scene([Peer.head, body(3_000_000), refusal]) as at, at.client() as client:
        client.send(post(SIZE) + DATA[:4_000_000])  # and no more: it is the answer that wakes the upload
        assert (client.answer().status, at.piped > 0) == (413, True)
        assert at.ended().status == 413


def test_an_early_answer_is_delivered_while_the_upload_goes_on(scene: Open) -> None:
    with scene([Peer.head, body(3_000_000), OK, body(SIZE - 3_000_000)]) as at, at.client() as client:
        client.send(post(SIZE) + DATA[:4_000_000])
        assert client.answer().body == b"ok"
        sending = background(lambda: client.send(DATA[4_000_000:]))
        wait_for(lambda: len(at.server.peers[0].bodies) == 2)
        assert b"".join(at.server.peers[0].bodies) == DATA
        sending()


def test_a_backend_that_stops_reading_an_upload_is_late(scene: Open) -> None:
    with scene([Peer.head, lambda peer: gevent.sleep(2)]) as at, at.client() as client:
        started = time.monotonic()
        sending = gevent.spawn(client.send, post(SIZE) + DATA + DATA)
        assert client.answer().status == 504
        assert 0.5 <= time.monotonic() - started < 2.5
        sending.kill()


# --- tunnels ----------------------------------------------------------------------------------------------------------


def test_bulk_in_a_tunnel_is_piped_both_ways(scene: Open) -> None:
    def echo(peer: Peer) -> None:
        while data := peer.sock.recv(1 << 20):
            peer.sock.sendall(data)
        peer.close()

    with scene([Peer.head, SWITCH, echo]) as at, at.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert client.answer().status == 101
        client.send(b"small")
        assert (client.read_exactly(5), at.piped) == (b"small", 0)
        sending = background(lambda: client.send(DATA))
        assert client.read_exactly(SIZE) == DATA
        sending()
        assert at.piped > SIZE
        client.sock.close()
        assert at.ended().bytes_sent == SIZE + 5


# --- any sizes, pauses and cuts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(40))
def test_an_answer_is_what_was_sent_or_visibly_cut(scene: Open, seed: int) -> None:
    dice = random.Random(seed)
    size = dice.choice([1, 65_536, 65_537, 200_000, 1_000_000, 3_000_000])
    cut = dice.choice([None, None, "backend", "client"])
    cut_at = dice.randrange(size)

    def answer(peer: Peer) -> None:
        done, end = 0, cut_at if cut == "backend" else size
        while done < end:
            step = min(dice.choice([100, 5000, 65_536, 500_000]), end - done)
            peer.sock.sendall(DATA[done : done + step])
            done += step
            if dice.random() < 0.1:
                gevent.sleep(dice.random() * 0.01)
        if cut == "backend":
            dice.choice([Peer.close, Peer.reset])(peer)

    head = f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode()
    with scene([Peer.head, head, answer]) as at, at.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        if cut == "client":
            with contextlib.suppress(EOFError):
                assert client.read_to(b"\r\n\r\n")
                assert client.read_exactly(cut_at) == DATA[:cut_at]
            client.sock.close()
            assert at.ended().reason in ("done", "client_disconnected")
            return
        data = client.rest().partition(b"\r\n\r\n")[2]
        exchange = at.ended()
        if cut is None:
            assert (data == DATA[:size], exchange.bytes_sent, exchange.reason) == (True, size, "done")
        elif exchange.status == 200:
            assert data == DATA[: len(data)]
            assert len(data) < size
            assert exchange.reason == "truncated_body"


@pytest.mark.parametrize("seed", range(20))
def test_an_upload_is_what_was_sent_or_visibly_cut(scene: Open, seed: int) -> None:
    dice = random.Random(seed)
    size = dice.choice([65_536, 131_072, 131_073, 1_000_000, 3_000_000])
    cut_at = dice.choice([size, dice.randrange(size)])

    def send(client: Client) -> None:
        client.send(post(size))
        done = 0
        while done < cut_at:
            step = min(dice.choice([100, 5000, 65_536, 500_000]), cut_at - done)
            client.send(DATA[done : done + step])
            done += step
            if dice.random() < 0.1:
                gevent.sleep(dice.random() * 0.01)

    with scene(*[[Peer.head, body(size), OK]] * (cut_at >= 65_536)) as at:
        client = at.client()
        sending = background(lambda: send(client))
        if cut_at == size:
            assert client.answer().body == b"ok"
            assert at.server.peers[0].bodies == [DATA[:size]]
            sending()
            return
        gevent.sleep(0)
        sending()
        client.sock.close()
        assert at.ended().reason == "client_disconnected"
        if at.server.peers:
            wait_for(lambda: at.server.errors, "the backend to find it cut")
            at.server.errors.clear()
            received = at.server.peers[0].unread
            assert received == DATA[: len(received)]
            assert len(received) < size
