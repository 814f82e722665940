"""The PROXY protocol with real peers: HAProxy before the daemon, nginx behind it."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Start
from tests.functional.scene import Backend, Daemon, ask, connected, get, read_to_end, read_until, start_daemon
from tests.processes import free_port


def front(trusted: str) -> str:
    """The daemon's part of the file."""
    return (
        f'daemon:\n  listeners: [{{address: "127.0.0.1:0", proxy_protocol: [{trusted}]}}]\n'
        '  access_log: {format: "off"}\n'
    )


def serve(start: Start, folder: Path, trusted: str) -> Daemon:
    """A daemon that expects PROXY headers from ``trusted`` peers, before one backend."""
    backend = Backend(start, "a")
    pools = f"pools: {{web: {{backends: ['{backend.address}']}}}}\nroutes: [{{pool: web}}]\n"
    return start_daemon(start, folder, front(trusted) + pools)


def client_told(body: bytes) -> list[str]:
    """What the backend was told about the client."""
    return [value for name, value in json.loads(body)["fields"] if name.lower() == "x-forwarded-for"]


@pytest.mark.parametrize("word", ["send-proxy", "send-proxy-v2"])
def test_the_client_that_haproxy_names_is_told_to_backends(
    start: Start, tmp_path: Path, need: Callable[[str], str], word: str
) -> None:
    haproxy, port = need("haproxy"), free_port()
    daemon = serve(start, tmp_path, '"127.0.0.1/32"')
    config = tmp_path / "haproxy.cfg"
    config.write_text(
        f"defaults\n mode tcp\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n"
        f"listen all\n bind 127.0.0.1:{port}\n source 127.0.0.1\n server one 127.0.0.1:{daemon.port} {word}\n"
    )
    start([haproxy, "-db", "-f", config], name="haproxy").wait_for_port(port)
    with socket.create_connection(("127.0.0.1", port), 10, source_address=("127.0.0.9", 0)) as client:
        client.sendall(get("/x", "Connection: close", "X-Forwarded-For: 192.0.2.66"))
        body = read_to_end(client).partition(b"\r\n\r\n")[2]
    assert client_told(body) == ["127.0.0.9"]


def test_a_trusted_peer_without_a_header_is_turned_away(start: Start, tmp_path: Path) -> None:
    daemon = serve(start, tmp_path, '"127.0.0.1/32"')
    with connected(daemon.port) as client:
        client.sendall(get("/x"))
        with contextlib.suppress(ConnectionResetError):
            assert read_to_end(client) == b""


def test_nobody_else_may_say_who_he_is(start: Start, tmp_path: Path) -> None:
    daemon = serve(start, tmp_path, '"192.0.2.0/24"')
    with connected(daemon.port) as client:
        client.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\n" + get("/x"))
        assert read_until(client, b"\r\n").startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_backend_behind_is_told_the_client(
    start: Start, tmp_path: Path, need: Callable[[str], str], version: str
) -> None:
    haproxy, port = need("haproxy"), free_port()
    backend = Backend(start, "a")
    config = tmp_path / "haproxy.cfg"
    config.write_text(
        f"defaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n"
        f"listen all\n bind 127.0.0.1:{port} accept-proxy\n http-request set-header X-Seen %[src]\n"
        f" server one 127.0.0.1:{backend.port}\n"
    )
    start([haproxy, "-db", "-f", config], name="haproxy").wait_for_port(port)
    pool = f"{{backends: ['http://127.0.0.1:{port}'], proxy_protocol: {version}, health_check: {{path: /healthz}}}}"
    daemon = start_daemon(
        start,
        tmp_path,
        'daemon:\n  listeners: ["127.0.0.1:0"]\n  access_log: {format: "off"}\n'
        f"pools: {{web: {pool}}}\nroutes: [{{pool: web}}]\n",
    )
    for source in ("127.0.0.7", "127.0.0.8"):
        with socket.create_connection(("127.0.0.1", daemon.port), 10, source_address=(source, 0)) as client:
            client.sendall(get("/x", "Connection: close"))
            body = read_to_end(client).partition(b"\r\n\r\n")[2]
        assert [value for name, value in json.loads(body)["fields"] if name == "x-seen"] == [source]
    assert ask(daemon.port, "/x").status == 200
