"""Which part of a request decides who gets it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.proxy.journeys import FakeUpstream, Journey, environ_of, outgoing, pool_table
from wsgiproxy.config import schema
from wsgiproxy.config.values import parse_hash_on
from wsgiproxy.pool.hashing import digest
from wsgiproxy.proxy.client import ClientFacts
from wsgiproxy.proxy.exchange import Exchange
from wsgiproxy.proxy.hash_key import hash_key
from wsgiproxy.proxy.request import head_of

COOKIES = "a=1; session=abc ;b=x=y; session=other; =nothing; lone"


def key_of(hash_on: str, target: str = "/", strip: int = 0, client: str = "", **more: Any) -> int | None:
    environ = environ_of("GET", target, **more)
    exchange = Exchange(environ, None)
    exchange.head = head_of(environ)
    if client:
        exchange.client = ClientFacts(client, 0, "http", "shop.example", "80")
    return hash_key(exchange, outgoing(environ, strip), parse_hash_on(hash_on))


@pytest.mark.parametrize(
    ("hash_on", "text"),
    [
        ("client", "192.0.2.7"),
        ("path", "/shop/caf\xc3\xa9"),
        ("header:X-User", "ann"),
        ("header:x-user", "ann"),
        ("cookie:session", "abc"),
        ("query:v", "2 3"),
    ],
)
def test_the_key_is_the_part_that_the_file_names(hash_on: str, text: str) -> None:
    more = {"HTTP_X_USER": "ann", "HTTP_COOKIE": COOKIES}
    assert key_of(hash_on, "/shop/caf%C3%A9?v=2%203&v=4", **more) == digest(text)


def test_a_client_is_the_one_that_is_believed() -> None:
    assert key_of("client", client="198.51.100.1") == digest("198.51.100.1")


def test_a_path_is_the_one_that_the_backend_sees() -> None:
    assert key_of("path", "/api/%78?q", strip=1) == key_of("path", "/x") == digest("/x")


@pytest.mark.parametrize("hash_on", ["client", "header:X-User", "cookie:session", "query:v"])
def test_what_is_missing_or_empty_is_no_key(hash_on: str) -> None:
    assert key_of(hash_on, "/?v=", REMOTE_ADDR="", HTTP_COOKIE="session=", HTTP_X_USER="") is None
    assert key_of(hash_on, REMOTE_ADDR=None) is None


def test_a_client_stays_with_its_backend_and_goes_to_another_one_where_that_fails() -> None:
    upstreams = [FakeUpstream() for _ in range(4)]
    journey = Journey(pool_table(*upstreams, balance="hash", hash_on="query:user", outliers=None))
    for number in range(40):
        journey.get(f"/?user={number % 8}")
    assert sum(bool(upstream.requests) for upstream in upstreams) > 1
    by_user = {tuple(sorted({request.query for request in upstream.requests})) for upstream in upstreams}
    assert sum(len(users) for users in by_user) == 8, "no user is seen by two"
    assert journey.in_flight == [0] * 4


def test_requests_without_a_key_are_spread() -> None:
    upstreams = [FakeUpstream() for _ in range(4)]
    journey = Journey(pool_table(*upstreams, balance="hash", hash_on="header:X-User"))
    for _ in range(8):
        journey.get()
    assert [len(upstream.requests) for upstream in upstreams] == [2] * 4


def test_a_pool_block_says_what_its_hash_goes_by() -> None:
    assert pool_table(FakeUpstream()).pools["web"].hash_on is None
    block: dict[str, Any] = {"balance": "hash", "hash_on": "header:X-User"}
    assert pool_table(FakeUpstream(), **block).pools["web"].hash_on == ("header", "x-user")
    assert schema.Pool(backends=()).hash_on is None
