"""What one result of a check makes of a backend's health."""

from __future__ import annotations

import pytest

from tests.unit.pool.scripted import CHECK, block, pool, table

THRESHOLDS = (2, 3)  # healthy, unhealthy


@pytest.mark.parametrize(
    ("results", "health"),
    [
        ("+", "healthy"),
        ("-", "unhealthy"),
        ("+--", "healthy"),
        ("+---", "unhealthy"),
        ("+--+--", "healthy"),
        ("-+", "unhealthy"),
        ("-++", "healthy"),
        ("-+-+", "unhealthy"),
        ("-++--", "healthy"),
    ],
)
def test_the_first_result_decides_and_after_it_a_streak(results: str, health: str) -> None:
    (backend,) = pool("a", check=CHECK).backends
    assert backend.health == "checking"
    for result in results:
        backend.record_check("" if result == "+" else "down", *THRESHOLDS)
    assert backend.health == health


def test_only_the_result_that_turns_the_health_says_so() -> None:
    (backend,) = pool("a", check=CHECK).backends
    results = ["", "", "down", "down", "down", "down", "", "", ""]
    turned = [backend.record_check(reason, *THRESHOLDS) for reason in results]
    assert turned == [True, False, False, False, True, False, False, True, False]


def test_the_last_result_is_kept_with_its_reason_and_time() -> None:
    (backend,) = pool("a", check=CHECK).backends
    backend.record_check("connect_error: refused", *THRESHOLDS, now=7.0)
    assert (backend.check_reason, backend.checked_at) == ("connect_error: refused", 7.0)


def test_a_backend_without_checks_counts_as_healthy() -> None:
    (backend,) = pool("a").backends
    assert backend.available
    assert backend.health == "healthy"


def test_a_backend_keeps_health_and_counters_over_a_reload() -> None:
    old = table(block("a", check=CHECK))
    (backend,) = old.pools["web"].backends
    backend.record_check("down", *THRESHOLDS)
    backend.failures = 4
    new = table(block("a", "b", check=CHECK), old)
    assert new.pools["web"].backends[0] is backend
    assert (backend.health, backend.failures) == ("unhealthy", 4)
    assert new.pools["web"].backends[1].health == "checking"


def test_checks_that_are_taken_off_leave_a_backend_healthy_and_new_ones_leave_it_working() -> None:
    old = table(block("a", check=CHECK))
    (backend,) = old.pools["web"].backends
    backend.record_check("down", *THRESHOLDS)
    without = table(block("a"), old)
    assert backend.health == "healthy"
    table(block("a", check=CHECK), without)
    assert backend.health == "healthy"


def test_a_backend_shows_what_one_would_debug_with() -> None:
    a, b = pool("a", "b-backup", a=2).backends
    assert repr(a) == "<Backend web http://a:80: ready, healthy, 0 in flight, weight 2>"
    assert repr(b).endswith("weight 1, backup>")


def test_a_result_that_comes_after_the_checks_were_taken_off_changes_nothing() -> None:
    old = table(block("a", check=CHECK))
    (backend,) = old.pools["web"].backends
    table(block("a"), old)
    for _ in range(5):
        assert not backend.record_check("down", *THRESHOLDS)
    assert backend.available
