"""TLS before HTTP: the standard library's client against real sockets and throw-away certificates."""

from __future__ import annotations

import logging
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import gevent.socket
import gevent.ssl
import pytest

from tests import certificates
from tests.loopback import Serving, serving, wait_for
from wsgiproxy.config import schema
from wsgiproxy.transport.proxy_protocol import encode_v2

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
KEYS = ("wsgi.url_scheme", "HTTPS", "REMOTE_ADDR", "SSL_TLS_SNI", "SSL_PROTOCOL")
FACTS = repr(["https", "on", "127.0.0.1", "localhost", "TLSv1.3"]).encode()


def facts_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [])
    return [repr([environ.get(key) for key in KEYS]).encode()]


@pytest.fixture(name="authority")
def fixture_authority(need: Callable[[str], str], tmp_path: Path) -> certificates.Authority:
    need("openssl")
    return certificates.Authority(tmp_path)


@pytest.fixture(name="listener")
def fixture_listener(authority: certificates.Authority) -> dict[str, Any]:
    leaf = authority.issue("localhost")
    pair = schema.Certificate(str(leaf.certificate), str(leaf.key))
    return {"tls": schema.ListenerTls(certificates=(pair,)), "timeouts": schema.ClientTimeouts(header=0.5)}


@pytest.fixture(name="secure")
def fixture_secure(listener: dict[str, Any]) -> Iterator[Serving]:
    with serving(facts_app, **listener) as running:
        yield running


@pytest.fixture(name="told", autouse=True)
def fixture_told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


def ask(running: Serving, authority: certificates.Authority, before: bytes = b"", request: bytes = GET) -> bytes:
    """All that comes back to a client that verifies whom it speaks to."""
    context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authority.certificate)
    with gevent.socket.create_connection(running.address, 10) as raw:
        raw.sendall(before)
        with context.wrap_socket(raw, server_hostname="localhost") as client:
            client.sendall(request)
            data = b""
            while piece := client.recv(65536):
                data += piece
            return data


def test_requests_come_over_tls_and_say_so(secure: Serving, authority: certificates.Authority) -> None:
    assert ask(secure, authority).endswith(b"\r\n\r\n" + FACTS)
    pipelined = ask(secure, authority, request=GET.replace(b"Connection: close\r\n", b"") * 3 + GET)
    assert pipelined.count(FACTS) == 4


def test_a_proxy_header_comes_before_tls(listener: dict[str, Any], authority: certificates.Authority) -> None:
    with serving(facts_app, proxy_protocol=("127.0.0.0/8",), **listener) as running:
        answer = ask(running, authority, encode_v2("192.0.2.1", 1, "192.0.2.2", 2))
        assert answer.endswith(b"\r\n\r\n" + FACTS.replace(b"127.0.0.1", b"192.0.2.1"))


def test_plain_http_is_answered_in_its_own_words(secure: Serving, told: pytest.LogCaptureFixture) -> None:
    assert secure.exchange(GET).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    (line,) = told.messages
    assert line.startswith("a connection of 127.0.0.1 ended before its first request: ")
    assert line.endswith(": http request")


@pytest.mark.parametrize("start", [b"\x16\x03\x01\x00\x05hello", b"x" * 1000, b"\x00" * 20])
def test_what_is_no_handshake_costs_one_connection(
    secure: Serving, authority: certificates.Authority, told: pytest.LogCaptureFixture, start: bytes
) -> None:
    assert b"HTTP" not in secure.exchange(start)
    assert len(told.messages) == 1
    assert ask(secure, authority).endswith(FACTS)


@pytest.mark.parametrize("start", [b"", b"\x16\x03\x01"])
def test_a_handshake_has_the_time_of_a_head(secure: Serving, told: pytest.LogCaptureFixture, start: bytes) -> None:
    client = secure.client()
    client.send(start)
    started = time.monotonic()
    assert client.is_closed()
    assert 0.4 < time.monotonic() - started < 2
    assert told.messages == [
        "a connection of 127.0.0.1 ended before its first request: nothing came from the client in time"
    ]


def test_a_client_with_too_many_connections_is_turned_away_before_the_handshake(
    listener: dict[str, Any], authority: certificates.Authority
) -> None:
    limits = schema.Limits(connections_per_client=1)
    with serving(facts_app, limits=limits, **listener) as running:
        first = running.client()
        wait_for(lambda: running.server.connections == 1)
        assert running.client().is_closed()
        first.sock.close()
        wait_for(lambda: running.server.connections == 0)
        assert ask(running, authority).endswith(FACTS)


def test_a_tunnel_runs_inside(listener: dict[str, Any], authority: certificates.Authority) -> None:
    class Echo:
        def run_tunnel(self, client: Any, early: bytes) -> None:
            while early:
                client.send_all(early, 5.0)
                early = client.recv(100, time.monotonic() + 5)

    def app(_: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        start_response("101 Switching Protocols", [("Upgrade", "echo")])
        return Echo()

    request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nearly"
    context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authority.certificate)
    with (
        serving(app, **listener) as running,
        gevent.socket.create_connection(running.address, 10) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as client,
    ):
        client.sendall(request)
        data = b""
        while not data.endswith(b"early"):
            data += client.recv(1000)
        client.sendall(b"more")
        assert client.recv(100) == b"more"


def test_a_drain_and_a_cut_end_secure_connections(secure: Serving, authority: certificates.Authority) -> None:
    context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authority.certificate)
    with (
        gevent.socket.create_connection(secure.address, 10) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as idle,
    ):
        idle.sendall(GET.replace(b"close", b"keep-alive"))
        assert idle.recv(65536)
        silent = gevent.socket.create_connection(secure.address, 10)
        wait_for(lambda: secure.server.connections == 2)
        assert gevent.spawn(secure.server.drain, 5.0).get() is True
        assert idle.recv(1) == b""
        silent.shutdown(socket.SHUT_RDWR)
        silent.close()
