"""Who is the client, whoever claims what."""

from __future__ import annotations

import time
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.proxy.journeys import environ_of
from wsgiproxy.config import schema
from wsgiproxy.proxy.client import ClientFacts, client_of, connection_of
from wsgiproxy.proxy.request import head_of
from wsgiproxy.routing.table import RoutingTable
from wsgiproxy.upstream.messages import ClientAddress

TRUSTED = ("10.0.0.0/8", "2001:db8:1::/48")
PEER = "10.0.0.1"
Read = Literal["x_forwarded", "forwarded"]


def facts(
    read: Read = "x_forwarded", trusted: tuple[str, ...] = TRUSTED, peer: str | None = PEER, **more: Any
) -> ClientFacts:
    """Who is believed to be the client; ``more`` are fields, by the end of their names for X-Forwarded-*."""
    fields = {f"HTTP_X_FORWARDED_{name.upper()}" if name.islower() else name: value for name, value in more.items()}
    environ = environ_of(REMOTE_ADDR=peer, REMOTE_PORT="50000", **fields)
    table = RoutingTable(1, {}, (), schema.Forwarding(trusted_proxies=trusted, read=read))
    return client_of(environ, head_of(environ), table)


def by_forwarded(value: str, **more: Any) -> ClientFacts:
    return facts("forwarded", HTTP_FORWARDED=value, **more)


# --- X-Forwarded-For --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "address", "hops"),
    [
        (None, PEER, [PEER]),
        ("", PEER, [PEER]),
        ("192.0.2.1", "192.0.2.1", ["192.0.2.1", PEER]),
        ("192.0.2.1, 10.9.9.9", "192.0.2.1", ["192.0.2.1", "10.9.9.9", PEER]),
        ("6.6.6.6, 192.0.2.1", "192.0.2.1", ["192.0.2.1", PEER]),
        ("6.6.6.6,192.0.2.1 ,\t10.9.9.9", "192.0.2.1", ["192.0.2.1", "10.9.9.9", PEER]),
        ("10.8.8.8, 192.0.2.1, 10.9.9.9", "192.0.2.1", ["192.0.2.1", "10.9.9.9", PEER]),
        ("10.8.8.8, 10.9.9.9", "10.8.8.8", ["10.8.8.8", "10.9.9.9", PEER]),
        ("192.0.2.1:4711", "192.0.2.1", ["192.0.2.1", PEER]),
        ("[2001:DB8::1]:4711", "2001:db8::1", ["2001:db8::1", PEER]),
        ("2001:db8::1", "2001:db8::1", ["2001:db8::1", PEER]),
        ("192.0.2.1, 2001:db8:1::7", "192.0.2.1", ["192.0.2.1", "2001:db8:1::7", PEER]),
        ("192.0.2.1, ::ffff:10.9.9.9", "192.0.2.1", ["192.0.2.1", "10.9.9.9", PEER]),
        ("unknown", PEER, [PEER]),
        ("192.0.2.1, unknown", PEER, [PEER]),
        ("192.0.2.1, garbage, 10.9.9.9", "10.9.9.9", ["10.9.9.9", PEER]),
        ("192.0.2.1, _hidden, 10.9.9.9", "10.9.9.9", ["10.9.9.9", PEER]),
        ("192.0.2.1,,", "192.0.2.1", ["192.0.2.1", PEER]),
        ('evil\\"', PEER, [PEER]),
    ],
)
def test_the_first_address_from_the_right_that_is_not_trusted_is_the_client(
    value: str | None, address: str, hops: list[str]
) -> None:
    client = facts(**{"for": value})
    assert (client.address, list(client.hops), client.alias) == (address, hops, "")


def test_several_fields_are_one_list() -> None:
    environ = environ_of(
        REMOTE_ADDR=PEER, HTTP_X_FORWARDED_FOR="6.6.6.6,192.0.2.1,10.9.9.9"
    )  # as the parser joins them
    table = RoutingTable(1, {}, (), schema.Forwarding(trusted_proxies=TRUSTED))
    assert client_of(environ, head_of(environ), table).address == "192.0.2.1"


def test_the_port_of_the_client_is_the_one_beside_its_address() -> None:
    assert facts().port == 50000
    assert facts(**{"for": "192.0.2.1"}).port == 0
    assert facts(**{"for": "192.0.2.1:4711"}).port == 4711


def test_of_a_peer_that_is_not_trusted_nothing_is_believed() -> None:
    forged: dict[str, Any] = {
        "for": "10.9.9.9", "proto": "https", "host": "evil", "port": "1", "prefix": "/evil",
        "HTTP_FORWARDED": "for=10.9.9.9;proto=https;host=evil", "HTTP_CLIENT_CERT": ":AAAA:",
    }  # fmt: skip
    for read in ("x_forwarded", "forwarded"):
        client = facts(read, peer="192.0.2.7", **forged)  # type: ignore[arg-type]
        assert client == ClientFacts("192.0.2.7", 50000, "http", "shop.example", "80", "", ("192.0.2.7",))


def test_only_the_configured_way_to_say_it_counts() -> None:
    both: dict[str, Any] = {"for": "192.0.2.1", "proto": "https", "HTTP_FORWARDED": "for=192.0.2.2;proto=https"}
    assert facts("x_forwarded", **both).address == "192.0.2.1"
    assert facts("forwarded", **both).address == "192.0.2.2"
    assert facts("forwarded", proto="https").scheme == "http"
    assert facts("x_forwarded", HTTP_FORWARDED="for=192.0.2.2;proto=https").scheme == "http"


@pytest.mark.parametrize("peer", ["", None])
def test_a_peer_on_a_unix_socket_is_trusted_by_its_own_word(peer: str | None) -> None:
    client = facts(trusted=("unix:",), peer=peer, **{"for": "192.0.2.1"})
    assert (client.address, client.hops) == ("192.0.2.1", ("192.0.2.1",))
    client = facts(trusted=TRUSTED, peer=peer, **{"for": "192.0.2.1"})
    assert (client.address, client.hops) == ("", ())


def test_an_entry_never_passes_for_a_peer_on_a_unix_socket() -> None:
    client = facts(trusted=("unix:",), peer="", **{"for": "192.0.2.1, , unknown"})
    assert (client.address, client.hops) == ("", ())


@given(st.text("1029.,:[]_ unkow", max_size=40), st.booleans())
def test_whatever_a_client_sends_the_address_that_a_trusted_proxy_saw_is_found(forged: str, comma: bool) -> None:
    said = f"{forged}{',' if comma or forged else ''}192.0.2.1"
    client = facts(**{"for": said})
    assert (client.address, client.hops) == ("192.0.2.1", ("192.0.2.1", PEER))


# --- X-Forwarded-Proto, -Host, -Port, -Prefix -------------------------------------------------------------------------


def test_what_the_client_asked_for_is_believed() -> None:
    client = facts(proto="https", host="a.example:8443", port="9443", prefix="/shop", **{"for": "192.0.2.1"})
    assert client[2:6] == ("https", "a.example:8443", "9443", "/shop")


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({}, ("http", "shop.example", "80", "")),
        ({"proto": "https"}, ("https", "shop.example", "443", "")),
        ({"proto": "HTTPS"}, ("https", "shop.example", "443", "")),
        ({"host": "a.example:81"}, ("http", "a.example:81", "81", "")),
        ({"host": "[2001:db8::1]:81"}, ("http", "[2001:db8::1]:81", "81", "")),
        ({"host": "A.example."}, ("http", "A.example.", "80", "")),
        ({"port": "81"}, ("http", "shop.example", "81", "")),
        ({"prefix": "/a/b/"}, ("http", "shop.example", "80", "/a/b")),
        ({"prefix": "/a%20b"}, ("http", "shop.example", "80", "/a%20b")),
        ({"prefix": "/"}, ("http", "shop.example", "80", "")),
    ],
)
def test_what_is_not_said_is_as_we_see_it(claims: dict[str, str], expected: tuple[str, ...]) -> None:
    assert facts(**claims)[2:6] == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("proto", value) for value in ("ftp", "https://", "http s", "javascript", "wss")),
        *(("host", value) for value in ("a b", "a/b", "user@a", "a:x", "a:99999", "[::1", "[x]", '"a"', ":80", "a\\b")),
        *(("port", value) for value in ("0", "65536", "-1", "x", "80x", "8 0", "٣")),
        *(
            ("prefix", value)
            for value in (
                "shop", "//evil.example", "/a//b", "/a/../b", "/a/%2e%2e/b", "/.", "/a b", "/a?b", "/a#b", "/a\\b",
                "/a%00", "/a%zz", "/caf\xe9", "/\"", "/<script>",
            )
        ),
    ],
)  # fmt: skip
def test_what_is_not_legal_counts_as_not_said(name: str, value: str) -> None:
    value = value.encode("utf-8", "surrogateescape").decode("latin-1") if not value.isascii() else value
    assert facts(**{name: value})[2:6] == ("http", "shop.example", "80", "")


@pytest.mark.parametrize(
    ("for_", "proto", "expected"),
    [
        ("192.0.2.1", "https", "https"),
        ("192.0.2.1", "http, https", "https"),  # what was forged stands at the left
        ("6.6.6.6, 192.0.2.1", "http, https", "https"),
        ("192.0.2.1, 10.9.9.9", "https, http", "https"),
        ("6.6.6.6, 192.0.2.1, 10.9.9.9", "http, https, http", "https"),
        ("192.0.2.1, 10.9.9.9", "https", "https"),  # the second proxy set, or kept, the only one
        ("", "http, https", "https"),
        ("garbage, 10.9.9.9", "https, http", "https"),
        ("192.0.2.1", "https,", "https"),
    ],
)
def test_of_a_list_the_entry_of_the_same_proxy_counts(for_: str, proto: str, expected: str) -> None:
    assert facts(proto=proto, **{"for": for_}).scheme == expected


# --- Forwarded (RFC 7239) ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "address", "hops", "alias"),
    [
        ("for=192.0.2.1", "192.0.2.1", ["192.0.2.1", PEER], ""),
        ('For="[2001:db8::1]:4711"', "2001:db8::1", ["2001:db8::1", PEER], ""),
        ("for=6.6.6.6, for=192.0.2.1", "192.0.2.1", ["192.0.2.1", PEER], ""),
        ("for=192.0.2.1,for=10.9.9.9", "192.0.2.1", ["192.0.2.1", "10.9.9.9", PEER], ""),
        ("for=unknown", PEER, [PEER], "unknown"),
        ("for=192.0.2.1, for=_secret, for=10.9.9.9", "10.9.9.9", ["10.9.9.9", PEER], "_secret"),
        ("for=192.0.2.1, for=, for=10.9.9.9", "10.9.9.9", ["10.9.9.9", PEER], ""),
        ("for=192.0.2.1, proto=http, for=10.9.9.9", "10.9.9.9", ["10.9.9.9", PEER], ""),
        ('for="evil, for=192.0.2.1', "192.0.2.1", ["192.0.2.1", PEER], ""),
        ('for="evil, for="[2001:db8::1]"', "2001:db8::1", ["2001:db8::1", PEER], ""),
        ("for=6.6.6.6;for=192.0.2.1", PEER, [PEER], ""),
        ("", PEER, [PEER], ""),
    ],
)
def test_the_elements_are_walked_from_the_right(value: str, address: str, hops: list[str], alias: str) -> None:
    client = by_forwarded(value)
    assert (client.address, list(client.hops), client.alias) == (address, hops, alias)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("for=192.0.2.1;proto=https;host=a.example", ("https", "a.example", "443", "")),
        ('for=192.0.2.1;host="a.example:8443";proto=HTTPS', ("https", "a.example:8443", "8443", "")),
        ("for=6.6.6.6;proto=https, for=192.0.2.1", ("http", "shop.example", "80", "")),
        ("for=192.0.2.1;proto=https, for=10.9.9.9;proto=http;host=b.example", ("https", "b.example", "443", "")),
        ("proto=https", ("https", "shop.example", "443", "")),
        ("for=192.0.2.1;proto=ftp;host=a/b", ("http", "shop.example", "80", "")),
        ("for=192.0.2.1;proto=https;proto=http", ("http", "shop.example", "80", "")),
    ],
)
def test_the_elements_of_trusted_proxies_say_what_was_asked_for(value: str, expected: tuple[str, ...]) -> None:
    assert by_forwarded(value)[2:6] == expected


# --- Client-Cert (RFC 9440) -------------------------------------------------------------------------------------------

OWN: dict[str, Any] = {
    "SSL_CLIENT_VERIFY": "SUCCESS",
    "SSL_CLIENT_CERT": "-----BEGIN CERTIFICATE-----\nQQ==\n-----END CERTIFICATE-----",
}


def test_the_certificate_that_a_trusted_proxy_tells_of_is_passed_on() -> None:
    more: dict[str, Any] = {"HTTP_CLIENT_CERT": ":AAAA:", "HTTP_CLIENT_CERT_CHAIN": ":AAAA:, :BBBB:"}
    expected = (("Client-Cert", ":AAAA:"), ("Client-Cert-Chain", ":AAAA:, :BBBB:"))
    assert facts(**more).certificate == expected
    assert facts(**more, **OWN).certificate == expected
    assert facts(peer="192.0.2.7", **more).certificate == ()
    assert facts(peer="192.0.2.7", **more, **OWN).certificate == (("Client-Cert", ":QQ==:"),)


@pytest.mark.parametrize("value", ["", ":", "::", ":A A:", ":AAAA", "AAAA", ":AAAA:,:BBBB:", ":AA=A:"])
def test_a_certificate_that_is_none_is_not_passed_on(value: str) -> None:
    assert facts(HTTP_CLIENT_CERT=value).certificate == ()


def test_a_proxys_own_certificate_is_not_its_clients() -> None:
    assert facts(**OWN).certificate == (("Client-Cert", ":QQ==:"),)
    assert facts(**OWN, **{"for": "192.0.2.1"}).certificate == ()
    assert by_forwarded("for=_secret", **OWN).certificate == ()


# --- for a PROXY header -----------------------------------------------------------------------------------------------


def test_a_connection_is_from_the_client_to_where_it_came_in() -> None:
    environ: dict[str, Any] = {"REMOTE_ADDR": "192.0.2.7", "REMOTE_PORT": 4711}
    assert connection_of(environ, None) == ClientAddress("192.0.2.7", 4711)
    environ["wsgiproxy.destination"] = lambda: ("192.0.2.1", 80)
    assert connection_of(environ, None) == ClientAddress("192.0.2.7", 4711, "192.0.2.1", 80)
    client = ClientFacts("2001:db8::1", 0, "http", "a", "80")
    assert connection_of(environ, client) == ClientAddress("2001:db8::1", 0, "192.0.2.1", 80)
    assert connection_of({"REMOTE_PORT": "x"}, None) == ClientAddress()


# --- bounds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "entry", ["10.0.0.2,", ",", "x,", "for=10.0.0.2,", 'for="', 'for="[2001:db8:1::1]",', "[:" * 10 + ","]
)
def test_the_longest_list_is_walked_in_no_time(entry: str) -> None:
    value = entry * (64 * 1024 // len(entry))
    start = time.process_time()
    facts(proto=value, **{"for": value})
    by_forwarded(value)
    assert time.process_time() - start < 1.0


def test_a_hundred_hops_are_the_most() -> None:
    client = facts(**{"for": ", ".join(["192.0.2.1", *["10.9.9.9"] * 150])})
    assert (client.address, len(client.hops)) == ("10.9.9.9", 101)
