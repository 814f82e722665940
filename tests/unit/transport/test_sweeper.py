from __future__ import annotations

import time
from collections.abc import Callable
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgiproxy.transport import sweeper as module
from wsgiproxy.transport.stream import SWEEP_INTERVAL
from wsgiproxy.transport.sweeper import Sweeper


class Clock:
    """A loop with one timer, and the time."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.sweep: Callable[[], None] = lambda: None

    def timer(self, after: float, repeat: float, ref: bool) -> Clock:
        assert (after, repeat, ref) == (SWEEP_INTERVAL, SWEEP_INTERVAL, False)
        return self

    def start(self, sweep: Callable[[], None]) -> None:
        self.sweep = sweep

    def go_on(self, seconds: float) -> None:
        self.now += seconds
        self.sweep()


class Waiting:
    """A stream that waits for ever, with the deadlines of its waits; it notes when each was found to be late."""

    def __init__(self, *deadlines: float) -> None:
        self.deadlines = list(deadlines)
        self.bucket = 0
        self.late: list[tuple[float, float]] = []
        self.looks = 0

    def check_deadlines(self, now: float) -> float:
        self.looks += 1
        while self.deadlines and self.deadlines[0] <= now:
            self.late.append((self.deadlines.pop(0), now))
        return self.deadlines[0] if self.deadlines else inf


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "_monotonic", lambda: clock.now)
    return clock


@given(
    st.lists(st.floats(min_value=-5, max_value=70), min_size=1, max_size=20),
    st.lists(st.floats(min_value=SWEEP_INTERVAL, max_value=2 * SWEEP_INTERVAL), max_size=3),
)
def test_each_deadline_is_noticed_by_the_next_sweep_but_one_and_never_early(
    seconds: list[float], delays: list[float]
) -> None:
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_monotonic", lambda: clock.now)
        sweeper = Sweeper(clock)
        streams: list[Any] = [Waiting(1000.0 + after) for after in seconds]
        for stream in streams:
            sweeper.put(stream, stream.deadlines[0])
        for delay in delays:
            clock.go_on(delay)
        while clock.now < 1072:
            clock.go_on(SWEEP_INTERVAL)
    for stream, after in zip(streams, seconds, strict=True):
        ((deadline, noticed),) = stream.late
        assert deadline == 1000.0 + after
        lateness = noticed - max(deadline, 1000.0)
        assert noticed >= deadline
        assert lateness <= max([SWEEP_INTERVAL, *delays]) + SWEEP_INTERVAL + 1e-6


def test_a_stream_is_looked_at_once_per_deadline_not_once_per_wait_or_sweep(clock: Clock) -> None:
    clock.now += 0.03  # sweeps fall shortly before the deadlines, when a look would be one too many
    sweeper = Sweeper(clock)
    streams: list[Any] = [Waiting(*(1060.05 + 60 * turn for turn in range(3))) for _ in range(5000)]
    for stream in streams:
        sweeper.put(stream, stream.deadlines[0])
    while clock.now < 1181:
        clock.go_on(SWEEP_INTERVAL)
    assert {stream.looks for stream in streams} == {3}
    assert {len(stream.late) for stream in streams} == {3}


def test_a_sweep_with_nothing_late_costs_little_whatever_stands_in_it() -> None:
    clock = Clock(time.monotonic())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_monotonic", lambda: clock.now)
        sweeper = Sweeper(clock)
        for number in range(20_000):
            stream: Any = Waiting(clock.now + 60 + number / 1000)
            sweeper.put(stream, stream.deadlines[0])
        began = time.perf_counter()
        for _ in range(500):
            clock.go_on(SWEEP_INTERVAL)
        assert time.perf_counter() - began < 0.5  # a look at each would be ten million


def test_a_stream_that_was_removed_or_put_anew_is_looked_at_there_alone(clock: Clock) -> None:
    sweeper = Sweeper(clock)
    removed: Any = Waiting(1001.0)
    sooner: Any = Waiting(1001.0)
    for stream in (removed, sooner):
        sweeper.put(stream, 1050.0)
    sweeper.remove(removed)
    sweeper.put(sooner, 1001.0)
    while clock.now < 1060:
        clock.go_on(SWEEP_INTERVAL)
    assert (removed.looks, sooner.looks) == (0, 1)
