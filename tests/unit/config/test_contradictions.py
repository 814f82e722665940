"""Combinations of keys that cannot both be meant."""

from __future__ import annotations

import pytest

from wsgiproxy.config import schema
from wsgiproxy.config.contradictions import contradictions
from wsgiproxy.config.schema import HealthCheck, Match, PathMatch, Redirect, Respond, Route, ValueMatch

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
    assert list(contradictions(route)) == [("strip_prefix", "goes with pool only")]


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


@pytest.mark.parametrize(
    "block",
    [
        Route(match=(PREFIX, PREFIX), pool="web", strip_prefix=True),
        Route(match=(PREFIX,), redirect=Redirect(path_prefix="/new")),
        Route(pool="web"),
        Redirect(scheme="https"),
        Respond(status=204),
        Respond(body="x", headers={"Content-Type": "text/html"}),
        HealthCheck(kind="tcp", path="/x"),
        Match(headers={"content-length": ValueMatch(exact="0")}),
        schema.Daemon(),
        schema.Config(),
    ],
    ids=repr,
)
def test_what_can_be_meant_is_no_contradiction(block: schema.Block) -> None:
    assert list(contradictions(block)) == []
