"""Many mistakes in one file: all are told at once, each once, in good time."""

from __future__ import annotations

import pytest

from wsgiproxy.config.loader import loads
from wsgiproxy.errors import InvalidConfigError

WEB = "pools: {web: {backends: ['http://h']}}\n"


def refusal(text: str) -> str:
    with pytest.raises(InvalidConfigError) as refused:
        loads(text, "f.yaml")
    return str(refused.value)


def test_every_mistake_is_reported_at_once_in_file_order() -> None:
    text = """\
routes:
  - {pool: nowhere}
  - {match: {host: "a:1"}, pool: web, prty: 1}
pools:
  web:
    backends: [{adress: "http://h"}, ftp://x]
    timeouts: {connect: soon}
daemon: {workers: 2}
"""
    assert refusal(text).splitlines() == [
        'f.yaml:2:12: routes[0].pool: unknown pool "nowhere"; the pools are web',
        'f.yaml:3:20: routes[1].match.host: must not have a port, got "a:1"',
        'f.yaml:3:39: routes[1]: unknown key "prty"; the keys here are '
        "name, match, pool, pools, respond, redirect, strip_prefix, upgrades, body_bytes, timeouts, trailers",
        'f.yaml:6:17: pools.web.backends[0]: unknown key "adress", did you mean "address"?',
        'f.yaml:6:38: pools.web.backends[1]: "ftp://x" has an unknown scheme (ftp://); '
        "expected http://host:port, https://host:port, unix:/path or app:module:callable",
        "f.yaml:7:25: pools.web.timeouts.connect: expected a duration such as 5s, 250ms, 1m30s, 2h "
        'or a plain number of seconds, got "soon"',
        'f.yaml:8:19: daemon.workers: only 1 worker is supported so far, got "2"',
    ]


def test_a_misspelt_key_is_not_missing_as_well() -> None:
    assert refusal(WEB + "routes: [{pol: web}]") == 'f.yaml:2:11: routes[0]: unknown key "pol", did you mean "pool"?'


def test_a_broken_pool_is_still_a_pool_that_routes_may_name() -> None:
    assert len(refusal("pools: {web: {backends: 5}}\nroutes: [{pool: web}]").splitlines()) == 1
    assert len(refusal("pools: 5\nroutes: [{pool: web}]").splitlines()) == 1


def test_a_mistake_in_a_shared_block_is_reported_once_where_it_stands() -> None:
    text = (
        "pools:\n  a: {backends: ['http://a'], timeouts: &t {read: x}}\n  b: {backends: ['http://b'], timeouts: *t}\n"
    )
    assert refusal(text).startswith("f.yaml:2:51: pools.a.timeouts.read: expected a duration")
    assert len(refusal(text).splitlines()) == 1


def test_thousands_of_mistakes_are_reported_in_good_time() -> None:
    pools = "".join(f"  pool{number}: {{backends: ['http://h']}}\n" for number in range(1000))
    routes = "".join(f"  - {{pool: pol{number}}}\n" for number in range(3000))
    lines = refusal(f"pools:\n{pools}routes:\n{routes}").splitlines()
    assert len(lines) == 3000
    assert lines[0] == 'f.yaml:1003:12: routes[0].pool: unknown pool "pol0", did you mean "pool0"?'
    assert lines[-1] == 'f.yaml:4002:12: routes[2999].pool: unknown pool "pol2999"'
