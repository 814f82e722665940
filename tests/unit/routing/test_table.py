"""Which route wins: precedence, host and path matching, and what a look-up costs."""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

import pytest

from tests.unit.routing.asking import asking
from wsgiproxy.config import schema
from wsgiproxy.config.schema import Match, PathMatch, ValueMatch
from wsgiproxy.routing.build import build_table
from wsgiproxy.routing.table import Route, RoutingTable


def match(host: str | tuple[str, ...] = (), method: tuple[str, ...] = (), **given: Any) -> Match:
    """A match: ``exact``, ``prefix`` or ``regex`` for the path, ``headers`` and ``query`` with exact values."""
    path = {kind: given[kind] for kind in ("exact", "prefix", "regex") if kind in given}
    return Match(
        host=(host,) if isinstance(host, str) else host,
        path=PathMatch(**path) if path else None,
        method=method,
        headers={name: ValueMatch(exact=value) for name, value in given.get("headers", {}).items()},
        query={name: ValueMatch(exact=value) for name, value in given.get("query", {}).items()},
    )


def table(*matches: Match | tuple[Match, ...]) -> RoutingTable:
    """A table whose routes are called ``routes[0]`` and so on."""
    routes = tuple(
        schema.Route(match=given if isinstance(given, tuple) else (given,), respond=schema.Respond())
        for given in matches
    )
    return build_table(schema.Config(routes=routes), None, _no_upstream)


def _no_upstream(address: str) -> Any:
    raise AssertionError(address)


def find(routes: RoutingTable, host: str = "e.org", path: str = "/", method: str = "GET", **more: Any) -> int | None:
    """The number of the route that takes a request."""
    found = routes.match(asking(host, method, **more), path)
    return None if found is None else int(found.route.name[len("routes[") : -1])


@pytest.mark.parametrize(
    ("pattern", "host", "fits"),
    [
        ("shop.example.org", "shop.example.org", True),
        ("shop.example.org", "SHOP.example.ORG:8080", True),
        ("shop.example.org", "shop.example.org.", True),
        ("shop.example.org", "a.shop.example.org", False),
        ("*.example.org", "a.example.org", True),
        ("*.example.org", "a.b.c.example.org:80", True),
        ("*.example.org", "example.org", False),
        ("*.example.org", "badexample.org", False),
        ("[::1]", "[::1]:8080", True),
        ("[::1]", "[::1]", True),
        ("127.0.0.1", "127.0.0.1:80", True),
        ("e.org", "", False),
    ],
)
def test_a_host_is_matched_without_case_port_and_final_dot(pattern: str, host: str, fits: bool) -> None:
    assert (find(table(match(pattern)), host) == 0) is fits


@pytest.mark.parametrize(
    ("given", "path", "fits"),
    [
        ({"prefix": "/api"}, "/api", True),
        ({"prefix": "/api"}, "/api/", True),
        ({"prefix": "/api"}, "/api/x", True),
        ({"prefix": "/api"}, "/apix", False),
        ({"prefix": "/api/"}, "/api", True),
        ({"prefix": "/a/b"}, "/a/b/c/d", True),
        ({"prefix": "/a/b"}, "/a", False),
        ({"prefix": "/"}, "/x", True),
        ({"exact": "/ping"}, "/ping", True),
        ({"exact": "/ping"}, "/ping/", False),
        ({"regex": "/v[0-9]+/.*"}, "/v12/x", True),
        ({"regex": "/v[0-9]+"}, "/v1/x", False),
    ],
)
def test_a_path_is_matched_whole_or_by_whole_elements(given: dict[str, Any], path: str, fits: bool) -> None:
    assert (find(table(match(**given)), path=path) == 0) is fits


ORDER = [  # the most specific first; one request fits them all
    match("a.b.e.org"),
    match("*.b.e.org", prefix="/a"),
    match("*.e.org", exact="/a/b/c"),
    match("*.e.org", regex="/a/b/[a-z]"),
    match("*.e.org", regex="/a/b/."),
    match("*.e.org", prefix="/a/b"),
    match("*.e.org", prefix="/a", method=("GET",)),
    match("*.e.org", prefix="/a", headers={"x-one": "1", "x-two": "2"}),
    match("*.e.org", prefix="/a", headers={"x-one": "1"}, query={"q": "1"}),
    match("*.e.org", prefix="/a", headers={"x-two": "2"}),
    match("*.e.org", prefix="/a", query={"q": "1", "r": "2"}),
    match("*.e.org", prefix="/a", query={"r": "2"}),
    match("*.e.org", prefix="/a"),
    match("*.e.org"),
    match(exact="/a/b/c"),
    match(),
]


@pytest.mark.parametrize("seed", range(5))
def test_the_most_specific_route_wins_whatever_the_order_in_the_file(seed: int) -> None:
    shuffled = random.Random(seed).sample(ORDER, len(ORDER))
    for first in range(len(ORDER)):
        left = [given for given in shuffled if ORDER.index(given) >= first]
        found = find(table(*left), "a.b.e.org", "/a/b/c", query="q=1&r=2", fields=[("X-One", "1"), ("X-Two", "2")])
        assert found is not None
        assert left[found] is ORDER[first]


def test_of_equal_routes_the_first_in_the_file_wins() -> None:
    assert find(table(match(prefix="/a"), match(prefix="/a"))) is None
    assert find(table(match(prefix="/a"), match(prefix="/a/")), path="/a") == 0
    assert find(table(match(regex="/[ab]"), match(regex="/[ac]")), path="/a") == 0


def test_where_the_most_specific_route_lacks_a_condition_the_next_one_is_tried_across_hosts() -> None:
    routes = table(
        match("a.e.org", exact="/x", method=("POST",)),
        match("a.e.org", prefix="/x", headers={"x-beta": "1"}),
        match("*.e.org", query={"v": "2"}),
        match(prefix="/x"),
    )
    assert find(routes, "a.e.org", "/x", "POST") == 0
    assert find(routes, "a.e.org", "/x", fields=[("X-BETA", "1")]) == 1
    assert find(routes, "a.e.org", "/x", query="v=2") == 2
    assert find(routes, "a.e.org", "/x") == 3
    assert find(routes, "a.e.org", "/y") is None


@pytest.mark.parametrize(
    ("given", "request_", "fits"),
    [
        ({"headers": {"X-Beta": "1"}}, {"fields": [("x-beta", "1")]}, True),
        ({"headers": {"x-beta": "1"}}, {"fields": [("x-beta", "2")]}, False),
        ({"headers": {"x-beta": "1, 2"}}, {"fields": [("x-beta", "1"), ("X-Beta", "2")]}, True),
        ({"query": {"a b": "c d"}}, {"query": "a+b=c%20d"}, True),
        ({"query": {"v": "1"}}, {"query": "v=1&v=2"}, True),
        ({"query": {"v": "2"}}, {"query": "v=1&v=2"}, False),
        ({"query": {"v": ""}}, {"query": "v"}, True),
        ({"query": {"v": "1"}}, {"query": ""}, False),
        ({"method": ("GET", "HEAD")}, {"method": "HEAD"}, True),
        ({"method": ("GET", "HEAD")}, {"method": "POST"}, False),
    ],
)
def test_headers_parameters_and_methods(given: dict[str, Any], request_: dict[str, Any], fits: bool) -> None:
    assert (find(table(match(**given)), **request_) == 0) is fits


def test_a_regular_expression_must_match_the_whole_value() -> None:
    routes = table(Match(headers={"x-v": ValueMatch(regex="[0-9]+")}))
    assert find(routes, fields=[("X-V", "12")]) == 0
    assert find(routes, fields=[("X-V", "12a")]) is None


def test_a_list_of_matches_is_any_of_them() -> None:
    routes = table((match(("a.example", "b.example"), method=("GET",)), match(query={"v": "2"})))
    assert find(routes, "b.example") == find(routes, "c.example", query="v=2") == 0
    assert find(routes, "b.example", method="POST") is None


def test_a_match_says_how_many_elements_its_prefix_took() -> None:
    found = table(match(prefix="/a/b/")).match(asking(), "/a/b/c")
    assert found is not None
    assert found.prefix_elements == 2


def test_among_many_routes_of_one_path_the_order_is_the_same_as_among_few() -> None:
    tenants = [match(headers={"tenant": str(i)}) for i in range(20)]
    routes = table(*tenants, match(headers={"tenant": "3", "x-beta": "1"}), match(method=("POST",)), match())
    assert find(routes, fields=[("Tenant", "3")]) == 3
    assert find(routes, fields=[("Tenant", "3"), ("X-Beta", "1")]) == 20
    assert find(routes, method="POST", fields=[("Tenant", "3"), ("X-Beta", "1")]) == 21
    assert find(routes, fields=[("Tenant", "none")]) == 22


def test_hosts_that_are_one_in_two_spellings_share_their_routes() -> None:
    routes = table(match("e.org", prefix="/a"), match("E.org.", prefix="/b"))
    assert (find(routes, path="/a"), find(routes, path="/b")) == (0, 1)


# --- cost -------------------------------------------------------------------------------------------------------------


def work_of(function: Callable[[], object]) -> int:
    """How many bytecode instructions of Python a call runs: work, not time."""
    count = 0

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return count


MANY: Mapping[str, Callable[[int], Match]] = {
    "hosts": lambda i: match(f"h{i}.example.org"),
    "wildcards": lambda i: match(f"*.h{i}.example.org"),
    "prefixes": lambda i: match(prefix=f"/api/v{i}"),
    "exact paths": lambda i: match(exact=f"/api/v{i}"),
}


@pytest.mark.parametrize("kind", MANY)
@pytest.mark.parametrize(("number", "fits"), [(9, True), (99_999, False)])
def test_ten_thousand_routes_cost_what_ten_cost(kind: str, number: int, fits: bool) -> None:
    few = table(*map(MANY[kind], range(10)), match())
    many = table(*map(MANY[kind], range(10_000)), match())
    host, path = f"h{number}.example.org", f"/api/v{number}"
    if kind == "wildcards":
        host = f"a.{host}"
    assert find(few, host, path) == (number if fits else 10)
    assert find(many, host, path) == (number if fits else 10_000)
    assert work_of(lambda: find(many, host, path)) <= 1.5 * work_of(lambda: find(few, host, path))


def test_a_deep_path_and_a_long_host_cost_no_more_than_the_deepest_that_is_configured() -> None:
    routes = table(match("*.example.org", prefix="/a/b"), match(prefix="/a"), match())
    short = work_of(lambda: find(routes, "x.y.example.com", "/x/y/z"))
    long = work_of(lambda: find(routes, "x." * 100 + "example.com", "/x" * 4000))
    assert long <= 1.5 * short


@pytest.mark.parametrize("kind", ["headers", "query"])
def test_routes_that_differ_in_one_exact_value_cost_no_walk(kind: str) -> None:
    def routes(count: int) -> RoutingTable:
        given: dict[str, Any] = {kind: {"tenant": ""}}
        return table(*(match(**(given | {kind: {"tenant": str(i)}})) for i in range(count)), match())

    few, many = routes(20), routes(10_000)
    fields, query = [("Tenant", "9999")], "tenant=9999"
    assert find(many, fields=fields, query=query) == 9999
    assert find(many, fields=[("Tenant", "nobody")], query="tenant=nobody") == 10_000
    assert find(many) == 10_000
    work = work_of(lambda: find(few, fields=fields, query=query))
    assert work_of(lambda: find(many, fields=fields, query=query)) <= 1.5 * work


def test_regular_expressions_are_not_compared_with_one_another_when_a_table_is_made() -> None:
    few = work_of(lambda: table(*(match(regex=f"/r{i}/x") for i in range(100))))
    assert work_of(lambda: table(*(match(regex=f"/r{i}/x") for i in range(1000)))) < 12 * few


def test_a_route_has_what_requests_need_of_it_prepared() -> None:
    route = Route("a", schema.Route(pool="web", trailers=("X-Checksum", "etag")), None)
    assert (route.upgrades, route.trailers, route.body_bytes) == (("websocket",), ("x-checksum", "etag"), math.inf)
    assert Route("a", schema.Route(pool="web", body_bytes=0), None).body_bytes == 0


@pytest.mark.parametrize(
    ("forwarding", "plainly"),
    [
        (schema.Forwarding(), True),
        (schema.Forwarding(trusted_proxies=("10.0.0.0/8",)), False),
        (schema.Forwarding(write=("forwarded",)), False),
        (schema.Forwarding(write=()), False),
        (schema.Forwarding(via="edge"), False),
    ],
)
def test_a_table_knows_whom_it_believes(forwarding: schema.Forwarding, plainly: bool) -> None:
    made = build_table(schema.Config(forwarding=forwarding), None, _no_upstream)
    assert (made.forwarding, made.forwards_plainly) == (forwarding, plainly)
    assert bool(made.trusted_proxies) is ("10.0.0.1" in made.trusted_proxies) is bool(forwarding.trusted_proxies)
