"""The pick functions alone, and what they do to a slow backend."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.unit.pool.scripted import name_of, pool, weighted_pool
from wsgiproxy.pool.balance import least_conn, round_robin


@pytest.mark.parametrize(
    ("weights", "sequence"),
    [
        ({"a": 5, "b": 1, "c": 1}, "aabacaa" * 2),
        ({"a": 1, "b": 1, "c": 1}, "abcabc"),
        ({"a": 2, "b": 1}, "abaaba"),
        ({"a": 1}, "aaa"),
    ],
)
def test_round_robin_is_smooth_by_weight(weights: dict[str, int], sequence: str) -> None:
    backends = weighted_pool(weights).backends
    assert "".join(name_of(round_robin(backends).address) for _ in sequence) == sequence


def test_least_conn_takes_the_fewest_in_flight_per_weight() -> None:
    a, b = backends = pool("a", "b", a=3).backends
    a.in_flight, b.in_flight = 4, 2
    assert least_conn(backends) is a
    a.in_flight, b.in_flight = 7, 2
    assert least_conn(backends) is b


def test_least_conn_shares_among_idle_backends_by_weight() -> None:
    backends = pool("a", "b", "c", a=5).backends
    assert "".join(name_of(least_conn(backends).address) for _ in range(7)) == "aabacaa"


def test_least_conn_sends_a_slow_backend_proportionally_less() -> None:
    """Eight clients ask one after another; ``slow`` takes ten times as long as each of the two others."""
    web = pool("slow", "b", "c", balance="least_conn")
    seconds = {"slow": 10.0, "b": 1.0, "c": 1.0}
    chance = random.Random(1)
    taken: Counter[str] = Counter()
    under_way = [(0.0, web.acquire()) for _ in range(8)]
    for _ in range(6000):
        under_way.sort(key=lambda entry: entry[0])
        now, lease = under_way.pop(0)
        lease.release()
        lease = web.acquire()
        name = name_of(lease.backend.address)
        taken[name] += 1
        under_way.append((now + seconds[name] * chance.uniform(0.5, 1.5), lease))
    assert 0.07 < taken["slow"] / taken["b"] < 0.15
    assert 0.9 < taken["b"] / taken["c"] < 1.1
