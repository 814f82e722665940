"""What precedes HTTP, on real sockets; TLS is tested with real certificates."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import gevent.socket
import pytest

from tests.loopback import PATIENCE, Client, Serving, serving, wait_for
from wsgiproxy.config import schema
from wsgiproxy.server import welcome as module
from wsgiproxy.transport.proxy_protocol import LOCAL_V2, UNKNOWN_V1, encode_v1, encode_v2

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
ENDS = ("192.0.2.1", 1234, "198.51.100.7", 443)
NAMED = repr(["192.0.2.1", "1234", ("198.51.100.7", 443)])
SHORT = schema.ClientTimeouts(header=0.3)
BOTH = pytest.mark.parametrize("header", [encode_v1(*ENDS), encode_v2(*ENDS)])


def ends_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [])
    ends = [environ["REMOTE_ADDR"], environ.get("REMOTE_PORT"), environ["wsgiproxy.destination"]()]
    return [repr(ends).encode()]


def own_ends(client: Client) -> str:
    host, port = client.sock.getsockname()
    return repr([host, str(port), client.sock.getpeername()])


@pytest.fixture(name="trusting")
def fixture_trusting() -> Iterator[Serving]:
    with serving(ends_app, proxy_protocol=("127.0.0.1/32",), timeouts=SHORT) as running:
        yield running


@pytest.fixture(name="told", autouse=True)
def fixture_told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


@BOTH
def test_the_client_is_whom_the_header_names_for_all_its_requests(trusting: Serving, header: bytes) -> None:
    client = trusting.client()
    client.send(header + GET)
    assert [client.answer().body.decode(), client.get().body.decode()] == [NAMED, NAMED]


@BOTH
def test_the_header_may_come_in_pieces(trusting: Serving, header: bytes) -> None:
    client = trusting.client()
    for at in range(len(header)):
        client.send(header[at : at + 1])
        assert client.is_silent(0.001)
    client.send(GET)
    assert client.answer().body.decode() == NAMED


@pytest.mark.parametrize("header", [UNKNOWN_V1, LOCAL_V2])
def test_a_header_without_a_name_leaves_the_connections_own_ends(trusting: Serving, header: bytes) -> None:
    client = trusting.client()
    client.send(header + GET)
    assert client.answer().body.decode() == own_ends(client)


@pytest.mark.parametrize("start", [GET, b"PROXY TCP4 x y 1 2\r\n" + GET, b"PROXY TCP4 192.0.2.1", b"\r\n\r\n\x00"])
def test_a_peer_that_must_send_a_header_and_does_not_is_turned_away(
    trusting: Serving, told: pytest.LogCaptureFixture, start: bytes
) -> None:
    client = trusting.client()
    client.send(start)
    started = time.monotonic()
    assert client.is_closed()
    assert time.monotonic() - started < 1
    (line,) = told.messages
    assert line.startswith("a connection of 127.0.0.1 ended before its first request: ")


def test_a_header_that_is_cut_is_told_of_and_a_look_at_the_port_is_not(
    trusting: Serving, told: pytest.LogCaptureFixture
) -> None:
    assert trusting.exchange(b"") == b""
    assert told.messages == []
    assert trusting.exchange(b"PROXY TCP4") == b""
    assert told.messages == [
        "a connection of 127.0.0.1 ended before its first request: it was cut within its PROXY header"
    ]


def test_nobody_else_may_say_who_he_is() -> None:
    with serving(ends_app, proxy_protocol=("192.0.2.0/24", "unix:")) as running:
        client = running.client()
        assert client.get().body.decode() == own_ends(client)
        assert running.exchange(encode_v1(*ENDS) + GET).startswith(b"HTTP/1.1 400 ")
        assert running.exchange(encode_v2(*ENDS) + GET).startswith(b"HTTP/1.1 400 ")


def test_a_unix_socket_may_be_trusted_too(tmp_path: Path) -> None:
    with serving(ends_app, address=f"unix:{tmp_path}/s.sock", proxy_protocol=("unix:",)) as running:
        named, unnamed = running.client(), running.client()
        named.send(encode_v2(*ENDS) + GET)
        assert named.answer().body.decode() == NAMED
        unnamed.send(UNKNOWN_V1 + GET)
        assert unnamed.answer().body.decode() == repr(["", None, ("", 0)])


def test_clients_are_counted_by_the_address_that_the_header_names() -> None:
    limits = schema.Limits(connections_per_client=1)
    with serving(ends_app, proxy_protocol=("127.0.0.1/32",), limits=limits) as running:
        first, second, third = running.client(), running.client(), running.client()
        first.send(encode_v1(*ENDS) + GET)
        assert first.answer().status == 200
        second.send(encode_v1(*ENDS))
        assert second.rest().startswith(b"HTTP/1.1 429 ")
        second.sock.close()
        third.send(encode_v1("192.0.2.2", *ENDS[1:]) + GET)
        assert third.answer().status == 200
        first.sock.close()
        wait_for(lambda: running.server.connections == 1)
        again = running.client()
        again.send(encode_v1(*ENDS) + GET)
        assert again.answer().status == 200


def test_a_stop_cuts_whoever_is_not_yet_welcome(trusting: Serving) -> None:
    clients = [trusting.client() for _ in range(3)]
    clients[0].send(b"PROXY ")
    wait_for(lambda: trusting.server.connections == 3)
    trusting.server.close()
    assert all(client.is_closed() for client in clients)


class TestTurnedAway:
    """A client with too many connections is told so, whatever it sends, and cannot stay for long."""

    ONE = schema.Limits(connections_per_client=1)
    POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"

    @pytest.fixture(name="full")
    def fixture_full(self) -> Iterator[Serving]:
        with serving(ends_app, limits=self.ONE) as running:
            assert running.client().get().status == 200
            yield running

    @staticmethod
    def parting(running: Serving) -> int:
        return len(running.server._welcome._parting)

    @staticmethod
    def turned_away(running: Serving, before: bytes = b"") -> Client:
        """A client who has been answered, and has not looked at it."""
        client = running.client()
        client.send(before)
        gevent.socket.wait_read(client.sock.fileno(), PATIENCE)
        return client

    def test_a_client_that_sends_a_body_after_its_head_is_told(self, full: Serving) -> None:
        client = self.turned_away(full)
        client.send(self.POST)
        gevent.sleep(0)
        for _ in range(10):
            client.send(bytes(10_000))
        assert client.rest().startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
        assert (self.parting(full), full.server.connections) == (1, 1)
        client.sock.close()
        wait_for(lambda: not self.parting(full))

    def test_behind_a_proxy_header_too(self) -> None:
        with serving(ends_app, proxy_protocol=("127.0.0.1/32",), limits=self.ONE) as running:
            first = running.client()
            first.send(encode_v1(*ENDS) + GET)
            assert first.answer().status == 200
            client = self.turned_away(running, encode_v1(*ENDS))
            for piece in (self.POST, bytes(50_000), bytes(50_000)):
                client.send(piece)
                gevent.sleep(0)
            assert client.rest().startswith(b"HTTP/1.1 429 ")
            client.sock.close()
            wait_for(lambda: running.server.connections == 1)

    def test_who_does_not_go_is_waited_for_a_moment(self, full: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_PARTING_SECONDS", 0.05)
        client = self.turned_away(full)
        assert self.parting(full) == 1
        wait_for(lambda: not self.parting(full))
        assert client.rest().startswith(b"HTTP/1.1 429 ")

    def test_who_sends_without_an_end_is_cut(self, full: Serving) -> None:
        client = self.turned_away(full)
        with pytest.raises(OSError, match=r"reset|[Bb]roken pipe"):
            for _ in range(100):
                client.send(bytes(1_000_000))
        assert not self.parting(full)

    def test_only_a_few_are_waited_for_at_once_and_the_latest_are(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_MOST_PARTING", 3)
        with serving(ends_app, limits=self.ONE) as running:
            assert running.client().get().status == 200
            clients = []
            for _ in range(10):
                clients.append(self.turned_away(running))
                assert self.parting(running) <= 3
            for client in clients[-3:]:
                for _ in range(2):
                    client.send(self.POST)
                    gevent.sleep(0)
            assert [client.rest()[:12] for client in clients] == [b"HTTP/1.1 429"] * 10

    def test_where_there_may_be_few_connections_few_are_waited_for(self) -> None:
        limits = schema.Limits(connections=16, connections_per_client=1)
        with serving(ends_app, limits=limits) as running:
            assert running.client().get().status == 200
            clients = [self.turned_away(running) for _ in range(5)]
            assert self.parting(running) == 2
            assert all(client.rest().startswith(b"HTTP/1.1 429 ") for client in clients)

    def test_a_server_that_stops_waits_for_none(self, full: Serving) -> None:
        client = self.turned_away(full)
        full.server.close()
        wait_for(lambda: not self.parting(full))
        assert client.rest().startswith(b"HTTP/1.1 429 ")
