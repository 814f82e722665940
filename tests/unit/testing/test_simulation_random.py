"""Whatever a pool's policy and its backends' troubles: each request ends, nothing is left in flight or in the queue.

Policies, scripts, loads and reloads are drawn by a seed, so a failure can be looked at again.
"""

from __future__ import annotations

import random

import pytest

from tests.unit.testing.scenes import FAULTS, address
from wsgiproxy.proxy.exchange import Exchange
from wsgiproxy.testing import Answers, Flaps, Hangs, Load, Simulation


def drawn_pool(chance: random.Random, size: int) -> str:
    """The YAML of any policy."""

    def one_of(*texts: str) -> str:
        return chance.choice(texts)

    backends = []
    for number in range(max(1, size + chance.choice([0, 0, 1, -1]))):
        weight, most = chance.randint(0 if number else 1, 3), one_of("", f", max_in_flight: {chance.randint(1, 6)}")
        rank = one_of("", "", ", backup: true", ", priority: 1", ", admin_state: drain") if number else ""
        backends.append(f"{{address: '{address(number)}', weight: {weight}{most}{rank}}}")
    lines = [
        f"backends: [{', '.join(backends)}]",
        one_of("", "balance: least_conn", "balance: random_two", "balance: least_time", "balance: hash\nhash_on: path"),
        one_of("", "health_check: {interval: 500ms, timeout: 300ms}", "health_check: {unhealthy_threshold: 1}"),
        one_of("outliers: null", "", "outliers: {consecutive_5xx: 2, base_ejection_time: 1s}"),
        one_of(
            "timeouts: {connect: 200ms, read: 500ms, queue: 300ms}", "timeouts: {read: 1s, total: 2500ms, queue: 2s}"
        ),
        one_of("retries: {hedge_after: 50ms", "retries: {per_attempt_timeout: 400ms", "retries: {statuses: ['500-504']")
        + f", attempts: {chance.randint(1, 4)}}}",
        f"max_queue: {chance.choice([0, 3, 1024])}",
        f"panic_threshold: {chance.choice([0, 50, 100])}",
        one_of("", "slow_start: 2s"),
    ]
    return "\n".join(lines)


@pytest.mark.parametrize("seed", range(16))
def test_each_request_ends_and_nothing_is_left(seed: int) -> None:
    chance = random.Random(seed)
    size = chance.choice([1, 2, 3, 5])
    ended: list[Exchange] = []
    simulation = Simulation(
        drawn_pool(chance, size), seed=seed, usual=Answers(workers=chance.choice([None, 4])), log=ended.append
    )
    faults = [*FAULTS.values(), Flaps(down=Hangs(), period=0.7)]
    for number in range(size):
        begin = chance.uniform(0, 3)
        simulation.script(address(number), (begin, chance.choice(faults)), (begin + chance.uniform(0.1, 3), Answers()))
    for _ in range(chance.choice([0, 1, 2])):
        simulation.reload(chance.uniform(0, 5), drawn_pool(chance, size))
    simulation.offer(Load(rate=chance.choice([20, 150]), posts=0.2, patience=chance.choice([None, 0.4])))
    simulation.offer(Load(clients=chance.choice([1, 10]), think=0.1))
    report = simulation.run(6)
    assert report.still_in_flight == 0
    assert not simulation.pool.roster.waiting
    assert len(ended) == sum(report.statuses.values()) == report.requests
    assert not {"internal_error", "hedge_lost"} & report.reasons.keys()
    assert report.attempts >= report.retries + report.hedges
