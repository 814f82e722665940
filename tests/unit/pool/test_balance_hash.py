"""The consistent hash: what stays, what moves, and what a hot key does."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest

from tests.unit.pool.scripted import CHECK, block, name_of, pool, table
from wsgiproxy.pool.backend import Backend
from wsgiproxy.pool.hashing import digest
from wsgiproxy.pool.pool import Pool

KEYS = [digest(f"192.0.2.{number % 256}:{number}") for number in range(20_000)]


def owners(web: Pool) -> list[str]:
    """Who gets each of the keys, none of them while another is under way."""
    names = []
    for key in KEYS:
        lease = web.acquire((), key)
        lease.release()
        names.append(name_of(lease.backend.address))
    return names


def moved(before: list[str], after: list[str]) -> list[tuple[str, str]]:
    return [(one, other) for one, other in zip(before, after, strict=True) if one != other]


def test_the_same_key_gets_the_same_backend_in_every_process_and_in_any_order_of_the_file() -> None:
    assert digest("client 7") == 3682817098288798405
    assert owners(pool(*"abcde", balance="hash")) == owners(pool(*"edcba", balance="hash"))


@pytest.mark.parametrize("count", [2, 5, 20])
def test_only_the_keys_of_the_one_that_leaves_move_and_they_come_back_with_it(count: int) -> None:
    names = "abcdefghijklmnopqrst"[:count]
    web = pool(*names, balance="hash", check=CHECK)
    for backend in web.backends:
        backend.record_check("", 1, 1)
    before = owners(web)
    web.backends[0].record_check("down", 1, 1)
    away = moved(before, owners(web))
    assert {one for one, _ in away} == {"a"}
    assert len(away) / len(KEYS) == pytest.approx(1 / count, abs=0.01)
    assert len({other for _, other in away}) == count - 1, "they are spread over all that are left"
    web.backends[0].record_check("", 1, 1)
    assert owners(web) == before


def test_with_weights_too_only_the_keys_of_the_one_that_leaves_move_to_the_others_by_weight() -> None:
    weights = {"a": 5, "b": 3, "c": 1, "d": 1}
    before, after = (
        owners(pool(*names, balance="hash", **{name: weights[name] for name in names})) for names in ("abcd", "bcd")
    )
    away = moved(before, after)
    assert {one for one, _ in away} == {"a"}
    assert len(away) / len(KEYS) == pytest.approx(5 / 10, abs=0.01)
    to = Counter(other for _, other in away)
    assert {name: to[name] / len(away) for name in "bcd"} == pytest.approx({"b": 0.6, "c": 0.2, "d": 0.2}, abs=0.02)


def test_one_that_is_added_takes_its_part_and_nothing_else_moves() -> None:
    old = table(block(*"abcd", balance="hash"))
    before = owners(old.pools["web"])
    after = owners(table(block(*"abcde", balance="hash"), old).pools["web"])
    away = moved(before, after)
    assert {other for _, other in away} == {"e"}
    assert len(away) / len(KEYS) == pytest.approx(1 / 5, abs=0.01)


def test_a_weight_that_grows_draws_keys_to_its_backend_alone() -> None:
    old = table(block(*"abc", balance="hash"))
    before = owners(old.pools["web"])
    after = owners(table(block(*"abc", balance="hash", a=2), old).pools["web"])
    assert {other for _, other in moved(before, after)} == {"a"}
    assert Counter(after)["a"] / len(KEYS) == pytest.approx(1 / 2, abs=0.01)


def bound(web: Pool, backend: Backend) -> int:
    """The most that this one may have: 1.25 of its part of what is under way, rounded up."""
    total = sum(other.weight for other in web.backends)
    return math.ceil(1.25 * sum(other.in_flight for other in web.backends) * backend.weight / total)


def test_no_backend_gets_a_key_beyond_a_quarter_more_than_its_part() -> None:
    """Nine of ten requests have one key; requests end in any order."""
    web = pool(*"abcde", balance="hash", a=3)
    chance = random.Random(1)
    leases = []
    highest = 0.0
    for number in range(20_000):
        key = KEYS[0] if chance.random() < 0.9 else chance.choice(KEYS)
        leases.append(web.acquire((), key))
        backend = leases[-1].backend
        assert backend.in_flight <= bound(web, backend)
        if number > 1000:
            highest = max(highest, backend.in_flight / (len(leases) * backend.weight / 7))
        if len(leases) > 200:
            leases.pop(chance.randrange(len(leases))).release()
    assert 1.2 < highest < 1.3


def test_a_hot_key_goes_to_its_own_backend_first_and_then_always_to_the_same_next_one() -> None:
    web = pool(*"abcd", balance="hash")
    first, *_ = [web.acquire((), KEYS[0]).backend for _ in range(8)]
    order = sorted(web.backends, key=lambda backend: -backend.in_flight)
    assert order[0] is first
    again = pool(*"abcd", balance="hash")
    for _ in range(8):
        again.acquire((), KEYS[0])
    assert [backend.in_flight for backend in again.backends] == [backend.in_flight for backend in web.backends]


def test_a_retry_goes_to_the_one_that_would_get_the_key_without_the_first() -> None:
    web, without = pool(*"abcd", balance="hash"), pool(*"bcd", balance="hash")
    (a, *_) = web.backends
    for key in KEYS[:200]:
        lease, other = web.acquire((a,), key), without.acquire((), key)
        assert lease.backend.address == other.backend.address
        lease.release()
        other.release()


def test_requests_without_a_key_take_turns() -> None:
    web = pool(*"abc", balance="hash")
    assert "".join(name_of(web.acquire().backend.address) for _ in range(6)) == "abcabc"
