"""How much work each balance gives to whom: tolerances are parts of all picks."""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque
from collections.abc import Iterator

import msgspec
import pytest

from tests.unit.pool.scripted import block, name_of, pool, table
from wsgiproxy.pool.balance import note_latency
from wsgiproxy.pool.pool import Lease, Pool

PICKS = 100_000
WEIGHTS = {"a": 5, "b": 3, "c": 1, "d": 1}
WEIGHING = ["round_robin", "least_conn", "random_two", "hash"]


def seeded(balance: str, **weights: int) -> Pool:
    """A pool with those weights whose clock stands still, and whose chance is the same in each run."""
    web = pool(*weights, balance=balance, **weights)
    web.roster.chance = random.Random(5).random
    web.roster.clock = lambda: 1000.0
    return web


def keys(web: Pool) -> Iterator[int | None]:
    """A key for each request, where the pool goes by one."""
    chance = random.Random(6)
    while True:
        yield chance.getrandbits(63) if web.hash_on else None


def work(web: Pool, under_way: int, picks: int = PICKS) -> dict[str, float]:
    """What part of all picks each backend gets while so many requests are under way that all take as long."""
    taken: Counter[str] = Counter()
    leases: deque[Lease] = deque()
    for _, key in zip(range(picks), keys(web), strict=False):
        if len(leases) == under_way:
            lease = leases.popleft()
            lease.answered(200)
            lease.release()
        leases.append(web.acquire((), key))
        taken[leases[-1].backend.address] += 1
    for lease in leases:
        lease.release()
    return {name_of(address): count / picks for address, count in taken.items()}


@pytest.mark.parametrize("balance", WEIGHING)
@pytest.mark.parametrize("under_way", [1, 300])
def test_weights_are_honoured_within_one_percent_idle_or_busy(balance: str, under_way: int) -> None:
    parts = work(seeded(balance, **WEIGHTS), under_way)
    assert parts == pytest.approx({name: weight / 10 for name, weight in WEIGHTS.items()}, abs=0.01)


def test_least_time_honours_weights_within_one_percent_where_all_answer_as_fast() -> None:
    web = seeded("least_time", **WEIGHTS)
    for backend in web.backends:
        note_latency(backend, 0.01, 1000.0)
    parts = work(web, 300)
    assert parts == pytest.approx({name: weight / 10 for name, weight in WEIGHTS.items()}, abs=0.01)


def test_first_gives_the_first_all_that_it_may_have() -> None:
    assert work(seeded("first", **WEIGHTS), 300, 1000) == {"a": 1.0}


@pytest.mark.parametrize(("balance", "most"), [("random_two", 0.02), ("least_conn", 0.0), ("round_robin", 0.0)])
def test_no_equal_backend_gets_much_more_than_its_part(balance: str, most: float) -> None:
    names = "abcdefghij"
    parts = work(seeded(balance, **dict.fromkeys(names, 1)), 300)
    assert max(parts.values()) - min(parts.values()) <= most + 0.001


def test_two_choices_spread_work_far_better_than_one() -> None:
    """The longest of 100 queues, 1,000 requests under way: 10 each on average (Mitzenmacher 1996)."""
    web = seeded("random_two", **{f"b{number}": 1 for number in range(100)})
    for _ in range(1000):
        web.acquire()
    blindly = Counter(random.Random(7).choices(range(100), k=1000))
    longest = max(backend.in_flight for backend in web.backends)
    assert longest <= 13 < max(blindly.values())


def test_random_two_never_draws_the_same_one_twice() -> None:
    web = seeded("random_two", a=256, b=1)
    a, b = web.backends
    a.in_flight = 1000
    assert {web.acquire().backend for _ in range(3)} == {b}


@pytest.mark.parametrize("chance", [0.0, 0.999999999999])
def test_random_two_takes_chance_at_its_ends(chance: float) -> None:
    web = seeded("random_two", a=1, b=1, c=1)
    web.roster.chance = lambda: chance
    for _ in range(10):
        web.acquire()
    assert sum(backend.in_flight for backend in web.backends) == 10


@pytest.mark.parametrize("balance", WEIGHING)
def test_attempts_after_a_failure_are_shared_by_weight_too(balance: str) -> None:
    web = seeded(balance, **WEIGHTS)
    heaviest = web.backends[0]
    taken: Counter[str] = Counter()
    leases: deque[Lease] = deque()
    for _, key in zip(range(PICKS // 2), keys(web), strict=False):
        lease = web.acquire((), key)
        if lease.backend is heaviest:
            lease.release()
            lease = web.acquire((heaviest,), key)
        taken[name_of(lease.backend.address)] += 1
        leases.append(lease)
        if len(leases) == 300:
            leases.popleft().release()
    parts = {name: count / taken.total() for name, count in taken.items()}
    assert parts == pytest.approx({"b": 0.6, "c": 0.2, "d": 0.2}, abs=0.01)


@pytest.mark.parametrize("balance", WEIGHING)
def test_what_is_more_than_one_may_have_is_shared_by_the_weights_of_the_others(balance: str) -> None:
    given = block(*WEIGHTS, balance=balance, **WEIGHTS)
    limited = (msgspec.structs.replace(given.backends[0], max_in_flight=60), *given.backends[1:])
    web = table(msgspec.structs.replace(given, backends=limited)).pools["web"]
    web.roster.chance = random.Random(5).random
    parts = work(web, 300, PICKS // 2)
    assert parts == pytest.approx({"a": 0.2, "b": 0.48, "c": 0.16, "d": 0.16}, abs=0.01)


# --- backends that are not as fast as others --------------------------------------------------------------------------


class Race:
    """``clients`` clients who ask a pool one request after another, in a time of their own.

    Each backend works on ``slots`` requests at once; the others wait there for their turn.
    """

    def __init__(self, clients: int, balance: str = "least_time", slots: int = 1000, **seconds: float) -> None:
        self.web = seeded(balance, **dict.fromkeys(seconds, 1))
        self.seconds = seconds
        self.now = 1000.0
        self.web.roster.clock = lambda: self.now
        self.chance = random.Random(3)
        self.under_way: list[tuple[float, int, float, Lease]] = []  # ends at, number, began at
        self.free_at = {name: [0.0] * slots for name in seconds}  # each slot of each backend
        self.took: list[float] = []  # seconds of each request that is over
        self.number = 0
        self.clients = clients

    def run(self, requests: int) -> Counter[str]:
        """Who answers so many requests."""
        taken: Counter[str] = Counter()
        for _ in range(requests):
            if len(self.under_way) == self.clients:
                self.now, _, began_at, lease = heapq.heappop(self.under_way)
                self.took.append(self.now - began_at)
                lease.answered(200)
                lease.release()
            key = self.chance.getrandbits(63) if self.web.hash_on else None
            lease = self.web.acquire((), key)
            name = name_of(lease.backend.address)
            taken[name] += 1
            slots = self.free_at[name]
            over_at = max(self.now, slots[0]) + self.seconds[name] * self.chance.uniform(0.8, 1.2)
            heapq.heapreplace(slots, over_at)
            self.number += 1
            heapq.heappush(self.under_way, (over_at, self.number, self.now, lease))
        return taken

    def p99(self) -> float:
        """Of the seconds that requests took."""
        return sorted(self.took)[len(self.took) * 99 // 100]


@pytest.mark.parametrize(
    ("balance", "part", "p99"),
    [
        ("round_robin", 0.2, 0.85),
        ("least_conn", 0.024, 0.2),
        ("random_two", 0.024, 0.22),
        ("least_time", 0.006, 0.03),
        ("hash", 0.024, 0.22),
    ],
)
def test_how_much_one_of_five_that_is_ten_times_slower_gets_and_delays(balance: str, part: float, p99: float) -> None:
    """32 clients, four requests at once at each backend: 40 a second at the slow one, 400 at each of the others.

    A balance that looks at the load lets it have what it can do, 40 of 1640; ``least_time`` less. ``p99`` is at most.
    """
    race = Race(32, balance, 4, slow=0.1, b=0.01, c=0.01, d=0.01, e=0.01)
    race.run(1000)
    race.took.clear()
    taken = race.run(20_000)
    assert taken["slow"] / 20_000 == pytest.approx(part, abs=0.004)
    assert race.p99() <= p99
    others = [taken[name] / 20_000 for name in "bcde"]
    assert max(others) - min(others) < 0.02


# --- least_time -------------------------------------------------------------------------------------------------------


def test_least_time_gives_a_slow_backend_least_and_asks_it_again_now_and_then() -> None:
    race = Race(16, slow=1.0, b=0.1, c=0.1)
    taken = race.run(20_000)
    assert 0 < taken["slow"] / taken["b"] < 0.12
    assert 0.9 < taken["b"] / taken["c"] < 1.1


def test_least_time_shifts_work_when_a_backend_slows_down_and_back_when_it_recovers() -> None:
    race = Race(16, a=0.1, b=0.1)
    assert race.run(4000)["a"] == pytest.approx(2000, rel=0.1)
    race.seconds["a"] = 1.0
    race.run(100)
    assert race.run(4000)["a"] < 600
    race.seconds["a"] = 0.1
    race.run(4000)
    assert race.run(4000)["a"] == pytest.approx(2000, rel=0.1)


def test_a_backend_that_was_never_asked_gets_one_request_until_it_has_answered() -> None:
    race = Race(8, a=0.1, b=0.1)
    race.run(500)
    a, b = race.web.backends
    a.latency = 0.0
    a.in_flight = 0
    first, second = race.web.acquire(), race.web.acquire()
    assert (first.backend, second.backend) == (a, b)


def test_to_fail_fast_is_not_to_be_fast() -> None:
    race = Race(1, a=0.1, b=0.1)
    race.run(20)
    a, b = race.web.backends
    for backend, status in ((a, 500), (b, 0)):
        lease = race.web.acquire([other for other in race.web.backends if other is not backend])
        race.now += 0.001
        if status:
            lease.answered(status)
        lease.release(failed=not status)
        assert backend.latency == 1.0


def test_an_answer_whose_clock_was_stopped_tells_nothing() -> None:
    race = Race(1, a=0.1)
    lease = race.web.acquire()
    race.now += 60
    lease.stop_clock()
    lease.answered(200)
    lease.release(failed=True)
    assert race.web.backends[0].latency == 0


def test_other_balances_look_at_no_clock() -> None:
    web = pool("a")
    web.acquire().release()
    web.roster.clock = None  # type: ignore[assignment]
    lease = web.acquire()
    lease.answered(200)
    lease.release()
    assert web.backends[0].latency == 0
