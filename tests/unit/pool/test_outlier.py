"""Passive health: who is ejected after failures, for how long, and who never is."""

from __future__ import annotations

import logging

import pytest

from tests.unit.pool.outlier_scene import Scene
from tests.unit.pool.scripted import CHECK, address, table
from wsgiproxy.config import schema


def test_a_backend_that_fails_so_often_in_a_row_gets_no_work_for_a_while(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    scene = Scene("abc")
    scene.fail("a", 4)
    assert scene.takers() == "abc"
    scene.fail("a", 1)
    assert scene.takers() == "bc"
    assert ", ejected, " in repr(scene.backend("a"))
    scene.now += 9.9
    assert scene.takers() == "bc"
    scene.now += 0.1
    assert scene.takers() == "abc"
    assert [record.getMessage() for record in caplog.records] == [
        "pool web: http://a:80 is ejected for 10 s: 5 failures in a row",
        "pool web: http://a:80 is no longer ejected",
    ]


def test_each_further_ejection_is_longer_until_it_has_behaved_for_long() -> None:
    scene, waits = Scene("ab", max_ejection_time=25.0), []
    for _ in range(4):
        scene.fail("a")
        waits.append(scene.backend("a").ejected_until - scene.now)
        scene.now += waits[-1]
        assert scene.takers() == "ab"
    assert waits == [10, 20, 25, 25]
    scene.now += 60
    scene.fail("a")
    assert scene.backend("a").ejected_until - scene.now == 10


def test_an_answer_in_between_begins_the_row_anew_but_not_one_that_is_cut() -> None:
    scene = Scene("ab")
    for _ in range(3):
        scene.fail("a", 4)
        scene.attempt("a")
    assert scene.takers() == "ab"
    for _ in range(5):
        scene.attempt("a", 200, failed=True)
    assert scene.takers() == "b"


def test_what_is_nobodys_fault_counts_neither_way() -> None:
    scene = Scene("ab")
    scene.fail("a", 4)
    for _ in range(9):
        scene.attempt("a", status=0)  # a client that left before the answer
    scene.fail("a", 1)
    assert scene.takers() == "b"


def test_the_last_backend_is_never_ejected() -> None:
    scene = Scene("a")
    scene.fail("a", 20)
    assert scene.takers() == "a"
    pair = Scene("ab", max_ejection_percent=100)
    pair.fail("a")
    pair.fail("b", 20)
    assert pair.takers() == "b"


def test_where_nobody_else_is_left_the_ejected_work() -> None:
    scene = Scene("ab", CHECK)
    for backend in scene.pool.backends:
        backend.record_check("", 1, 1)
    scene.fail("a")
    assert scene.takers() == "b"
    scene.backend("b").record_check("down", 1, 1)
    assert scene.takers() == "a"


@pytest.mark.parametrize(("percent", "left"), [(50, "cd"), (25, "bcd"), (0, "bcd"), (100, "d")])
def test_no_more_are_ejected_at_once_than_may_be(percent: int, left: str) -> None:
    scene = Scene("abcd", max_ejection_percent=percent)
    for name in "abcd":
        scene.fail(name)
    assert scene.takers() == left


def test_answers_with_a_5xx_status_count_where_that_is_asked_for() -> None:
    scene = Scene("ab", consecutive_5xx=3)
    for status in (500, 503, 200, 500, 502):
        scene.attempt("a", status)
    assert scene.takers() == "ab"
    scene.attempt("a", 500)
    assert scene.takers() == "b"
    plain = Scene("ab")
    for _ in range(50):
        plain.attempt("a", 500)
    assert plain.takers() == "ab"


def test_a_good_check_ends_an_ejection() -> None:
    scene = Scene("ab", CHECK)
    for backend in scene.pool.backends:
        backend.record_check("", 1, 1)
    scene.fail("a")
    assert scene.takers() == "b"
    scene.backend("a").record_check("", 1, 1)
    assert scene.takers() == "ab"


def test_a_good_check_ends_no_second_ejection_of_one_whose_failures_checks_do_not_see() -> None:
    scene = Scene("abc", CHECK)
    a, *_ = scene.pool.backends
    for backend in scene.pool.backends:
        backend.record_check("", 1, 1)
    for _ in range(2):
        scene.fail("a")
        a.record_check("", 1, 1)
    assert scene.takers() == "bc"
    a.record_check("down", 1, 1)
    a.record_check("", 1, 1)
    assert scene.takers() == "abc"


def test_a_check_that_began_before_an_ejection_does_not_end_it() -> None:
    scene = Scene("ab")
    scene.fail("a", 5)
    backend = scene.backend("a")
    backend.checked = True
    backend.roster.clock = lambda: scene.now + 1.0
    backend.record_check("", 2, 3, seconds=1.5)
    assert scene.ejected() == "a"
    backend.record_check("", 2, 3, seconds=0.5)
    assert scene.ejected() == ""


def test_nobody_is_ejected_where_that_is_off() -> None:
    backends = tuple(schema.Backend(address=address(name)) for name in "ab")
    web = table(schema.Pool(backends=backends, outliers=None)).pools["web"]
    for _ in range(30):
        web.acquire().release(failed=True)
    assert not any(backend.ejected_until for backend in web.backends)


def test_a_request_of_before_a_reload_leaves_nobody_ejected_for_ever() -> None:
    scene = Scene("ab")
    before = scene.pool
    scene.reload("abc", schema.Outliers())
    scene.fail("c")
    assert scene.takers() == "ab"
    scene.now += 10
    before.acquire().release()
    assert scene.takers() == "abc"


def test_an_ejection_outlives_a_reload() -> None:
    scene = Scene("ab")
    scene.fail("a")
    scene.reload("abc", schema.Outliers())
    assert scene.takers() == "bc"
    scene.now += 10
    assert scene.takers() == "abc"


@pytest.mark.parametrize("status", [501, 505])
def test_what_a_client_can_bring_about_at_will_is_not_the_backends_fault(status: int) -> None:
    scene = Scene("ab", consecutive_5xx=3, failure_percent=1, minimum_requests=3)
    for _ in range(50):
        scene.attempt("a", status)
    assert scene.ejected() == ""


def test_the_share_of_failures_counts_where_that_is_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene("ab", failure_percent=50, minimum_requests=10, consecutive_gateway_failures=0)
    for _ in range(5):
        scene.attempt("a", 200)
    for _ in range(4):
        scene.attempt("a", 503)
    assert scene.ejected() == ""
    scene.fail("a", 1)
    assert scene.ejected() == "a"
    assert caplog.messages == ["pool web: http://a:80 is ejected for 10 s: 5 of 10 attempts failed in 10 s"]


def test_a_smaller_share_of_failures_harms_nobody() -> None:
    scene = Scene("ab", failure_percent=50, minimum_requests=10, consecutive_gateway_failures=0)
    for _ in range(50):
        scene.attempt("a", 200)
        scene.attempt("a", 200)
        scene.attempt("a", 500)
    assert scene.ejected() == ""


def test_an_attempt_that_fails_twice_counts_once_and_what_a_client_breaks_off_not_at_all() -> None:
    scene = Scene("ab", failure_percent=50, minimum_requests=1)
    window = scene.backend("a").window
    assert window is not None
    scene.attempt("a", 200)
    scene.attempt("a", 200)
    scene.attempt("a", 200)
    scene.attempt("a", 500, failed=True)
    scene.attempt("a", 200, failed=True)
    for _ in range(9):
        scene.attempt("a", status=0)
    assert (window.failures, window.attempts) == (2, 5)


def test_failures_of_before_the_window_are_forgotten_and_so_are_those_of_before_an_ejection() -> None:
    scene = Scene("ab", failure_percent=50, minimum_requests=4, window=20.0, consecutive_gateway_failures=0)
    scene.fail("a", 3)
    scene.now += 20
    scene.fail("a", 3)
    assert scene.ejected() == ""
    scene.now += 10
    scene.fail("a", 1)
    assert scene.ejected() == "a"
    scene.now += 10
    assert scene.takers() == "ab"
    scene.fail("a", 3)
    assert scene.ejected() == ""


def test_a_threshold_that_a_reload_lowers_below_what_was_counted_holds_from_the_next_failure() -> None:
    scene = Scene("ab", consecutive_gateway_failures=9)
    scene.fail("a", 6)
    scene.reload("ab", schema.Outliers(consecutive_gateway_failures=3))
    assert scene.ejected() == ""
    scene.fail("a", 1)
    assert scene.ejected() == "a"


def test_who_is_ejected_comes_back_where_a_reload_takes_the_rules_off(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    scene = Scene("ab", failure_percent=50)
    scene.fail("a")
    scene.reload("ab", None)
    assert scene.takers() == "ab"
    assert caplog.messages[-1] == "pool web: http://a:80 is no longer ejected (reload)"
    assert scene.backend("a").window is None
    scene.fail("a", 50)
    assert scene.ejected() == ""


def test_a_reload_that_leaves_too_many_ejected_takes_back_whose_time_is_over_first() -> None:
    scene = Scene("abcd")
    scene.fail("b")
    scene.now += 1
    scene.fail("a")
    assert scene.ejected() == "ab"
    scene.reload("abc", schema.Outliers())
    assert scene.ejected() == "a"
    scene.reload("a", schema.Outliers())
    assert scene.ejected() == ""


def test_requests_of_before_a_reload_eject_no_more_than_its_rules_allow() -> None:
    scene = Scene("abcdef")
    before = scene.pool
    scene.reload("ab", schema.Outliers(base_ejection_time=7.0))
    for name in "abcd":
        scene.fail(name, pool=before)
    assert scene.ejected() == "a"
    assert scene.backend("a").ejected_until == scene.now + 7
    assert not any(backend.ejected_until for backend in before.backends[1:])


def test_who_was_gone_for_a_generation_begins_anew() -> None:
    scene = Scene("abc", failure_percent=50)
    scene.fail("a")
    scene.reload("bc", schema.Outliers())
    scene.reload("abc", schema.Outliers())
    assert (scene.ejected(), scene.backend("a").ejections) == ("", 0)
