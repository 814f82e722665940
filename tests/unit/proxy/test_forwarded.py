"""What backends are told."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.unit.proxy.journeys import environ_of
from wsgiproxy.config import schema
from wsgiproxy.http1.message import Fields
from wsgiproxy.proxy.client import ClientFacts, peer_facts
from wsgiproxy.proxy.forwarded import fields_of, plain_lines
from wsgiproxy.proxy.request import head_of

BOTH = ("x_forwarded", "forwarded")
FORWARDED = ("forwarded",)
DER = bytes(range(256))
PEM = f"-----BEGIN CERTIFICATE-----\n{base64.encodebytes(DER).decode()}-----END CERTIFICATE-----\n"


def said(prefix: str = "", **more: Any) -> dict[str, str]:
    environ = environ_of(**more)
    lines = plain_lines(environ, head_of(environ), prefix)
    return dict(line.split(": ", 1) for line in lines.splitlines())


def told(prefix: str = "", write: Any = FORWARDED, **more: Any) -> Fields:
    """Of the peer, in the ways that ``write`` names."""
    environ = environ_of(**more)
    return fields_of(peer_facts(environ, head_of(environ)), prefix, schema.Forwarding(write=write))


def test_a_backend_is_told_of_the_client_the_scheme_the_host_and_the_port() -> None:
    assert said() == {
        "X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "shop.example",
        "X-Forwarded-Port": "80",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("scheme", "host", "port"),
    [
        ("http", "shop.example:8080", "8080"),
        ("https", "shop.example", "443"),
        ("https", "shop.example:8443", "8443"),
        ("http", "[::1]", "80"),
        ("http", "[::1]:81", "81"),
        ("http", "192.0.2.1", "80"),
        ("http", "shop.example:", "80"),
        ("http", "host7", "80"),
    ],
)
def test_the_port_is_the_one_that_the_client_asked_for(scheme: str, host: str, port: str) -> None:
    fields = said(HTTP_HOST=host, **{"wsgi.url_scheme": scheme})
    assert (fields["X-Forwarded-Port"], fields["X-Forwarded-Proto"], fields["X-Forwarded-Host"]) == (port, scheme, host)


def test_what_is_not_known_is_not_said() -> None:
    assert "X-Forwarded-For" not in said(REMOTE_ADDR=None)
    assert "X-Forwarded-For" not in said(REMOTE_ADDR="")
    assert "X-Forwarded-Host" not in said(HTTP_HOST=None)
    assert "X-Forwarded-Prefix" not in said()
    assert said("/api")["X-Forwarded-Prefix"] == "/api"


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"REMOTE_ADDR": ""},
        {"HTTP_HOST": "shop.example:8080"},
        {"HTTP_HOST": None},
        {"SSL_CLIENT_VERIFY": "SUCCESS", "SSL_CLIENT_CERT": PEM},
    ],
)
def test_the_common_case_says_what_any_other_would(more: dict[str, Any]) -> None:
    assert list(said("/api", **more).items()) == told("/api", ("x_forwarded",), **more)


# --- Forwarded (RFC 7239) ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "value"),
    [
        ({}, "for=192.0.2.7;proto=http;host=shop.example"),
        ({"REMOTE_ADDR": "2001:db8::1"}, 'for="[2001:db8::1]";proto=http;host=shop.example'),
        ({"HTTP_HOST": "[::1]:81"}, 'for=192.0.2.7;proto=http;host="[::1]:81"'),
        ({"HTTP_HOST": None, "wsgi.url_scheme": "https"}, "for=192.0.2.7;proto=https"),
        ({"REMOTE_ADDR": ""}, "for=unknown;proto=http;host=shop.example"),
    ],
)
def test_one_element_tells_of_the_client(more: dict[str, Any], value: str) -> None:
    assert told(**more) == [("Forwarded", value)]


def test_each_way_is_written_that_was_asked_for() -> None:
    assert [name for name, _ in told(write=BOTH)] == [
        "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "Forwarded",
    ]  # fmt: skip
    assert told(write=()) == []
    assert told("/api", ()) == []


def test_a_prefix_has_no_other_word_than_its_own() -> None:
    assert told("/api")[0] == ("X-Forwarded-Prefix", "/api")
    assert [name for name, _ in told("/api", BOTH)].count("X-Forwarded-Prefix") == 1


def test_a_believed_client_is_the_first_of_the_hops() -> None:
    client = ClientFacts(
        "2001:db8::1", 4711, "https", "a.example", "8443", "/shop", ("2001:db8::1", "10.0.0.2", "10.0.0.1"),
    )  # fmt: skip
    assert fields_of(client, "/api", schema.Forwarding(write=BOTH)) == [
        ("X-Forwarded-For", "2001:db8::1, 10.0.0.2, 10.0.0.1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "a.example"),
        ("X-Forwarded-Port", "8443"),
        ("X-Forwarded-Prefix", "/shop/api"),
        ("Forwarded", 'for="[2001:db8::1]";proto=https;host=a.example, for=10.0.0.2, for=10.0.0.1'),
    ]


def test_a_hidden_client_stays_hidden() -> None:
    client = ClientFacts("10.0.0.1", 0, "https", "a.example", "443", "", ("10.0.0.1",), "_secret")
    assert fields_of(client, "", schema.Forwarding(write=BOTH)) == [
        ("X-Forwarded-For", "10.0.0.1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "a.example"),
        ("X-Forwarded-Port", "443"),
        ("Forwarded", "for=_secret;proto=https;host=a.example, for=10.0.0.1"),
    ]


# --- Client-Cert (RFC 9440) -------------------------------------------------------------------------------------------


def test_a_verified_certificate_is_told_as_one_byte_sequence() -> None:
    expected = f":{base64.b64encode(DER).decode()}:"
    assert said(SSL_CLIENT_VERIFY="SUCCESS", SSL_CLIENT_CERT=PEM)["Client-Cert"] == expected
    chain = PEM + PEM.replace("AAEC", "BBBB")
    assert said(SSL_CLIENT_VERIFY="SUCCESS", SSL_CLIENT_CERT=chain)["Client-Cert"] == expected


@pytest.mark.parametrize(
    ("verify", "pem"),
    [
        ("NONE", PEM),
        ("FAILED:expired", PEM),
        (None, PEM),
        ("SUCCESS", None),
        ("SUCCESS", ""),
        ("SUCCESS", "MIIB"),
        ("SUCCESS", "-----BEGIN CERTIFICATE-----\nsn\xf6w\n-----END CERTIFICATE-----"),
        ("SUCCESS", "-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----"),
    ],
)
def test_what_nobody_has_verified_is_not_told(verify: str | None, pem: str | None) -> None:
    assert "Client-Cert" not in said(SSL_CLIENT_VERIFY=verify, SSL_CLIENT_CERT=pem)
