"""What is remembered of the latest attempts, and for how long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wsgiproxy.pool.failure_window import SLOTS, FailureWindow


def test_attempts_are_forgotten_a_tenth_of_the_window_at_a_time() -> None:
    window = FailureWindow(10.0)
    for second in range(10):
        window.note(second < 3, 500.5 + second)
    assert repr(window) == "<FailureWindow 3 of 10 attempts failed in 10 s>"
    window.note(False, 510.5)
    assert (window.failures, window.attempts) == (2, 10)
    window.note(False, 530.5)
    assert (window.failures, window.attempts) == (0, 1)


def test_what_is_cleared_is_gone() -> None:
    window = FailureWindow(1.0)
    window.note(True, 7.0)
    window.clear()
    assert (window.failures, window.attempts) == (0, 0)


@given(
    st.floats(0.05, 1000.0),
    st.lists(st.tuples(st.booleans(), st.floats(0.0, 0.5)), min_size=1, max_size=60),
)
def test_all_of_nine_tenths_of_the_window_count_and_nothing_of_before_it(
    seconds: float, steps: list[tuple[bool, float]]
) -> None:
    window, now, seen = FailureWindow(seconds), 1000.0, []
    for failed, part in steps:
        now += part * seconds
        window.note(failed, now)
        seen.append((now, failed))
    slack = seconds * 1e-6  # of floats at the edge of a slot
    surely = [failed for at, failed in seen if at > now - seconds * (1 - 1 / SLOTS) + slack]
    perhaps = [failed for at, failed in seen if at > now - seconds - slack]
    assert len(surely) <= window.attempts <= len(perhaps)
    assert sum(surely) <= window.failures <= sum(perhaps)
