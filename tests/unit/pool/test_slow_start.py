"""A backend that comes, or comes back, gets its share little by little."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from tests.unit.pool.scripted import CHECK, address, name_of, table
from wsgiproxy.config import schema
from wsgiproxy.pool.pool import Pool
from wsgiproxy.pool.slow_start import ramped
from wsgiproxy.routing.table import RoutingTable

BALANCES = ["round_robin", "least_conn", "random_two", "hash"]


@pytest.mark.parametrize(
    ("aggression", "parts"), [(1.0, [0.1, 0.1, 0.5, 0.9, 1.0]), (2.0, [0.1, 0.32, 0.71, 0.95, 1.0])]
)
def test_the_curve_begins_at_the_floor_and_ends_at_one(aggression: float, parts: list[float]) -> None:
    block = schema.SlowStart(duration=10.0, aggression=aggression)
    found = [ramped(block, seconds) for seconds in (0.0, 1.0, 5.0, 9.0, 10.0)]
    assert found == pytest.approx(parts, abs=0.01)


def given(names: str, balance: str, check: schema.HealthCheck | None = None, **block: object) -> schema.Pool:
    backends = tuple(schema.Backend(address=address(name)) for name in names)
    slow = schema.SlowStart(duration=30.0)
    keys: dict[str, Any] = {"backends": backends, "slow_start": slow, "balance": balance, **block}
    if balance == "hash":
        keys["hash_on"] = "client"
    return schema.Pool(health_check=check, **keys)


class Scene:
    """Generations of one pool, with a clock of their own."""

    def __init__(self, block: schema.Pool) -> None:
        self.now = 1000.0
        self.table: RoutingTable = table(block)
        self.pool.roster.clock = lambda: self.now

    @property
    def pool(self) -> Pool:
        return self.table.pools["web"]

    def share(self, name: str) -> float:
        """The part of 3,000 requests, one after the other, that it gets now."""
        taken: Counter[str] = Counter()
        chance = random.Random(1)
        for _ in range(3000):
            lease = self.pool.acquire((), chance.getrandbits(63) if self.pool.hash_on else None)
            taken[name_of(lease.backend.address)] += 1
            lease.release()
        return taken[name] / 3000


@pytest.mark.parametrize("balance", BALANCES)
def test_a_backend_that_is_added_gets_little_at_first(balance: str) -> None:
    scene = Scene(given("ab", balance))
    assert scene.share("b") == pytest.approx(1 / 2, abs=0.03)
    scene.table = table(given("abc", balance), scene.table)
    found = []
    for _ in range(4):
        found.append(scene.share("c"))
        scene.now += 15
    assert found == pytest.approx([0.1 / 2.1, 0.5 / 2.5, 1 / 3, 1 / 3], abs=0.03)
    assert not scene.pool.roster.ramping


@pytest.mark.parametrize("balance", BALANCES)
def test_a_backend_that_recovers_begins_anew_but_not_at_the_start(balance: str) -> None:
    scene = Scene(given("ab", balance, CHECK))
    a, b = scene.pool.backends
    for backend in (a, b):
        backend.record_check("", 1, 1)
    assert scene.share("b") == pytest.approx(1 / 2, abs=0.03)
    b.record_check("down", 1, 1)
    assert scene.share("b") == 0
    b.record_check("", 1, 1)
    assert scene.share("b") == pytest.approx(0.1 / 1.1, abs=0.03)
    scene.now += 31
    assert scene.share("b") == pytest.approx(1 / 2, abs=0.03)


def test_a_backend_whose_ejection_ends_begins_slowly() -> None:
    scene = Scene(given("ab", "round_robin"))
    _, b = scene.pool.backends
    for _ in range(5):
        scene.pool.acquire((b,)).release(failed=True)
    assert scene.share("a") == 0
    scene.now += 10
    assert scene.share("a") == pytest.approx(0.1 / 1.1, abs=0.01)
    scene.now += 30
    assert scene.share("a") == pytest.approx(1 / 2, abs=0.01)


@pytest.mark.parametrize("state", ["drain", "maint"])
def test_a_backend_that_was_taken_out_by_hand_begins_slowly(state: Any) -> None:
    scene = Scene(given("ab", "round_robin"))
    out = schema.Backend(address=address("a"), admin_state=state)
    scene.table = table(given("ab", "round_robin", backends=(out, schema.Backend(address=address("b")))), scene.table)
    assert scene.share("a") == 0
    scene.now += 60
    scene.table = table(given("ab", "round_robin"), scene.table)
    assert scene.share("a") == pytest.approx(0.1 / 1.1, abs=0.01)


def test_a_request_of_before_a_reload_leaves_the_slow_starts_after_it_alone() -> None:
    scene = Scene(given("ab", "round_robin", slow_start=None))
    before = scene.pool
    scene.table = table(given("abc", "round_robin"), scene.table)
    before.acquire().release()
    assert scene.share("c") == pytest.approx(0.1 / 2.1, abs=0.01)
    scene.now += 15
    before.acquire().release()
    assert scene.share("c") == pytest.approx(0.5 / 2.5, abs=0.01)
    scene.now += 15
    before.acquire().release()
    assert scene.share("c") == pytest.approx(1 / 3, abs=0.01)


def test_a_reload_does_not_begin_a_slow_start_anew_nor_end_it() -> None:
    scene = Scene(given("ab", "round_robin"))
    scene.table = table(given("abc", "round_robin"), scene.table)
    scene.now += 15
    scene.table = table(given("abc", "round_robin", max_queue=2), scene.table)
    assert scene.share("c") == pytest.approx(0.5 / 2.5, abs=0.03)


def test_without_slow_start_everybody_has_his_share_at_once() -> None:
    scene = Scene(given("ab", "round_robin", slow_start=None))
    scene.table = table(given("abc", "round_robin", slow_start=None), scene.table)
    assert scene.share("c") == pytest.approx(1 / 3, abs=0.01)
    assert not scene.pool.roster.ramping
