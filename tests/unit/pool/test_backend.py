"""What one result of a check makes of a backend's health."""

from __future__ import annotations

import logging

import pytest

from tests.unit.pool.scripted import CHECK, block, pool, table
from wsgiproxy.config import schema
from wsgiproxy.pool.backend import KEPT_RESULTS, Backend, CheckResult

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
        ("d", "draining"),
        ("+d", "draining"),
        ("+d+", "healthy"),
        ("+d--", "draining"),
        ("+d--d--", "draining"),
        ("+d---", "unhealthy"),
        ("-d", "unhealthy"),
        ("-dd", "draining"),
        ("-d+", "healthy"),
        ("-d-+", "unhealthy"),
        ("+--d--", "draining"),
    ],
)
def test_the_first_result_decides_and_after_it_a_streak_or_the_backends_own_wish(results: str, health: str) -> None:
    (backend,) = pool("a", check=CHECK).backends
    assert backend.health == "checking"
    for result in results:
        backend.record_check("" if result == "+" else "down", *THRESHOLDS, drains=result == "d")
    assert backend.health == health


def test_only_the_result_that_turns_the_health_says_so() -> None:
    (backend,) = pool("a", check=CHECK).backends
    results = ["", "", "down", "down", "down", "down", "", "", ""]
    turned = [backend.record_check(reason, *THRESHOLDS) for reason in results]
    assert turned == [True, False, False, False, True, False, False, True, False]


def test_the_last_results_are_kept_with_their_reasons_and_times() -> None:
    (backend,) = pool("a", check=CHECK).backends
    now = 7.0
    backend.roster.clock = lambda: now
    assert backend.health_report() == ("checking", 0.0, 0, 0, ())
    backend.record_check("", *THRESHOLDS, seconds=0.25)
    now = 9.0
    backend.record_check("connect_error: refused", *THRESHOLDS, seconds=0.5)
    backend.record_check("connect_error: refused", *THRESHOLDS)
    report = backend.health_report()
    assert (report.health, report.changed_at, report.alike, report.streak) == ("healthy", 7.0, 2, 2)
    assert report.results[:2] == (
        CheckResult(7.0, "good", 0.25, ""),
        CheckResult(9.0, "bad", 0.5, "connect_error: refused"),
    )


def test_no_more_results_are_kept_than_are_asked_for() -> None:
    (backend,) = pool("a", check=CHECK).backends
    for number in range(3 * KEPT_RESULTS):
        backend.record_check(f"bad {number}", *THRESHOLDS)
    report = backend.health_report()
    assert [result.reason for result in report.results] == [f"bad {20 + number}" for number in range(KEPT_RESULTS)]
    assert report.alike == 3 * KEPT_RESULTS


def test_who_drains_by_its_own_wish_gets_no_new_work_and_starts_slowly_again() -> None:
    (backend,) = pool("a", check=CHECK).backends
    backend.record_check("", *THRESHOLDS)
    assert (backend.available, backend.draining) == (True, False)
    backend.record_check("status 503", *THRESHOLDS, drains=True)
    assert (backend.available, backend.draining) == (False, True)
    assert backend.ramp_from == 0
    backend.record_check("", *THRESHOLDS)
    assert (backend.available, backend.draining) == (True, False)
    assert backend.ramp_from > 0


def test_who_drains_by_its_operators_wish_may_go_on_unless_it_is_bad() -> None:
    old = table(block("a", "b", check=CHECK))
    entries = (schema.Backend(address="http://a", admin_state="drain"), schema.Backend(address="http://b"))
    (backend, _) = table(schema.Pool(backends=entries, health_check=CHECK), old).pools["web"].backends
    assert (backend.available, backend.draining) == (False, True)
    backend.record_check("down", *THRESHOLDS)
    assert not backend.draining


def added(old: schema.Pool, new: schema.Pool) -> Backend:
    """The last backend after a reload, where those before it were found to be well."""
    first = table(old)
    for backend in first.pools["web"].backends:
        backend.record_check("", *THRESHOLDS)
    return table(new, first).pools["web"].backends[-1]


@pytest.mark.parametrize("result", ["", "down"])
def test_one_that_is_added_to_others_gets_no_work_before_its_first_good_check(result: str) -> None:
    backend = added(block("a", check=CHECK), block("a", "b", check=CHECK))
    assert (backend.health, backend.available) == ("checking", False)
    backend.record_check(result, *THRESHOLDS)
    assert backend.available is (result == "")


def test_one_that_is_added_counts_as_healthy_where_that_is_asked_for() -> None:
    check = schema.HealthCheck(initial="healthy")
    backend = added(block("a", check=CHECK), block("a", "b", check=check))
    assert (backend.health, backend.available) == ("healthy", True)
    for _ in range(3):
        backend.record_check("down", *THRESHOLDS)
    assert backend.health == "unhealthy"


def test_one_that_is_not_checked_yet_works_at_the_start_and_where_no_other_is_ready() -> None:
    (first,) = table(block("a", check=CHECK)).pools["web"].backends
    assert (first.health, first.available) == ("checking", True)
    assert added(block("a", check=CHECK), block("b", check=CHECK)).available
    spared = schema.Backend(address="http://a", admin_state="drain")
    new = schema.Pool(backends=(spared, schema.Backend(address="http://b")), health_check=CHECK)
    assert added(block("a", check=CHECK), new).available


def test_one_that_is_awaited_works_once_a_reload_leaves_no_other() -> None:
    first = table(block("a", check=CHECK))
    second = table(block("a", "b", check=CHECK), first)
    b = second.pools["web"].backends[1]
    assert not b.available
    third = table(block("a", "b", check=CHECK), second)
    assert not b.available
    table(block("b", check=CHECK), third)
    assert b.available


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
    assert backend.health_report()[0:1] + backend.health_report()[2:] == ("healthy", 0, 0, ())
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


def test_that_checks_were_taken_off_is_logged_where_it_changes_something(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "wsgiproxy.pool")
    old = table(block("a", "b", check=CHECK))
    a, b = old.pools["web"].backends
    a.record_check("", *THRESHOLDS)
    b.record_check("down", *THRESHOLDS)
    table(block("a", "b"), table(block("a", "b"), old))
    assert [record.getMessage() for record in caplog.records] == [
        "pool web: http://b:80 counts as healthy: it is no longer checked"
    ]
