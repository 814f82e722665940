"""Combinations of keys that cannot both be meant."""

from __future__ import annotations

from typing import Any

import pytest

from wsgiproxy.config.contradictions import contradictions
from wsgiproxy.config.kinds import Block
from wsgiproxy.config.schema import (
    Backend,
    BackendTls,
    Config,
    Daemon,
    HealthCheck,
    Limits,
    Match,
    Outliers,
    OwnTimeouts,
    PathMatch,
    Pool,
    PoolShare,
    Redirect,
    Respond,
    Retries,
    Route,
    SlowStart,
    Timeouts,
    ValueMatch,
)

PREFIX = Match(path=PathMatch(prefix="/api"))
EXACT = Match(path=PathMatch(exact="/api"))
REGEX = Match(path=PathMatch(regex="/a.*"))
HOST = Match(host=("a.example",))


@pytest.mark.parametrize("match", [(), (EXACT,), (REGEX,), (HOST,), (PREFIX, HOST)])
def test_a_prefix_can_only_be_replaced_where_every_match_has_one(match: tuple[Match, ...]) -> None:
    moved = Route(match=match, redirect=Redirect(path_prefix="/new"))
    stripped = Route(match=match, pool="web", strip_prefix=True)
    problem = "needs a path prefix in every match of the route: there is nothing that it could {} otherwise"
    assert list(contradictions(moved)) == [("redirect.path_prefix", problem.format("replace"))]
    assert list(contradictions(stripped)) == [("strip_prefix", problem.format("strip"))]


def test_only_a_pool_has_a_prefix_stripped() -> None:
    route = Route(match=(PREFIX,), respond=Respond(), strip_prefix=True)
    assert list(contradictions(route)) == [("strip_prefix", "goes with pool or pools only")]


def test_a_redirect_leads_somewhere_else() -> None:
    problem = "one of scheme, host, port, path, path_prefix is needed, or the client is sent where it came from"
    assert list(contradictions(Redirect())) == [("", problem)]


def test_a_redirect_keeps_the_query_of_the_client() -> None:
    problem = 'must not have a query ("?"): the client\'s own is kept'
    assert list(contradictions(Redirect(path="/a?b"))) == [("path", problem)]
    assert list(contradictions(Redirect(path_prefix="/a?b"))) == [("path_prefix", problem)]


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "Connection", "Upgrade"])
def test_an_answer_does_not_frame_itself(name: str) -> None:
    assert list(contradictions(Respond(headers={name: "1"}))) == [
        (f"headers.{name}", f'the proxy sets "{name}" itself')
    ]


def test_a_check_names_its_host_in_its_own_key() -> None:
    assert list(contradictions(HealthCheck(headers={"Host": "a"}))) == [
        ("headers.Host", 'the proxy sets "Host" itself')
    ]


@pytest.mark.parametrize(
    ("check", "contradiction"),
    [
        (
            HealthCheck(method="HEAD", expected_body="up"),
            ("expected_body", "does nothing beside method: HEAD, which is answered without a body"),
        ),
        (
            HealthCheck(kind="tcp", expected_body="up"),
            ("expected_body", "does nothing beside kind: tcp, which asks for no answer"),
        ),
        (
            HealthCheck(kind="tcp", drain_on_404=True),
            ("drain_on_404", "does nothing beside kind: tcp, which asks for no answer"),
        ),
        (
            HealthCheck(expected_statuses=("200", "400-499"), drain_on_404=True),
            ("drain_on_404", "404 is among expected_statuses: it cannot mean healthy and drain"),
        ),
    ],
)
def test_a_check_looks_at_what_there_is_and_each_status_means_one_thing(
    check: HealthCheck, contradiction: tuple[str, str]
) -> None:
    assert list(contradictions(check)) == [contradiction]


@pytest.mark.parametrize("more", [{"window": 5.0}, {"minimum_requests": 10}])
def test_a_window_is_for_a_share_of_failures(more: dict[str, Any]) -> None:
    (key,) = more
    assert list(contradictions(Outliers(**more))) == [(key, "does nothing without failure_percent")]
    assert list(contradictions(Outliers(failure_percent=50, **more))) == []


@pytest.mark.parametrize("key", ["connect", "tls", "queue", "first_byte", "read", "write"])
@pytest.mark.parametrize("cls", [Timeouts, OwnTimeouts])
def test_no_wait_may_be_longer_than_the_whole_of_which_it_is_a_part(key: str, cls: type[Block]) -> None:
    problem = "does nothing beyond total (2 s), which ends it all"
    assert list(contradictions(cls(total=2.0, **{key: 2.5}))) == [(key, problem)]
    assert list(contradictions(cls(total=2.0, **{key: 2.0}))) == []
    assert list(contradictions(cls(total=0.0, **{key: 2.5}))) == []


def test_what_nobody_has_written_contradicts_nothing() -> None:
    assert list(contradictions(Timeouts(total=2.0))) == []


def test_an_attempt_may_be_no_longer_than_the_whole() -> None:
    pool = Pool(
        backends=(Backend(address="http://a"),),
        timeouts=OwnTimeouts(total=2.0),
        retries=Retries(per_attempt_timeout=3.0),
    )
    problem = "does nothing beyond timeouts.total (2 s)"
    assert list(contradictions(pool)) == [("retries.per_attempt_timeout", problem)]


def test_the_first_ejection_is_no_longer_than_the_longest() -> None:
    problem = "must not be more than max_ejection_time (300 s)"
    assert list(contradictions(Outliers(base_ejection_time=301.0))) == [("base_ejection_time", problem)]
    assert list(contradictions(Outliers(base_ejection_time=301.0, max_ejection_time=301.0))) == []


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_that_has_no_body_is_given_none(status: int) -> None:
    assert list(contradictions(Respond(status=status, body="x"))) == [
        ("body", f"an answer with status {status} has no body")
    ]


def test_one_header_in_two_spellings_is_given_twice() -> None:
    block = Match(headers={"X-A": ValueMatch(exact="1"), "x-a": ValueMatch(exact="2")})
    assert list(contradictions(block)) == [
        ("headers.x-a", 'the same header as "X-A": case does not matter in header names')
    ]


def pool(*addresses: str, **more: Any) -> Pool:
    return Pool(backends=tuple(Backend(address=address) for address in addresses), **more)


def test_tls_is_for_backends_that_speak_it() -> None:
    problem = "does nothing here: none of the backends has an address that begins with https://"
    mistaken = pool("http://a", "unix:/a", tls=BackendTls(verify=False))
    assert list(contradictions(mistaken)) == [("tls", problem)]


def test_an_authority_is_not_asked_where_nothing_is_verified() -> None:
    mistaken = pool("https://a", tls=BackendTls(verify=False, ca="/ca.pem"))
    assert list(contradictions(mistaken)) == [("tls.ca", "does nothing beside verify: false")]


def test_only_an_address_with_a_port_can_be_checked_at_another_one() -> None:
    problem = "does nothing here: none of the backends has an address with a port"
    check = HealthCheck(port=9000)
    assert list(contradictions(pool("unix:/a", "app:b", health_check=check))) == [("health_check.port", problem)]
    assert list(contradictions(pool("unix:/a", "https://b", health_check=check))) == []


def test_a_proxy_header_begins_a_connection() -> None:
    problem = "does nothing here: applications of this process have no connection to begin"
    assert list(contradictions(pool("app:a", "app:b", proxy_protocol="v1"))) == [("proxy_protocol", problem)]


def test_a_hash_goes_by_something_and_nothing_else_does() -> None:
    problem = "hash needs hash_on: what of a request decides which backend gets it"
    assert list(contradictions(pool("http://a", balance="hash"))) == [("balance", problem)]
    problem = "does nothing beside balance: round_robin; it goes with hash only"
    assert list(contradictions(pool("http://a", hash_on="client"))) == [("hash_on", problem)]


def test_what_goes_by_order_alone_starts_nobody_slowly() -> None:
    problem = "does nothing beside balance: first, which goes by the order alone"
    mistaken = pool("http://a", balance="first", slow_start=SlowStart(duration=1.0))
    assert list(contradictions(mistaken)) == [("slow_start", problem)]


@pytest.mark.parametrize("key", ["header_bytes", "target_bytes"])
def test_a_limit_that_lets_nothing_through_is_a_slip(key: str) -> None:
    limits = Limits(**{"target_bytes": 0, key: 0})  # type: ignore[arg-type]
    assert (key, "must be more than 0: nothing could be asked for otherwise") in contradictions(limits)


def test_a_part_is_not_larger_than_the_whole() -> None:
    problem = "must not be more than header_bytes (1000), which it is a part of"
    assert list(contradictions(Limits(header_bytes=1000, target_bytes=1001))) == [("target_bytes", problem)]
    problem = "must not be more than connections (10), all clients together"
    mistaken = Limits(connections=10, connections_per_client=11)
    assert list(contradictions(mistaken)) == [("connections_per_client", problem)]


@pytest.mark.parametrize(
    "more", [{"upgrades": ()}, {"upgrades": ("echo",)}, {"body_bytes": 0}, {"trailers": ("X-Checksum",)}]
)
def test_what_is_between_client_and_backend_goes_with_pool_only(more: dict[str, Any]) -> None:
    (key,) = more
    assert list(contradictions(Route(respond=Respond(), **more))) == [(key, "goes with pool or pools only")]


@pytest.mark.parametrize("name", ["Content-Length", "host", "Authorization", "Set-Cookie", "Transfer_Encoding"])
def test_a_trailer_says_nothing_that_must_stand_in_front(name: str) -> None:
    problem = f'"{name}" is never passed on as a trailer (RFC 9110 6.5.1)'
    assert list(contradictions(Route(pool="web", trailers=("X-A", name)))) == [("trailers[1]", problem)]


@pytest.mark.parametrize(
    "block",
    [
        Route(match=(PREFIX, PREFIX), pool="web", strip_prefix=True),
        Route(match=(PREFIX,), redirect=Redirect(path_prefix="/new")),
        Route(pool="web"),
        Route(match=(PREFIX,), pools=(PoolShare(pool="a"), PoolShare(pool="b", weight=0)), strip_prefix=True),
        Route(pool="web", upgrades=(), body_bytes=0, trailers=("X-Checksum", "Content-Digest")),
        Limits(body_bytes=0, target_bytes=32 * 1024, connections=10, connections_per_client=10),
        Limits(header_bytes=1000),
        Limits(connections_per_client=10),
        pool("http://a", "https://a", tls=BackendTls(ca="/ca.pem")),
        pool("http://a", "app:a", proxy_protocol="v2"),
        pool("http://a", balance="hash", hash_on="client", slow_start=SlowStart(duration=1.0)),
        Redirect(scheme="https"),
        Respond(status=204),
        Respond(body="x", headers={"Content-Type": "text/html"}),
        HealthCheck(kind="tcp", path="/x"),
        Match(headers={"content-length": ValueMatch(exact="0")}),
        Daemon(),
        Config(),
    ],
    ids=repr,
)
def test_what_can_be_meant_is_no_contradiction(block: Block) -> None:
    assert list(contradictions(block)) == []
