"""The pick functions alone, and what they do to a slow backend."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.unit.pool.scripted import name_of, pool, weighted_pool
from wsgiproxy.pool.balance import LeastTime, RandomTwo, least_conn, note_latency, round_robin


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


@pytest.mark.parametrize("weights", [{"a": 1, "b": 1, "c": 1, "d": 1}, {"a": 5, "b": 2, "c": 2, "d": 1}])
def test_random_two_honours_weights_among_idle_backends(weights: dict[str, int]) -> None:
    backends = weighted_pool(weights).backends
    pick = RandomTwo(random.Random(7).random)
    taken = Counter(name_of(pick(backends).address) for _ in range(100_000))
    for name, weight in weights.items():
        assert taken[name] / 100_000 == pytest.approx(weight / sum(weights.values()), abs=0.01)


def test_random_two_spares_the_busy_and_takes_up_changed_candidates() -> None:
    backends = pool("a", "b", "c").backends
    backends[0].in_flight = 3
    pick = RandomTwo(random.Random(7).random)
    taken = Counter(name_of(pick(backends).address) for _ in range(9000))
    assert taken["a"] == 0
    assert taken["b"] == pytest.approx(4500, abs=200)
    assert {pick(backends[:1]) for _ in range(9)} == {backends[0]}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_least_time_prefers_who_answers_soon_and_has_little_to_do() -> None:
    clock = Clock()
    a, b = backends = pool("a", "b").backends
    note_latency(a, 0.010, clock.now)
    note_latency(b, 0.025, clock.now)
    pick = LeastTime(clock)
    assert pick(backends) is a
    a.in_flight = 1
    assert pick(backends) is a
    a.in_flight = 2
    assert pick(backends) is b


def test_least_time_follows_a_rise_at_once_and_a_fall_slowly() -> None:
    (a,) = pool("a").backends
    note_latency(a, 0.010, 1000.0)
    note_latency(a, 0.500, 1000.1)
    assert a.latency == 0.5
    note_latency(a, 0.010, 1001.1)
    assert 0.4 < a.latency < 0.5
    for second in range(2, 60):
        note_latency(a, 0.010, 1000.1 + second)
    assert a.latency == pytest.approx(0.010, rel=0.2)


def test_least_time_tries_unknown_backends_one_request_at_a_time_and_slow_ones_again() -> None:
    clock = Clock()
    a, b, c = backends = pool("a", "b", "c").backends
    note_latency(a, 0.010, clock.now)
    pick = LeastTime(clock)
    for expected in (b, c, a, a):
        assert pick(backends) is expected
        expected.in_flight += 1
    note_latency(b, 5.0, clock.now)
    note_latency(c, 5.0, clock.now)
    for backend in backends:
        backend.in_flight = 0
    assert pick(backends) is a
    for _ in range(120):
        clock.now += 1
        note_latency(a, 0.010, clock.now)
    assert pick(backends) in (b, c)


def test_least_time_weighs() -> None:
    clock = Clock()
    backends = pool("heavy", "light", heavy=4).backends
    for backend in backends:
        note_latency(backend, 0.010, clock.now)
    pick = LeastTime(clock)
    for _ in range(100):
        pick(backends).in_flight += 1
    assert backends[0].in_flight == pytest.approx(80, abs=1)


def test_a_pool_that_balances_by_time_learns_from_its_answers() -> None:
    web = pool("a", "b", balance="least_time")
    clock = Clock()
    web.roster.clock = clock
    for _ in range(2):
        lease = web.acquire()
        clock.now += 0.5 if name_of(lease.backend.address) == "a" else 0.1
        lease.answered(200)
        lease.release()
    assert [round(backend.latency, 3) for backend in web.backends] == [0.5, 0.1]
