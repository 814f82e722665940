"""Mistakes in what stands beside plain routes and pools, in their own words and place."""

from __future__ import annotations

import pytest

from wsgiproxy.config.loader import loads
from wsgiproxy.errors import InvalidConfigError

WEB = "pools: {web: {backends: ['http://h']}}\n"


def refusal(text: str) -> str:
    with pytest.raises(InvalidConfigError) as refused:
        loads(text, "f.yaml")
    return str(refused.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            WEB + "routes: [{pool: web, pools: [{pool: web}]}]",
            "2:10: routes[0]: exactly one of pool, pools, respond, redirect is needed; pool and pools are given",
        ),
        (
            WEB + "routes: [{pools: [{pool: wbe}]}]",
            '2:26: routes[0].pools[0].pool: unknown pool "wbe", did you mean "web"?',
        ),
        (
            WEB + "routes: [{pools: [{pool: web, weight: 0}]}]",
            "2:18: routes[0].pools: needs a weight of more than 0 somewhere: nobody would get the requests otherwise",
        ),
        (
            WEB + "routes: [{pools: [{pool: web, weight: -1}]}]",
            '2:39: routes[0].pools[0].weight: must be at least 0, got "-1"',
        ),
        (
            WEB + "routes: [{pools: [{pool: web}, {pool: web}]}]",
            '2:32: routes[0].pools[1]: duplicate pool "web", first on line 2',
        ),
        (WEB + "routes: [{pools: []}]", "2:18: routes[0].pools: needs at least 1, got an empty list"),
    ],
)
def test_a_mistake_in_what_several_pools_share_has_its_place_and_its_remedy(text: str, problem: str) -> None:
    assert refusal(text) == f"f.yaml:{problem}"
