from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from math import inf
from typing import Any

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.loopback import driver
from tests.scripted import background
from tests.unit.transport.pairs import LATE, MUCH, Pair, soon, taken
from wsgiproxy.errors import ReadTimeout, WriteTimeout
from wsgiproxy.transport import greenlet
from wsgiproxy.transport.greenlet import Sweeper
from wsgiproxy.transport.stream import SWEEP_INTERVAL


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.close()


# --- the sweep on a clock of its own ----------------------------------------------------------------------------------


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
    monkeypatch.setattr(greenlet, "_monotonic", lambda: clock.now)
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
        patch.setattr(greenlet, "_monotonic", lambda: clock.now)
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
        patch.setattr(greenlet, "_monotonic", lambda: clock.now)
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


# --- deadlines of real streams ----------------------------------------------------------------------------------------


def test_a_silent_peer_is_a_read_timeout_never_early(pair: Pair) -> None:
    for seconds in (0.0, 0.05, 0.3):
        deadline = soon(seconds)
        with pytest.raises(ReadTimeout, match="nothing came from peer in time"):
            pair.stream.recv(100, deadline)
        assert deadline <= time.monotonic() < deadline + 2 * SWEEP_INTERVAL + LATE


def test_a_timeout_ends_one_wait_and_not_the_stream(pair: Pair) -> None:
    with pytest.raises(ReadTimeout):
        pair.stream.recv(1, soon(0.0))
    pair.stream.send_all(b"you were too slow", 1.0)
    assert pair.peer.recv(100) == b"you were too slow"
    pair.peer.sendall(b"sorry")
    assert pair.stream.recv(100, soon()) == b"sorry"


def test_a_peer_that_takes_nothing_is_a_write_timeout_never_early(pair: Pair) -> None:
    began = time.monotonic()
    with pytest.raises(WriteTimeout, match="peer did not take the bytes in time"):
        pair.stream.send_all(b"x" * MUCH, 0.2)
    assert 0.2 <= time.monotonic() - began < 0.2 + 2 * SWEEP_INTERVAL + LATE


def test_a_slow_peer_that_keeps_reading_is_not_timed_out(pair: Pair) -> None:
    began = time.monotonic()
    size, timeout = 3_000_000, 0.6
    join = background(lambda: pair.stream.send_all(b"x" * size, timeout))
    received = 0
    while received < size:
        received += len(taken(pair.peer, 1))
        if received < size:
            gevent.sleep(0.2 * (time.monotonic() < began + 1.5))  # this is the slowness of the peer
    assert join() is None
    assert time.monotonic() - began > 2 * timeout


def test_a_late_reader_leaves_a_writer_alone_and_the_other_way_round(pair: Pair) -> None:
    writing = background(lambda: pair.stream.send_all(b"x" * MUCH, LATE))
    reading = background(lambda: pair.stream.recv(1, soon(0.05)))
    assert isinstance(reading(), ReadTimeout)
    taken(pair.peer, MUCH)
    assert writing() is None
    reading = background(lambda: pair.stream.recv(1, soon()))
    writing = background(lambda: pair.stream.send_all(b"x" * MUCH, 0.05))
    assert isinstance(writing(), WriteTimeout)
    pair.peer.sendall(b"x")
    assert reading() == b"x"


def test_a_shorter_deadline_after_a_longer_one_is_kept(pair: Pair) -> None:
    pair.peer.sendall(b"x")
    assert pair.stream.recv(1, soon(3600.0)) == b"x"
    with pytest.raises(ReadTimeout):
        pair.stream.recv(1, soon(0.05))
    with pytest.raises(ReadTimeout):
        pair.stream.recv(1, soon(0.2))


def test_a_wait_without_a_deadline_is_no_overflow(pair: Pair) -> None:
    pair.peer.sendall(b"ab")
    assert pair.stream.recv(1, inf) == b"a"
    assert pair.stream.recv(1, soon(1e12)) == b"b"


def test_thousands_of_waits_put_each_stream_before_the_sweep_once() -> None:
    class Watched(Sweeper):
        """Counts what it is asked."""

        puts = 0

        def put(self, stream: Any, deadline: float) -> None:
            self.puts += 1
            super().put(stream, deadline)

    watched = Watched(driver()._hub.loop)
    pairs = [Pair() for _ in range(400)]
    for pair in pairs:
        pair.stream._sweeper = watched
    for _ in range(5):
        joins = [background(lambda pair=pair: pair.stream.recv(1, soon(60.0))) for pair in pairs]  # type: ignore[misc]
        for pair in pairs:
            pair.peer.send(b"x")
        assert [join() for join in joins] == [b"x"] * len(pairs)
    assert watched.puts == len(pairs)
    for pair in pairs:
        pair.close()
    watched._timer.stop()
    watched._timer.close()
