"""Retries never become more than their share of the requests."""

from __future__ import annotations

import random

import pytest

from tests.unit.pool.scripted import pool
from wsgiproxy.config import schema
from wsgiproxy.pool.backend import Roster
from wsgiproxy.pool.budget import WINDOW, RetryBudget

TENTH = schema.RetryBudget(percent=10, per_second=0)


def taken(budget: RetryBudget, block: schema.RetryBudget, total: int, now: float, wanted: int) -> int:
    return sum(budget.take(block, total, now) for _ in range(wanted))


def test_a_pool_with_few_requests_may_retry_so_many_a_second() -> None:
    budget, block = RetryBudget(), schema.RetryBudget(percent=20, per_second=0.5)
    assert taken(budget, block, 1, 100.0, 50) == 5
    assert taken(budget, block, 2, 105.0, 50) == 0
    assert taken(budget, block, 3, 100.0 + WINDOW, 50) == 5


def test_a_busy_pool_may_retry_its_share() -> None:
    budget = RetryBudget()
    assert not budget.take(TENTH, 0, 99.0)
    assert taken(budget, TENTH, 1000, 100.5, 500) == 100
    assert taken(budget, TENTH, 1010, 100.9, 500) == 1


def test_requests_of_long_ago_buy_nothing() -> None:
    budget = RetryBudget()
    budget.take(TENTH, 0, 100.0)
    assert 9 <= taken(budget, TENTH, 100_000, 100.0 + 1000 * WINDOW, 100_000) <= 10  # ten a second


def test_all_requests_count_since_the_beginning_however_far_the_clock_has_come() -> None:
    """They came in the last five seconds, not since the machine was started."""
    roster = Roster(clock=lambda: 1e6)
    assert taken(roster.budget, TENTH, 1000, 1e6 + 5, 500) == 100


def test_a_clock_that_goes_back_takes_nothing_away() -> None:
    assert taken(RetryBudget(1e6), TENTH, 1000, 100.0, 500) == 100


def test_a_busy_moment_after_quiet_hours_has_its_share() -> None:
    """500 requests a second since ten seconds, after an hour with one each ten seconds."""
    web, now = pool("a"), [0.0]
    web.roster.clock = lambda: now[0]
    web.roster.budget = RetryBudget()
    for seconds, count in ((10.0, 360), (0.002, 5000)):
        for _ in range(count):
            now[0] += seconds
            web.acquire().release()
    assert taken(web.roster.budget, TENTH, web.roster.requests, now[0], 5000) == pytest.approx(500, abs=60)


def test_a_budget_of_nothing_allows_nothing() -> None:
    assert taken(RetryBudget(), schema.RetryBudget(percent=0, per_second=0), 10**6, 5.0, 3) == 0


@pytest.mark.parametrize("rate", [30, 300])
def test_an_outage_is_not_multiplied(rate: int) -> None:
    """Whatever the pace at which failures ask, each window has its share of retries at the most."""
    chance = random.Random(rate)
    budget, made = RetryBudget(), []
    for total in range(1, 60 * rate + 1):
        now = 1000 + total / rate
        if chance.random() < (1.0 if 20 < now - 1000 < 40 else 0.02):
            made += [now] * taken(budget, schema.RetryBudget(), total, now, chance.randrange(1, 4))
    share = max(0.2 * rate * WINDOW, 3.0 * WINDOW)
    for start in range(1000, 1060 - WINDOW):
        assert (
            sum(start <= at < start + WINDOW for at in made) <= share * 1.05
        )  # seconds without a retry are taken together
    assert len(made) > share


def test_what_is_left_can_be_seen() -> None:
    budget = RetryBudget()
    budget.take(schema.RetryBudget(), 4, 1.0)
    assert repr(budget) == f"<RetryBudget 1 retries of 4 requests in {WINDOW} s>"
