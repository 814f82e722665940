"""From one generation to the next: what lives on, and what a failure leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest

from tests.unit.pool.scripted import ScriptedUpstream, block, name_of, table
from tests.unit.routing.asking import asking
from wsgiproxy.config import schema
from wsgiproxy.errors import ConfigError
from wsgiproxy.routing.build import build_table
from wsgiproxy.upstream.messages import Upstream


def test_generations_count_from_one() -> None:
    first = table(block("a"))
    assert (first.generation, table(block("a"), first).generation) == (1, 2)


def test_backends_that_are_kept_are_the_same_objects_and_new_ones_are_made() -> None:
    old = table(block("a", "b"))
    new = table(block("b", "c"), old)
    (_, b), (kept, made) = old.pools["web"].backends, new.pools["web"].backends
    assert kept is b
    assert kept.upstream is b.upstream
    assert name_of(made.address) == "c"


def test_one_address_in_two_pools_is_two_backends() -> None:
    config = schema.Config(pools={"web": block("a"), "api": block("a")})
    built = build_table(config, None, ScriptedUpstream)
    assert built.pools["web"].backends[0] is not built.pools["api"].backends[0]


def test_two_spellings_of_one_address_are_one_backend() -> None:
    old = table(schema.Pool(backends=(schema.Backend(address="http://LOCALHOST"),)))
    new = table(schema.Pool(backends=(schema.Backend(address="http://localhost:80"),)), old)
    assert new.pools["web"].backends == old.pools["web"].backends


def test_a_kept_backend_takes_on_new_weights_and_its_upstream_the_new_block() -> None:
    old = table(block("a"))
    given = block("a", a=7)
    (a,) = table(given, old).pools["web"].backends
    assert a.weight == 7
    assert cast(ScriptedUpstream, a.upstream).blocks[-1] is given


def fail_on_c(made: list[ScriptedUpstream]) -> Callable[[str], Upstream]:
    """A ``make_upstream`` that keeps what it made and cannot make ``c``."""

    def make(address: str) -> Upstream:
        if name_of(address) == "c":
            raise ConfigError("cannot be imported")
        made.append(ScriptedUpstream(address))
        return made[-1]

    return make


def test_a_failure_changes_nothing_that_lives() -> None:
    old = table(block("a"))
    (a,) = old.pools["web"].backends
    blocks = list(cast(ScriptedUpstream, a.upstream).blocks)
    config = schema.Config(pools={"web": block("a", "b", "c", a=9)})
    with pytest.raises(ConfigError, match="cannot be imported"):
        build_table(config, old, fail_on_c([]))
    assert a.weight == 1
    assert cast(ScriptedUpstream, a.upstream).blocks == blocks
    old.pools["web"].acquire().release()
    assert a.requests == 1


def test_a_route_carries_what_the_block_says() -> None:
    routes = (
        schema.Route(match=(schema.Match(host=("a.example",)),), pool="web", strip_prefix=True, name="shop"),
        schema.Route(redirect=schema.Redirect(path="/new")),
    )
    built = build_table(schema.Config(pools={"web": block("a")}, routes=routes), None, ScriptedUpstream)
    shop, other = (built.match(asking(host), "/") for host in ("a.example", "b.example"))
    assert shop is not None
    assert other is not None
    assert (shop.route.name, shop.route.pool, shop.route.strip_prefix) == ("shop", built.pools["web"], True)
    assert (other.route.name, other.route.pool, other.route.redirect) == ("routes[1]", None, routes[1].redirect)


def test_a_failure_closes_the_upstreams_that_were_made_on_the_way() -> None:
    made: list[ScriptedUpstream] = []
    config = schema.Config(pools={"web": block("a", "b", "c")})
    with pytest.raises(ConfigError):
        build_table(config, None, fail_on_c(made))
    assert [upstream.closed for upstream in made] == [True, True]


SECURE = schema.Config(
    pools={"web": schema.Pool(backends=(schema.Backend(address="https://a"), schema.Backend(address="http://b")))}
)


def test_backends_over_tls_are_made_with_the_settings_of_their_pool() -> None:
    made: list[str] = []

    def make_secure(address: str) -> Upstream:
        made.append(address)
        return ScriptedUpstream(address)

    build_table(SECURE, None, ScriptedUpstream, make_secure={"web": make_secure})
    assert made == ["https://a"]


def test_renewed_settings_give_the_backends_over_tls_new_upstreams_and_leave_all_else() -> None:
    old = build_table(SECURE, None, ScriptedUpstream, make_secure={"web": ScriptedUpstream})
    before = [backend.upstream for backend in old.pools["web"].backends]
    new = build_table(
        SECURE, old, ScriptedUpstream, make_secure={"web": ScriptedUpstream}, renew=frozenset({"web", "gone"})
    )
    assert new.pools["web"].backends == old.pools["web"].backends
    a, b = new.pools["web"].backends
    assert a.upstream is not before[0]
    assert cast(ScriptedUpstream, a.upstream).blocks
    assert b.upstream is before[1]


def test_a_renewed_upstream_knows_its_pools_rules_before_anybody_can_find_it() -> None:
    old = build_table(SECURE, None, ScriptedUpstream, make_secure={"web": ScriptedUpstream})
    (a, _) = old.pools["web"].backends
    found: list[bool] = []

    class Renewed(ScriptedUpstream):
        def configure(self, block: schema.Pool) -> None:
            found.append(a.upstream is self)
            super().configure(block)

    build_table(SECURE, old, ScriptedUpstream, make_secure={"web": Renewed}, renew=frozenset({"web"}))
    assert found[0] is False
    assert isinstance(a.upstream, Renewed)
    assert a.upstream.blocks[0] is SECURE.pools["web"]


def test_a_failure_leaves_the_upstreams_that_were_to_be_renewed() -> None:
    old = build_table(SECURE, None, ScriptedUpstream, make_secure={"web": ScriptedUpstream})
    before = [backend.upstream for backend in old.pools["web"].backends]
    made: list[ScriptedUpstream] = []
    config = schema.Config(pools={"web": SECURE.pools["web"], "api": block("c")})
    with pytest.raises(ConfigError):
        build_table(config, old, fail_on_c(made), make_secure={"web": fail_on_c(made)}, renew=frozenset({"web"}))
    assert [backend.upstream for backend in old.pools["web"].backends] == before
    assert [upstream.closed for upstream in made] == [True]


def test_the_table_knows_whom_to_believe_about_clients() -> None:
    forwarding = schema.Forwarding(trusted_proxies=("10.0.0.0/8",))
    assert build_table(schema.Config(forwarding=forwarding), None, ScriptedUpstream).forwarding is forwarding


CHECKED = schema.Config(
    pools={
        "web": schema.Pool(
            backends=(schema.Backend(address="https://a"), schema.Backend(address="unix:/b")),
            health_check=schema.HealthCheck(port=9000),
        )
    }
)


def test_checks_at_another_port_are_made_over_tls_where_the_backend_is_and_follow_its_settings() -> None:
    old = build_table(CHECKED, None, ScriptedUpstream, make_secure={"web": ScriptedUpstream})
    a, b = old.pools["web"].backends
    first = cast(ScriptedUpstream, a.prober)
    assert (first.address, first.blocks) == ("https://a:9000", [CHECKED.pools["web"]])
    assert b.prober is b.upstream
    build_table(CHECKED, old, ScriptedUpstream, make_secure={"web": ScriptedUpstream}, renew=frozenset({"web"}))
    assert a.prober is not first
    assert a.prober is not a.upstream


def test_a_failure_leaves_who_is_checked_at_another_port() -> None:
    old = build_table(CHECKED, None, ScriptedUpstream, make_secure={"web": ScriptedUpstream})
    (a, _) = old.pools["web"].backends
    before = a.prober
    config = schema.Config(pools={"web": CHECKED.pools["web"], "api": block("c")})
    with pytest.raises(ConfigError):
        build_table(config, old, fail_on_c([]), make_secure={"web": ScriptedUpstream})
    assert a.prober is before


SHARED = schema.Config(
    timeouts=schema.Timeouts(read=9.0),
    pools={
        "a": block("a"),
        "b": schema.Pool(backends=block("b").backends, timeouts=schema.OwnTimeouts(read=5.0)),
    },
    routes=(
        schema.Route(
            pools=(schema.PoolShare(pool="a", weight=9), schema.PoolShare(pool="b")),
            timeouts=schema.OwnTimeouts(write=2.0),
            strip_prefix=True,
        ),
    ),
)


def test_a_route_that_several_pools_share_is_several_routes_with_the_time_outs_of_each_pool() -> None:
    chances = iter([0.0, 0.89, 0.9, 0.99])
    match = build_table(SHARED, None, ScriptedUpstream, chance=lambda: next(chances)).match(asking(), "/")
    assert match is not None
    assert match.route.pool is None
    split = match.route.split
    assert split is not None
    drawn = [split.draw() for _ in range(4)]
    assert [part.pool and part.pool.name for part in drawn] == ["a", "a", "b", "b"]
    assert [part.timeouts.read for part in drawn] == [9.0, 9.0, 5.0, 5.0]
    assert {(part.name, part.strip_prefix, part.timeouts.write) for part in drawn} == {("routes[0]", True, 2.0)}
    assert repr(match.route) == "<Route routes[0] -> a 9, b 1>"


def timeouts_of(file: schema.Timeouts, pool: schema.OwnTimeouts, route: schema.OwnTimeouts) -> schema.Timeouts:
    """The time-outs of a route, by those of the three levels."""
    web = schema.Pool(backends=(schema.Backend(address="http://a"),), timeouts=pool)
    config = schema.Config(timeouts=file, pools={"web": web}, routes=(schema.Route(pool="web", timeouts=route),))
    found = build_table(config, None, ScriptedUpstream).match(asking("/"), "/")
    assert found is not None
    return cast("schema.Timeouts", found.route.timeouts)


def test_the_time_out_that_stands_nearest_to_the_request_counts_key_by_key() -> None:
    file, pool = schema.Timeouts(read=9, write=8), schema.OwnTimeouts(read=2, connect=3)
    merged = timeouts_of(file, pool, schema.OwnTimeouts(read=0.5, tunnel=7))
    assert merged == schema.Timeouts(read=0.5, write=8, connect=3, tunnel=7)


def test_a_bound_for_the_whole_can_be_taken_off_again() -> None:
    file, none, nothing = schema.Timeouts(total=30), schema.OwnTimeouts(total=0), schema.OwnTimeouts()
    assert timeouts_of(file, none, nothing).total == timeouts_of(file, nothing, none).total == 0
    assert timeouts_of(file, none, schema.OwnTimeouts(total=9)).total == 9
