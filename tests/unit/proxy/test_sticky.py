"""Clients that stay with their backends: what their requests and answers look like, and where they go."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.unit.proxy.journeys import FakeUpstream, Journey, backends_of, pool_table
from wsgiproxy.config import schema
from wsgiproxy.errors import ConnectError
from wsgiproxy.http1.message import Fields
from wsgiproxy.pool.sticky import Signed
from wsgiproxy.routing.build import build_table
from wsgiproxy.routing.table import RoutingTable
from wsgiproxy.upstream.messages import UpstreamRequest, UpstreamResponse

KEY = "a secret of some length"
OURS = schema.Sticky(cookie="stay", key=KEY)
THEIRS = schema.Sticky(cookie="sid", set_by="application")


class Browser:
    """A client that sends back the cookies that it was given; ``last`` is what was set last."""

    def __init__(self, journey: Journey, upstreams: list[FakeUpstream]) -> None:
        self._journey, self._upstreams = journey, upstreams
        self.cookies: dict[str, str] = {}
        self.last: Fields = []

    def ask(self, **more: Any) -> int:
        """Ask once; the index of the backend that answered last."""
        before = [len(upstream.requests) for upstream in self._upstreams]
        if self.cookies:
            more["HTTP_COOKIE"] = "; ".join([f"{name}={value}" for name, value in self.cookies.items()])
        told = self._journey.get(**more)
        assert told.status == "200 OK"
        ((_, fields),) = told.calls
        self.last = [field for field in fields if field[0] == "Set-Cookie"]
        for _, text in self.last:
            name, _, value = text.partition(";")[0].partition("=")
            self.cookies[name] = value
        answered = [len(upstream.requests) for upstream in self._upstreams]
        return [old != new for old, new in zip(before, answered, strict=True)].index(True)

    def cookie_names(self, index: int) -> str:
        """The Cookie field that a backend saw last."""
        return dict(self._upstreams[index].requests[-1].fields).get("Cookie", "")


def browser(sticky: schema.Sticky, count: int = 3, **block: Any) -> tuple[Browser, Journey, list[FakeUpstream]]:
    upstreams = [FakeUpstream() for _ in range(count)]
    journey = Journey(pool_table(*upstreams, sticky=sticky, panic_threshold=0, **block))
    return Browser(journey, upstreams), journey, upstreams


# --- a cookie of ours -------------------------------------------------------------------------------------------------


def test_a_client_gets_a_cookie_once_and_stays_with_the_backend_that_gave_it() -> None:
    client, journey, _ = browser(OURS)
    first = client.ask()
    assert [text.partition("=")[0] for _, text in client.last] == ["stay"]
    assert {client.ask() for _ in range(6)} == {first}
    assert client.last == [], "it has what it needs"
    assert journey.in_flight == [0] * 3


def test_clients_without_a_cookie_are_spread() -> None:
    _, journey, upstreams = browser(OURS)
    for _ in range(6):
        journey.get()
    assert [len(upstream.requests) for upstream in upstreams] == [2] * 3


def test_a_cookie_of_ours_stands_behind_those_of_the_application() -> None:
    client, _, upstreams = browser(OURS, 1)
    upstreams[0].fields = [("Set-Cookie", "sid=1; Path=/"), ("X-A", "b"), ("Set-Cookie", "theme=dark")]
    client.ask()
    assert [text.partition("=")[0] for _, text in client.last] == ["sid", "theme", "stay"]
    assert len(upstreams[0].fields) == 3, "what the backend said is its own"


def test_a_backend_does_not_see_a_cookie_of_ours_but_all_others() -> None:
    client, _, _ = browser(OURS)
    index = client.ask()
    assert client.ask() == index
    assert client.cookie_names(index) == ""
    client.cookies = {"a": "1", **client.cookies, "b": "2"}
    assert client.ask() == index
    assert client.cookie_names(index) == "a=1; b=2"


@pytest.mark.parametrize("value", ["", "x", "A" * 48, "\xe9" * 48])
def test_a_cookie_that_is_not_of_us_is_replaced_and_hidden_all_the_same(value: str) -> None:
    client, _, _ = browser(OURS)
    client.cookies["stay"] = value
    index = client.ask()
    assert len(client.cookies["stay"]) == 48
    assert client.cookie_names(index) == ""
    assert {client.ask() for _ in range(4)} == {index}


def test_a_cookie_is_known_after_a_restart_and_by_other_processes() -> None:
    client, _, _ = browser(OURS)
    index = client.ask()
    other, _, _ = browser(OURS)
    other.cookies = client.cookies
    assert {other.ask() for _ in range(4)} == {index}
    assert other.last == []


def test_a_client_that_comes_often_never_loses_its_backend_and_one_that_stays_away_does() -> None:
    client, journey, _ = browser(OURS)
    pool, now = journey.table.pools["web"], 1_800_000_000.0
    pool.sticky = Signed(OURS, KEY.encode(), "web", pool.backends, lambda: now)
    home = client.ask()
    given = []
    for _ in range(6):
        now += OURS.ttl * 0.4
        assert client.ask() == home
        given.append(len(client.last))
    assert given == [0, 1, 0, 1, 0, 1], "in the second half of its time"
    now += OURS.ttl * 1.1
    client.ask()
    assert len(client.last) == 1


def test_a_request_of_a_client_is_not_sent_to_a_second_backend_beside_its_own() -> None:
    asked_by = []

    class Asked(FakeUpstream):
        def send(self, request: UpstreamRequest, *, fresh: bool = False) -> UpstreamResponse:
            asked_by.append(threading.get_ident())
            return super().send(request, fresh=fresh)

    upstreams: list[FakeUpstream] = [Asked(), Asked()]
    table = pool_table(*upstreams, sticky=OURS, retries={"hedge_after": 30.0})
    client = Browser(Journey(table), upstreams)
    client.ask()
    client.ask()
    assert asked_by[0] != threading.get_ident() == asked_by[1], "a race has racers of its own"


def test_a_client_whose_backend_fails_stays_with_the_one_that_took_over() -> None:
    client, journey, upstreams = browser(OURS)
    first = client.ask()
    upstreams[first].steps = [ConnectError("no")]
    before = client.cookies["stay"]
    client.ask()
    assert journey.logged[-1].attempts == 2
    second = next(index for index in range(3) if upstreams[index].requests and index != first)
    assert client.cookies["stay"] != before
    assert {client.ask() for _ in range(4)} == {second}


def test_a_client_whose_backend_is_in_maintenance_gets_another_one_for_good() -> None:
    client, journey, _ = browser(OURS)
    first = client.ask()
    backend = backends_of(journey.table)[first]
    backend.admin_state = "maint"
    backend.roster.changes += 1
    second = client.ask()
    assert second != first
    assert len(client.last) == 1
    backend.admin_state = "ready"
    backend.roster.changes += 1
    assert {client.ask() for _ in range(4)} == {second}


def test_a_client_that_others_helped_out_goes_back_to_its_backend() -> None:
    client, journey, _ = browser(OURS, max_in_flight=1)
    first = client.ask()
    backend = backends_of(journey.table)[first]
    backend.in_flight = 1
    assert client.ask() != first
    assert client.last == []
    backend.in_flight = 0
    assert client.ask() == first


def test_a_client_of_the_only_backend_which_drains_may_send_a_body() -> None:
    client, journey, upstreams = browser(OURS, 1)
    client.ask()
    (backend,) = backends_of(journey.table)
    backend.admin_state = "drain"
    backend.roster.changes += 1
    told = journey.post(HTTP_COOKIE=f"stay={client.cookies['stay']}")
    assert (told.status, upstreams[0].received[-1]) == ("200 OK", b"hello")
    assert journey.post().status == "503 Service Unavailable"


def test_an_answer_that_cannot_be_given_leaves_no_client_with_a_cookie() -> None:
    _, journey, _ = browser(OURS, 1)
    (backend,) = backends_of(journey.table)
    backend.admin_state = "maint"
    backend.roster.changes += 1
    assert "Set-Cookie" not in journey.get().fields


# --- the application's cookie -----------------------------------------------------------------------------------------


def test_a_client_stays_with_the_backend_that_made_its_session_and_sees_only_the_applications_cookie() -> None:
    client, _, upstreams = browser(THEIRS)
    client.ask()
    for number, upstream in enumerate(upstreams):
        upstream.fields = [("Set-Cookie", f"sid=s{number}; HttpOnly")]
    first = client.ask()
    assert client.last == [("Set-Cookie", f"sid=s{first}; HttpOnly")]
    for upstream in upstreams:
        upstream.fields = []
    assert {client.ask() for _ in range(6)} == {first}
    assert client.last == []
    assert client.cookie_names(first) == f"sid=s{first}"


def test_a_session_that_nobody_here_has_seen_made_is_spread() -> None:
    client, _, _ = browser(THEIRS)
    client.cookies["sid"] = "from elsewhere"
    assert {client.ask() for _ in range(6)} == {0, 1, 2}


def test_a_session_goes_on_with_the_backend_that_took_over() -> None:
    client, _, upstreams = browser(THEIRS)
    upstreams[0].fields = [("Set-Cookie", "sid=abc")]
    assert client.ask() == 0
    upstreams[0].steps = [ConnectError("no")]
    client.ask()
    assert len({client.ask() for _ in range(6)} - {0}) == 1


# --- pools that share a route -----------------------------------------------------------------------------------------


def canary(old: list[FakeUpstream], new: list[FakeUpstream], weights: tuple[int, int]) -> RoutingTable:
    """``old`` and ``new`` share a route; without a cookie the chances draw new, old, new, old and so on."""
    made = {f"http://{name}{i}:1": one for name, group in (("o", old), ("n", new)) for i, one in enumerate(group)}
    pools = {
        name: schema.Pool(
            backends=tuple([schema.Backend(address=address) for address in made if address[7] == name[0]]), sticky=OURS
        )
        for name in ("old", "new")
    }
    shares = tuple([schema.PoolShare(pool=name, weight=weight) for name, weight in zip(pools, weights, strict=True)])
    turns = iter([0.99, 0.0] * 100)
    config = schema.Config(pools=pools, routes=(schema.Route(pools=shares),))
    return build_table(config, None, made.__getitem__, chance=lambda: next(turns))


@pytest.mark.parametrize("weights", [(1, 1), (5, 1), (1, 0)])
def test_a_client_stays_in_the_pool_of_its_backend(weights: tuple[int, int]) -> None:
    upstreams = [FakeUpstream() for _ in range(4)]
    client = Browser(Journey(canary(upstreams[:2], upstreams[2:], (1, 1))), upstreams)
    index = client.ask()
    assert index >= 2, "drawn to the new pool"
    later = Browser(Journey(canary(upstreams[:2], upstreams[2:], weights)), upstreams)
    later.cookies = client.cookies
    assert {later.ask() for _ in range(6)} == {index}, "also where that pool gets no new clients"


def test_a_client_of_a_draining_backend_stays_in_a_pool_that_gets_nobody_new() -> None:
    upstreams = [FakeUpstream() for _ in range(2)]
    client = Browser(Journey(canary(upstreams[:1], upstreams[1:], (1, 1))), upstreams)
    assert client.ask() == 1
    later = canary(upstreams[:1], upstreams[1:], (1, 0))
    later.pools["new"].backends[0].admin_state = "drain"
    stayed = Browser(Journey(later), upstreams)
    stayed.cookies = client.cookies
    assert {stayed.ask() for _ in range(3)} == {1}


@pytest.mark.parametrize(("weights", "pool"), [((1, 1), {2, 3}), ((1, 0), {0, 1})])
def test_a_client_whose_backend_is_gone_stays_in_its_pool_if_that_has_a_weight(
    weights: tuple[int, int], pool: set[int]
) -> None:
    upstreams = [FakeUpstream() for _ in range(4)]
    table = canary(upstreams[:2], upstreams[2:], (1, 1))
    client = Browser(Journey(table), upstreams)
    index = client.ask()
    later = canary(upstreams[:2], upstreams[2:], weights)
    backend = later.pools["new"].backends[index - 2]
    backend.admin_state = "maint"
    moved = Browser(Journey(later), upstreams)
    moved.cookies = client.cookies
    assert {moved.ask() for _ in range(6)} <= pool - {index}


def test_a_client_whose_pool_has_nobody_left_is_drawn_anew() -> None:
    upstreams = [FakeUpstream() for _ in range(2)]
    table = canary(upstreams[:1], upstreams[1:], (1, 1))
    client = Browser(Journey(table), upstreams)
    assert client.ask() == 1
    later = canary(upstreams[:1], upstreams[1:], (1, 0))
    later.pools["new"].backends[0].admin_state = "maint"
    moved = Browser(Journey(later), upstreams)
    moved.cookies = client.cookies
    assert {moved.ask() for _ in range(3)} == {0}
