from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority, Leaf
from tests.loopback import driver
from tests.unit.transport.pairs import LATE, soon
from tests.unit.transport.tls_pairs import Background, server_context
from wsgiproxy.config import schema
from wsgiproxy.errors import ConfigError, ConnectTimeout, TlsError
from wsgiproxy.transport.thread import ThreadDriver
from wsgiproxy.upstream.connector import Connector, Tls, tls_context, tls_files


@pytest.fixture(name="authority")
def fixture_authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture(name="listener")
def fixture_listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(LATE)
        yield listener


@pytest.fixture(name="drive", params=[driver, ThreadDriver])
def fixture_drive(request: pytest.FixtureRequest) -> Any:
    return request.param()


def connector_to(listener: socket.socket, drive: Any, block: schema.BackendTls, name: str = "127.0.0.1") -> Connector:
    port = listener.getsockname()[1]

    def dial(deadline: float) -> Any:
        return drive.connect_tcp("127.0.0.1", port, deadline)

    connector = Connector(f"https://127.0.0.1:{port}", dial, Tls(tls_context(block), block.server_name or name))
    connector.configure(schema.KeepAlive())
    return connector


def believing(authority: Authority, **more: Any) -> schema.BackendTls:
    return schema.BackendTls(ca=str(authority.certificate), **more)


Talk = Callable[[ssl.SSLSocket], Any]


def answer(listener: socket.socket, context: ssl.SSLContext, talk: Talk, preface: int = 0) -> Background:
    """A backend for one connection."""

    def run() -> Any:
        raw, _ = listener.accept()
        raw.settimeout(LATE)
        said = raw.recv(preface) if preface else b""
        with context.wrap_socket(raw, server_side=True) as peer:
            return said, talk(peer)

    return Background(run)


def echo(peer: ssl.SSLSocket) -> bytes:
    data = peer.recv(100)
    peer.sendall(data)
    assert peer.recv(100) == b""
    return data


def test_a_connection_over_tls_is_dialled_and_kept(listener: socket.socket, drive: Any, authority: Authority) -> None:
    backend = answer(listener, server_context(authority.issue("127.0.0.1")), echo)
    connector = connector_to(listener, drive, believing(authority))
    stream = connector.dial(soon())
    stream.send_all(b"ping", LATE)
    assert stream.recv(100, soon()) == b"ping"
    connector.give_back(stream)
    assert connector.take() is stream
    connector.give_back(stream)
    connector.close()
    assert backend.result() == (b"", b"ping")


def test_a_preface_goes_before_the_handshake(listener: socket.socket, drive: Any, authority: Authority) -> None:
    backend = answer(listener, server_context(authority.issue("127.0.0.1")), echo, preface=6)
    stream = connector_to(listener, drive, believing(authority)).dial(soon(), b"PROXY\n")
    stream.send_all(b"ping", LATE)
    assert stream.recv(100, soon()) == b"ping"
    stream.close()
    assert backend.result() == (b"PROXY\n", b"ping")


def test_a_preface_goes_out_without_tls_too(listener: socket.socket, drive: Any) -> None:
    connector = Connector("http://b", lambda deadline: drive.connect_tcp(*listener.getsockname(), deadline))
    stream = connector.dial(soon(), b"PROXY\n")
    peer, _ = listener.accept()
    assert peer.recv(100) == b"PROXY\n"
    stream.close()
    peer.close()


def test_whom_to_verify_may_be_another_than_whom_to_connect_to(
    listener: socket.socket, drive: Any, authority: Authority
) -> None:
    context = server_context(authority.issue("shop.example"))
    backend = answer(listener, context, lambda _: None)
    connector_to(listener, drive, believing(authority, server_name="shop.example")).dial(soon()).close()
    backend.result()
    backend = answer(listener, context, lambda _: None)
    with pytest.raises(
        TlsError, match=r"^https://127.0.0.1:\d+: the TLS handshake failed: certificate verify failed: IP"
    ):
        connector_to(listener, drive, believing(authority)).dial(soon())
    with pytest.raises(ssl.SSLError):
        backend.result()


def test_nobody_is_believed_by_default_and_everybody_by_that_word_alone(
    listener: socket.socket, drive: Any, authority: Authority
) -> None:
    context = server_context(authority.issue("elsewhere.example", days=-1))
    backend = answer(listener, context, lambda _: None)
    with pytest.raises(TlsError, match="certificate verify failed"):
        connector_to(listener, drive, schema.BackendTls()).dial(soon())
    with pytest.raises(ssl.SSLError):
        backend.result()
    backend = answer(listener, context, lambda _: None)
    connector_to(listener, drive, schema.BackendTls(verify=False)).dial(soon()).close()
    backend.result()


def test_our_own_certificate_is_shown(listener: socket.socket, drive: Any, authority: Authority) -> None:
    context = server_context(authority.issue("127.0.0.1"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.certificate)
    mine = authority.issue("proxy")
    own = schema.Certificate(certificate=str(mine.certificate), key=str(mine.key))
    backend = answer(listener, context, lambda peer: (peer.getpeercert() or {})["subject"])
    connector_to(listener, drive, believing(authority, certificate=own)).dial(soon()).close()
    assert backend.result()[1] == ((("commonName", "proxy"),),)


def test_a_backend_that_stalls_in_its_handshake_is_late_and_leaves_nothing_open(
    listener: socket.socket, drive: Any, authority: Authority
) -> None:
    connector = connector_to(listener, drive, believing(authority))
    began = time.monotonic()
    with pytest.raises(ConnectTimeout):
        connector.dial(soon(0.2))
    assert time.monotonic() - began < LATE
    peer, _ = listener.accept()
    peer.settimeout(LATE)
    while peer.recv(1 << 16):
        pass
    peer.close()


def test_a_session_that_is_over_is_gone_on_from(listener: socket.socket, drive: Any, authority: Authority) -> None:
    context = server_context(authority.issue("127.0.0.1"))
    connector = connector_to(listener, drive, believing(authority))
    reused = []

    def say(peer: ssl.SSLSocket) -> None:
        reused.append(peer.session_reused)
        peer.sendall(b"x")
        peer.recv(1)

    for _ in range(2):
        backend = answer(listener, context, say)
        stream = connector.dial(soon())
        assert stream.recv(1, soon()) == b"x"
        stream.close()
        backend.result()
    assert reused == [False, True]


@pytest.mark.parametrize(
    ("block", "key"),
    [
        (schema.BackendTls(ca="/nowhere"), "tls.ca"),
        (schema.BackendTls(ca="/nowhere", verify=False), "tls.ca"),
        (schema.BackendTls(certificate=schema.Certificate(certificate="/nowhere")), "tls.certificate.certificate"),
    ],
)
def test_a_file_of_no_use_is_named_with_its_key(block: schema.BackendTls, key: str) -> None:
    with pytest.raises(ConfigError, match="/nowhere cannot be read: No such file or directory") as caught:
        tls_context(block)
    assert caught.value.key == key


def test_the_files_of_a_block_are_known(authority: Authority) -> None:
    leaf: Leaf = authority.issue("a")
    own = schema.Certificate(certificate=str(leaf.certificate), key=str(leaf.key))
    assert tls_files(schema.BackendTls()) == []
    assert tls_files(believing(authority, certificate=own)) == [
        str(authority.certificate), str(leaf.certificate), str(leaf.key),
    ]  # fmt: skip
