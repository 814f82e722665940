from __future__ import annotations

import time
from collections.abc import Iterator
from math import inf
from typing import Any

import gevent
import pytest

from tests.loopback import driver
from tests.scripted import background
from tests.unit.transport.pairs import LATE, MUCH, Pair, soon, taken
from wsgiproxy.errors import ReadTimeout, WriteTimeout
from wsgiproxy.transport.stream import SWEEP_INTERVAL
from wsgiproxy.transport.sweeper import Sweeper


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.close()


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
