"""What a backend's closes teach of its patience, and which of them teach nothing."""

from __future__ import annotations

from math import inf

import pytest

from wsgiproxy.upstream.idle_limit import IdleLimit


def test_nothing_is_known_at_first() -> None:
    limit = IdleLimit()
    limit.still_open(9.0)
    assert limit.seconds == inf


@pytest.mark.parametrize(("age", "seconds"), [(2.0, 1.8), (5.0, 4.5), (75.0, 67.5), (0.5, 0.3)])
def test_a_close_teaches_to_give_up_a_while_before(age: float, seconds: float) -> None:
    limit = IdleLimit()
    limit.closed(age, 100.0)
    assert limit.seconds == pytest.approx(seconds)


def test_a_close_right_after_an_answer_teaches_nothing() -> None:
    limit = IdleLimit()
    limit.closed(0.1, 100.0)
    assert limit.seconds == inf


def test_connections_of_all_ages_that_close_at_once_are_a_restart() -> None:
    limit = IdleLimit()
    limit.closed(2.0, 100.0)
    known = limit.seconds
    for number, age in enumerate((0.7, 1.9, 0.3, 1.2)):
        limit.closed(age, 200.0 + number / 100)
    assert limit.seconds == known


def test_connections_of_one_age_that_close_at_once_are_one_timeout() -> None:
    limit = IdleLimit()
    for number in range(4):
        limit.closed(2.0 + number / 100, 100.0 + number / 100)
    assert limit.seconds == pytest.approx(1.8)


def test_late_closes_raise_the_limit_slowly() -> None:
    limit = IdleLimit()
    limit.closed(2.0, 100.0)
    limit.closed(2.9, 200.0)
    assert limit.seconds == pytest.approx(1.89)
    limit.closed(2.0, 300.0)
    assert limit.seconds == pytest.approx(1.8)


def test_a_connection_that_is_open_far_beyond_the_limit_shows_more_patience() -> None:
    limit = IdleLimit()
    limit.closed(0.5, 100.0)
    limit.still_open(0.55)
    assert limit.seconds == pytest.approx(0.3)
    limit.still_open(10.0)
    assert limit.seconds == pytest.approx(9.0)
    assert repr(limit) == "<IdleLimit 9.0 s>"
