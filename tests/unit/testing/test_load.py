"""Loads: how many come, and what they ask for."""

from __future__ import annotations

import random

import pytest

from tests.unit.testing.scenes import names
from wsgiproxy.testing import Answers, Asked, Load, Simulation


def test_a_load_has_a_rate_or_clients() -> None:
    with pytest.raises(ValueError, match="either a rate or clients"):
        Load()
    with pytest.raises(ValueError, match="either a rate or clients"):
        Load(rate=1, clients=1)


def test_requests_come_by_chance_at_the_rate_and_in_the_time_that_were_asked_for() -> None:
    simulation = Simulation(f"backends: {names(2)}")
    simulation.offer(Load(rate=100, begin=10, end=60), Load(rate=50, begin=50))
    report = simulation.run(100)
    assert report.requests_between(0, 10) == 0
    assert report.requests_between(10, 50) == pytest.approx(4000, rel=0.05)
    assert report.requests_between(50, 60) == pytest.approx(1500, rel=0.1)
    assert report.requests_between(60, 100) == pytest.approx(2000, rel=0.08)
    assert report.requests == report.requests_between(0, 100)


def test_clients_wait_for_their_answers() -> None:
    simulation = Simulation(f"backends: {names(1)}", usual=Answers(median=0.1, spread=0))
    simulation.offer(Load(clients=3))
    report = simulation.run(10)
    assert (report.requests, report.backends["http://b0:80"].most_in_flight) == (300, 3)


def test_clients_think() -> None:
    simulation = Simulation(f"backends: {names(1)}", usual=Answers(median=0.1, spread=0))
    simulation.offer(Load(clients=20, think=0.9))
    assert simulation.run(100).requests == pytest.approx(2000, rel=0.1)


def test_clients_are_no_endless_loop_where_the_answer_comes_at_once() -> None:
    simulation = Simulation("backends: [{address: 'http://a:80', admin_state: maint}]")
    simulation.offer(Load(clients=1))
    assert simulation.run(1).statuses == {503: pytest.approx(1000, abs=2)}


def test_a_client_without_patience_hangs_up_and_nobody_is_to_blame() -> None:
    simulation = Simulation(f"backends: {names(1)}\ntimeouts: {{read: 30s}}")
    simulation.script("http://b0:80", (0, Answers(median=2.0, spread=1.0, body=1.0)))
    simulation.offer(Load(rate=20, patience=2.5))
    report = simulation.run(50)
    assert set(report.reasons) == {"client_disconnected", "done"}
    assert (report.failed_idempotent, report.still_in_flight) == (0, 0)
    assert max(report.latencies) == pytest.approx(2.5)
    assert simulation.pool.backends[0].failures == 0


def test_the_same_seed_offers_the_same_requests_to_any_pool() -> None:
    seen = []
    for text in (f"backends: {names(2)}", f"backends: {names(3)}\nbalance: random_two"):
        started: list[tuple[float, str]] = []
        simulation = Simulation(
            text, seed=5, log=lambda exchange, to=started: to.append((exchange.started_at, exchange.address))
        )
        simulation.offer(Load(rate=50))
        simulation.run(10)
        seen.append(sorted(started))
    assert seen[0] == seen[1]


def test_requests_may_be_of_any_kind() -> None:
    class Keyed(Load):
        def draw(self, chance: random.Random) -> Asked:
            return Asked("POST", "/pay?to=a", "192.0.2.1", {"Idempotency-Key": "7", "X-User": "u"})

    simulation = Simulation(f"backends: {names(3)}\nbalance: hash\nhash_on: header:X-User")
    simulation.offer(Keyed(clients=1))
    report = simulation.run(5)
    assert sorted(backend.attempts for backend in report.backends.values())[:2] == [0, 0]
    assert report.statuses == {200: report.requests}
