"""Tunnels: a real WebSocket client and server, with the daemon between them."""

from __future__ import annotations

import base64
import contextlib
import os
import signal
import socket
from pathlib import Path

import pytest

from tests.conftest import Start
from tests.functional.scene import FRONT, Daemon, connected, read_to_end, read_until, start_daemon
from tests.processes import wait_until

websocket_talk = pytest.importorskip(
    "tests.functional.websocket_talk", reason="the library `websockets` is not installed"
)

HANDSHAKE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    f"Sec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}",
)


def config(address: str, route: str = "", pool: str = "") -> str:
    """One pool, one route."""
    return f"{FRONT}pools: {{web: {{backends: ['{address}']{pool}}}}}\nroutes: [{{pool: web{route}}}]\n"


@pytest.fixture(name="address")
def fixture_address(start: Start) -> str:
    return str(websocket_talk.start_server(start))


@pytest.fixture(name="daemon")
def fixture_daemon(start: Start, tmp_path: Path, address: str) -> Daemon:
    return start_daemon(start, tmp_path, config(address))


def request(target: str, *lines: str) -> bytes:
    """An upgrade request."""
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: a.example", *lines, "", ""]).encode()


def test_messages_and_large_frames_come_back_whole(daemon: Daemon) -> None:
    with websocket_talk.open_client(f"ws://127.0.0.1:{daemon.port}/echo") as client:
        websocket_talk.exchange_messages(client, 5000)
        websocket_talk.exchange_large(client, 16 * 1024 * 1024)


def test_many_tunnels_run_side_by_side_and_others_are_served(daemon: Daemon) -> None:
    url = f"ws://127.0.0.1:{daemon.port}/echo"
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(websocket_talk.open_client(url)) for _ in range(20)]
        for number, client in enumerate(clients):
            client.send(str(number))
        for number, client in enumerate(clients):
            assert client.recv(10) == str(number)
        assert daemon.ask("/echo").status == 426  # a plain request beside them, which the library refuses


def test_the_close_code_of_the_backend_reaches_the_client(daemon: Daemon) -> None:
    url = f"ws://127.0.0.1:{daemon.port}/close"
    with websocket_talk.open_client(url) as client, pytest.raises(Exception, match="4001"):
        client.recv(10)


def test_what_the_backend_says_first_is_not_lost(daemon: Daemon) -> None:
    with websocket_talk.open_client(f"ws://127.0.0.1:{daemon.port}/push/500") as client:
        assert [client.recv(10) for _ in range(500)] == [str(number) for number in range(500)]


def test_a_reload_does_not_cut_a_tunnel_even_if_its_backend_is_removed(daemon: Daemon) -> None:
    with websocket_talk.open_client(f"ws://127.0.0.1:{daemon.port}/echo") as client:
        daemon.reload(f"{FRONT}routes: [{{respond: {{status: 200, body: new}}}}]\n")
        assert daemon.ask("/").body == b"new"
        websocket_talk.exchange_messages(client, 100)


def test_a_route_can_refuse_upgrades(start: Start, tmp_path: Path, address: str) -> None:
    daemon = start_daemon(start, tmp_path, config(address, ", upgrades: []"))
    with connected(daemon.port) as client:
        client.sendall(request("/echo", *HANDSHAKE))
        assert b" 101 " not in read_until(client, b"\r\n\r\n")


def test_a_protocol_that_is_not_listed_is_not_asked_for(daemon: Daemon) -> None:
    with connected(daemon.port) as client:
        client.sendall(
            request("/echo", "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAA")
        )
        assert b" 101 " not in read_until(client, b"\r\n\r\n")


def test_an_idle_tunnel_ends_at_its_timeout(start: Start, tmp_path: Path, address: str) -> None:
    daemon = start_daemon(start, tmp_path, config(address, pool=", timeouts: {tunnel: 500ms}"))
    with connected(daemon.port) as client:
        client.sendall(request("/echo", *HANDSHAKE))
        read_to_end(client, read_until(client, b"\r\n\r\n"))


def test_a_client_that_resets_frees_both_sides(daemon: Daemon) -> None:
    before = daemon.descriptors()
    for _ in range(10):
        with connected(daemon.port) as client:
            client.sendall(request("/echo", *HANDSHAKE))
            assert b" 101 " in read_until(client, b"\r\n\r\n")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    wait_until(lambda: daemon.descriptors() <= before + 1, what="the descriptors of the tunnels to come back")


def test_a_tunnel_gets_the_drain_timeout_to_end(start: Start, tmp_path: Path, address: str) -> None:
    text = config(address).replace("daemon:\n", "daemon:\n  drain_timeout: 20s\n")
    daemon = start_daemon(start, tmp_path, text)
    with websocket_talk.open_client(f"ws://127.0.0.1:{daemon.port}/echo") as client:
        daemon.process.send_signal(signal.SIGTERM)
        daemon.wait_for_line("draining")
        websocket_talk.exchange_messages(client, 100)
    assert daemon.process.wait() == 0


def test_messages_may_follow_the_request_at_once(daemon: Daemon) -> None:
    mask = os.urandom(4)
    payload = bytes(byte ^ mask[index % 4] for index, byte in enumerate(b"early"))
    frame = bytes([0x81, 0x80 | len(payload)]) + mask + payload
    with connected(daemon.port) as client:
        client.sendall(request("/echo", *HANDSHAKE) + frame)
        assert b"early" in read_until(client, b"early")
