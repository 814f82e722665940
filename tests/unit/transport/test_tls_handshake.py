from __future__ import annotations

import contextlib
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.certificates import Authority, Leaf
from tests.loopback import wait_for
from tests.unit.transport.pairs import LATE, soon
from tests.unit.transport.tls_pairs import (
    KINDS,
    NAME,
    Background,
    TlsPair,
    as_client,
    as_server,
    client_context,
    server_context,
    stream_over,
)
from wsgiproxy.errors import ClientDisconnectedError, ConnectTimeout, RequestTimeout, ResetError, TlsError
from wsgiproxy.transport import tls as module
from wsgiproxy.transport.certificates import choose_by_name
from wsgiproxy.transport.stream import CLIENT, SWEEP_INTERVAL
from wsgiproxy.transport.tls import TlsStream


@pytest.fixture(name="authority", scope="module")
def fixture_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(name="leaf", scope="module")
def fixture_leaf(authority: Authority) -> Leaf:
    return authority.issue(NAME)


@pytest.fixture(name="kind", params=KINDS)
def fixture_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(name="client")
def fixture_client(kind: str, authority: Authority) -> Iterator[TlsPair]:
    pair = TlsPair(kind, client_context(authority))
    yield pair
    pair.close()


@pytest.fixture(name="server")
def fixture_server(kind: str, leaf: Leaf) -> Iterator[TlsPair]:
    pair = TlsPair(kind, server_context(leaf), server_side=True)
    yield pair
    pair.close()


# --- what a handshake finds -------------------------------------------------------------------------------------------


def test_both_sides_know_what_was_agreed_on(kind: str, authority: Authority, leaf: Leaf) -> None:
    with as_client(kind, authority, leaf) as pair:
        stream = pair.stream
        assert (stream.version(), stream.cipher()) == ("TLSv1.3", "TLS_AES_256_GCM_SHA384")
        assert stream.server_name == NAME
        assert stream.peer_certificate()["subjectAltName"] == (("DNS", NAME),)
        assert ssl.DER_cert_to_PEM_cert(stream.peer_certificate_der()) in leaf.certificate.read_text()
    with as_server(kind, authority, leaf) as pair:
        assert (pair.stream.peer_certificate(), pair.stream.peer_certificate_der()) == ({}, b"")


def test_before_the_handshake_nothing_goes_through(client: TlsPair) -> None:
    client.raw.sendall(b"x")
    with pytest.raises(ResetError, match="no TLS handshake"):
        client.stream.recv(1, soon())
    with pytest.raises(ResetError, match="no TLS handshake"):
        client.stream.send_all(b"x", LATE)
    client.stream.send_now(b"x")
    assert not client.stream.is_quiet()
    assert (client.stream.version(), client.stream.cipher()) == ("", "")
    assert repr(client.stream).startswith("<TlsStream no handshake over <")


def test_the_name_that_was_asked_for_picks_the_certificate(kind: str, authority: Authority, leaf: Leaf) -> None:
    other = server_context(authority.issue("b.example"))
    context = server_context(leaf)
    choose_by_name(context, lambda name: other if name == "b.example" else context)
    for name, expected in ((NAME, NAME), ("B.Example", "b.example")):
        pair = TlsPair(kind, context, server_side=True)
        pair.shake_hands(client_context(authority), name)
        assert pair.stream.server_name == name.lower()
        certificate = pair.peer.getpeercert()
        assert certificate is not None
        assert certificate["subjectAltName"] == (("DNS", expected),)
        pair.close()


def test_a_client_that_asks_for_no_name_gets_the_first_certificate(server: TlsPair, authority: Authority) -> None:
    context = client_context(authority)
    context.check_hostname = False
    server.shake_hands(context, "")
    assert server.stream.server_name == ""


def test_a_certificate_for_an_address_is_verified_as_one(kind: str, authority: Authority) -> None:
    leaf = authority.issue("127.0.0.1", "::1")
    for name in ("127.0.0.1", "::1"):
        pair = TlsPair(kind, client_context(authority), name=name)
        pair.shake_hands(server_context(leaf))
        pair.close()


@pytest.mark.parametrize(
    ("carried", "asked"),
    [
        (("127.0.0.1", "::1"), "127.0.0.2"),
        (("127.0.0.1", "::1"), "::2"),
        (("127.0.0.1", "::1"), NAME),
        ((NAME, "b.example"), "127.0.0.1"),
        ((NAME, "b.example"), "c.example"),
        ((NAME, "b.example"), f"www.{NAME}"),
        (("*.c.example",), "www.b.c.example"),
        (("*.c.example",), "c.example"),
    ],
)
def test_an_address_or_a_name_that_a_certificate_does_not_carry_is_refused(
    kind: str, authority: Authority, carried: tuple[str, ...], asked: str
) -> None:
    pair = TlsPair(kind, client_context(authority), name=asked)
    with pytest.raises(TlsError, match=f"certificate verify failed: .*mismatch.*'{re.escape(asked)}'"):
        pair.shake_hands(server_context(authority.issue(*carried)))
    pair.close()


def test_a_chain_below_the_authority_is_followed(kind: str, authority: Authority) -> None:
    leaf = authority.subordinate().issue(NAME)
    with as_client(kind, authority, leaf) as pair:
        assert pair.stream.version()


def test_a_session_is_gone_on_from(kind: str, authority: Authority, leaf: Leaf) -> None:
    context, there = client_context(authority), server_context(leaf)
    first = TlsPair(kind, context)
    first.shake_hands(there)
    first.peer.sendall(b"x")
    assert first.stream.recv(1, soon()) == b"x"
    session = first.stream.session
    first.close()
    second = TlsPair(kind, context)
    second.stream = type(second.stream)(
        second.inner, context, errors=second.errors, server_side=False, server_name=NAME, session=session
    )
    second.shake_hands(there)
    assert second.peer.session_reused
    second.close()


# --- backends that are not whom they should be ------------------------------------------------------------------------


def test_an_authority_that_we_do_not_know_is_an_error(kind: str, authority: Authority, leaf: Leaf) -> None:
    pair = TlsPair(kind, ssl.create_default_context())
    with pytest.raises(TlsError, match="certificate verify failed: unable to get local issuer certificate"):
        pair.shake_hands(server_context(leaf))
    pair.close()


def test_another_name_is_an_error_that_names_both(kind: str, authority: Authority, leaf: Leaf) -> None:
    for name in ("b.example", "127.0.0.1"):
        pair = TlsPair(kind, client_context(authority), name=name)
        with pytest.raises(TlsError, match=f"peer: .* failed: certificate verify failed: .*mismatch.*'{name}'"):
            pair.shake_hands(server_context(leaf))
        pair.close()


def test_a_certificate_that_has_expired_is_an_error(client: TlsPair, authority: Authority) -> None:
    with pytest.raises(TlsError, match="certificate has expired"):
        client.shake_hands(server_context(authority.issue(NAME, days=-1)))


def test_the_peer_is_told_why(client: TlsPair, authority: Authority) -> None:
    other = Background(lambda: server_context(authority.issue(NAME, days=-1)).wrap_socket(client.raw, server_side=True))
    with pytest.raises(TlsError):
        client.stream.handshake(soon())
    with pytest.raises(ssl.SSLError, match="CERTIFICATE_EXPIRED"):
        other.result()


@pytest.mark.parametrize(
    "said", [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"\x00" * 100, b"\x16\x03\x01\x00\x05hello"]
)
def test_what_comes_instead_of_a_handshake_is_never_an_answer(client: TlsPair, said: bytes) -> None:
    client.raw.sendall(said)
    with pytest.raises(TlsError, match="the TLS handshake failed: "):
        client.stream.handshake(soon())
    with pytest.raises(ResetError):
        client.stream.recv(100, soon())


def test_a_backend_that_hangs_up_is_an_error_before_anything_was_sent(client: TlsPair) -> None:
    client.raw.shutdown(socket.SHUT_WR)
    with pytest.raises(TlsError, match="closed by the other side"):
        client.stream.handshake(soon())


def test_a_backend_that_stalls_is_late(client: TlsPair) -> None:
    began = time.monotonic()
    with pytest.raises(ConnectTimeout, match="peer: no TLS handshake in time"):
        client.stream.handshake(soon(0.2))
    assert 0.2 <= time.monotonic() - began < 0.2 + SWEEP_INTERVAL + LATE


def test_a_handshake_that_is_aborted_raises_the_reason(client: TlsPair) -> None:
    error = ClientDisconnectedError("gone")
    client.stream.abort(error)
    with pytest.raises(ClientDisconnectedError) as caught:
        client.stream.handshake(soon())
    assert caught.value is error


def test_a_backend_that_wants_a_certificate_and_gets_none_is_an_error(
    client: TlsPair, leaf: Leaf, authority: Authority
) -> None:
    context = server_context(leaf)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.certificate)
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        client.shake_hands(context)
    with pytest.raises(ResetError, match="certificate required"):
        client.stream.recv(1, soon())


# --- clients ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x00" * 100, b"\x16\x03\x01\x00\x05hello"])
def test_a_client_that_speaks_no_tls_is_refused(server: TlsPair, said: bytes) -> None:
    server.raw.sendall(said)
    with pytest.raises(ClientDisconnectedError, match="peer: the TLS handshake failed: ") as caught:
        server.stream.handshake(soon())
    assert ("http request" in str(caught.value)) == said.startswith(b"GET")


def test_a_plain_http_client_is_sent_nothing_that_it_could_not_read(server: TlsPair) -> None:
    server.raw.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    with pytest.raises(ClientDisconnectedError):
        server.stream.handshake(soon())
    server.inner.send_now(b"HTTP/1.1 400 ")
    assert server.raw.recv(100) == b"HTTP/1.1 400 "


def test_a_client_that_stalls_or_hangs_up_is_told_apart(kind: str, leaf: Leaf) -> None:
    pair = TlsPair(kind, server_context(leaf), server_side=True)
    with pytest.raises(RequestTimeout):
        pair.stream.handshake(soon(0.1))
    pair.close()
    pair = TlsPair(kind, server_context(leaf), server_side=True)
    pair.raw.close()
    with pytest.raises(ClientDisconnectedError):
        pair.stream.handshake(soon())
    pair.close()


def test_a_client_without_the_certificate_that_is_required_is_refused(
    kind: str, authority: Authority, leaf: Leaf
) -> None:
    context = server_context(leaf)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.certificate)
    pair = TlsPair(kind, context, server_side=True)
    with pytest.raises(ClientDisconnectedError, match="peer did not return a certificate"):
        pair.shake_hands(client_context(authority))
    pair.close()
    mine, theirs = client_context(authority), authority.issue("somebody")
    mine.load_cert_chain(theirs.certificate, theirs.key)
    pair = TlsPair(kind, context, server_side=True)
    pair.shake_hands(mine)
    assert pair.stream.peer_certificate()["subject"] == ((("commonName", "somebody"),),)
    pair.close()


def test_what_a_client_sends_behind_its_handshake_is_not_lost(server: TlsPair, authority: Authority) -> None:
    def connect_and_send() -> ssl.SSLSocket:
        peer = client_context(authority).wrap_socket(server.raw, server_hostname=NAME)
        peer.sendall(b"GET /")
        return peer

    other = Background(connect_and_send)
    server.stream.handshake(soon())
    assert server.stream.recv(100, soon()) == b"GET /"
    other.result().close()


# --- messages behind the handshake ------------------------------------------------------------------------------------


@contextlib.contextmanager
def openssl_client(leaf: Leaf, kind: str) -> Iterator[tuple[TlsStream, Callable[[bytes], None]]]:
    """``openssl s_client``, which can do what Python's ``ssl`` cannot, and how to give it commands."""
    context = server_context(leaf)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{listener.getsockname()[1]}"]
        client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        sock, _ = listener.accept()
    stream = TlsStream(stream_over(kind, sock, CLIENT), context, errors=CLIENT, server_side=True)
    assert client.stdin is not None

    def tell(line: bytes) -> None:
        assert client.stdin is not None
        client.stdin.write(line)
        client.stdin.flush()

    try:
        stream.handshake(soon())
        yield stream, tell
    finally:
        stream.close()
        client.kill()
        client.stdin.close()
        client.wait()


def test_a_key_update_is_no_news_and_is_answered_with_the_next_write(kind: str, leaf: Leaf) -> None:
    with openssl_client(leaf, kind) as (stream, tell):

        def asked_for_an_update() -> bool:
            tell(b"K\n")  # openssl sends one no sooner than with the next thing to do
            assert stream.is_quiet(look=True)
            return stream._outgoing.pending > 0

        # A command that comes before the handshake is done over there would be lost.
        tell(b"first\n")
        assert stream.recv(100, soon()) == b"first\n"
        wait_for(asked_for_an_update)
        stream.send_all(b"x", LATE)
        assert stream._outgoing.pending == 0

        def hello() -> bytes | None:
            tell(b"hello\n")  # one that comes together with a command would be lost
            return stream.recv_now(100)

        assert wait_for(hello).startswith(b"hello\n")


def test_a_client_that_floods_us_with_key_updates_is_cut_off(kind: str, leaf: Leaf, monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "_MAX_OWED", 100)
    with openssl_client(leaf, kind) as (stream, tell):

        def flood() -> bool:
            tell(b"K\n")
            return not stream.is_quiet(look=True)

        wait_for(flood)
        with pytest.raises(ClientDisconnectedError, match="leaves no time"):
            stream.recv(1, soon())
