from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from tests.loopback import wait_for
from tests.scripted import background
from tests.unit.transport.pairs import LATE, MUCH, Pair, reset, soon, taken, tcp_pair
from wsgiproxy.errors import ClientDisconnectedError, ReadTimeout, ResetError, WriteTimeout
from wsgiproxy.transport.stream import SWEEP_INTERVAL, InterruptedWaitError


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.close()


def outcome_of_reading(pair: Pair) -> tuple[Any, list[object]]:
    """A greenlet that waits to read, and where its bytes or its error go."""
    outcome: list[object] = []

    def read() -> None:
        try:
            outcome.append(pair.stream.recv(100, soon()))
        except InterruptedWaitError as error:
            outcome.append(error)

    reading = gevent.spawn(read)
    gevent.sleep(0)
    return reading, outcome


# --- recv_now ---------------------------------------------------------------------------------------------------------


def test_recv_now_returns_what_is_there_and_none_where_nothing_is(pair: Pair) -> None:
    assert pair.stream.recv_now(100) is None
    pair.peer.sendall(b"hello")
    assert pair.stream.recv_now(2) == b"he"
    assert pair.stream.recv_now(100) == b"llo"
    assert pair.stream.recv_now(100) is None


def test_recv_now_sees_the_end_and_a_reset(pair: Pair) -> None:
    pair.peer.close()
    assert [pair.stream.recv_now(1) for _ in range(2)] == [b"", b""]
    stream, peer = tcp_pair()
    reset(peer)
    with pytest.raises(ResetError):
        stream.recv_now(1)
    stream.close()


def test_recv_now_makes_a_stream_quiet_again_and_leaves_it_watched(pair: Pair) -> None:
    pair.peer.sendall(b"x")
    pair.let_it_be_seen()
    assert not pair.stream.is_quiet()
    assert pair.stream.recv_now(100) == b"x"
    assert pair.stream.is_quiet(look=True)
    pair.peer.close()
    pair.let_it_be_seen()
    assert not pair.stream.is_quiet()


def test_recv_now_raises_what_the_stream_was_aborted_with(pair: Pair) -> None:
    pair.peer.sendall(b"x")
    pair.stream.abort(ClientDisconnectedError("gone"))
    with pytest.raises(ClientDisconnectedError):
        pair.stream.recv_now(1)


# --- send_now and send_all --------------------------------------------------------------------------------------------


def test_send_now_sends_what_fits_and_drops_the_rest(pair: Pair) -> None:
    pair.stream.send_now(b"bye")
    assert pair.peer.recv(100) == b"bye"
    began = time.monotonic()
    pair.stream.send_now(b"x" * MUCH)
    assert time.monotonic() - began < SWEEP_INTERVAL
    pair.stream.close()
    assert 0 < len(taken_to_the_end(pair)) < MUCH


def taken_to_the_end(pair: Pair) -> bytes:
    data = b""
    while piece := pair.peer.recv(1 << 20):
        data += piece
    return data


def test_send_now_keeps_quiet_about_a_peer_that_has_gone_and_a_stream_that_is_closed(pair: Pair) -> None:
    pair.peer.close()
    pair.stream.send_now(b"bye")
    pair.stream.close()
    pair.stream.send_now(b"bye")


def test_send_now_puts_nothing_into_the_middle_of_what_another_one_sends(pair: Pair) -> None:
    join = background(lambda: pair.stream.send_all(b"x" * MUCH, LATE))
    pair.stream.send_now(b"bye")
    assert taken(pair.peer, MUCH) == b"x" * MUCH
    assert join() is None
    pair.stream.send_now(b"bye")
    assert pair.peer.recv(100) == b"bye"


def test_a_peer_that_trickles_does_not_get_beyond_the_deadline(pair: Pair) -> None:
    began = time.monotonic()
    sending = background(lambda: pair.stream.send_all(b"x" * MUCH, LATE, began + 0.5))
    pair.peer.setblocking(False)
    while time.monotonic() < began + 0.9:
        with contextlib.suppress(BlockingIOError):
            pair.peer.recv(10_000)
        gevent.sleep(0.01)  # this is how the peer trickles
    assert isinstance(sending(), WriteTimeout)


def test_a_deadline_that_is_kept_changes_nothing(pair: Pair) -> None:
    join = background(lambda: pair.stream.send_all(b"x" * MUCH, LATE, soon()))
    assert len(taken(pair.peer, MUCH)) == MUCH
    assert join() is None


# --- watch_unread -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"", b"unread"])
def test_bytes_and_the_end_are_told_once_while_nobody_reads(pair: Pair, end: bytes) -> None:
    told: list[bytes | None] = []
    pair.stream.watch_unread(lambda: told.append(pair.stream.recv_now(100)))
    if end:
        pair.peer.sendall(end)
    else:
        pair.peer.close()
    wait_for(lambda: told)
    gevent.sleep(0.01)
    assert told == [end]


def test_what_was_there_before_the_watch_began_is_told_too(pair: Pair) -> None:
    pair.peer.sendall(b"x")
    pair.let_it_be_seen()
    told: list[str] = []
    pair.stream.watch_unread(lambda: told.append("unread"))
    assert told == []
    wait_for(lambda: told)


def test_bytes_that_somebody_waits_for_are_not_told(pair: Pair) -> None:
    told: list[str] = []
    pair.stream.watch_unread(lambda: told.append("unread"))
    join = background(lambda: pair.stream.recv(100, soon()))
    pair.peer.sendall(b"x")
    assert join() == b"x"
    assert told == []
    pair.stream.watch_unread(None)
    pair.peer.sendall(b"x")
    pair.let_it_be_seen()
    assert told == []


def test_unread_bytes_are_told_before_a_hang_up_and_may_be_watched_for_again(pair: Pair) -> None:
    told: list[object] = []

    def unread() -> None:
        told.append(pair.stream.recv_now(100))
        pair.stream.watch_unread(unread)

    pair.stream.watch_unread(unread)
    pair.stream.watch(told.append)
    pair.peer.sendall(b"x")
    wait_for(lambda: told)
    pair.peer.close()
    wait_for(lambda: len(told) >= 3)
    assert told[:3] == [b"x", b"", False]


def test_a_closed_stream_tells_nothing(pair: Pair) -> None:
    pair.peer.sendall(b"x")
    pair.let_it_be_seen()
    told: list[str] = []
    pair.stream.watch_unread(lambda: told.append("unread"))
    pair.stream.close()
    gevent.sleep(0.01)
    assert told == []


# --- interrupt --------------------------------------------------------------------------------------------------------


def from_the_hub(call: Callable[[], None]) -> None:
    gevent.get_hub().loop.run_callback(call)
    gevent.sleep(0)


@pytest.mark.parametrize("whence", [lambda call: call(), from_the_hub])
def test_an_interrupted_wait_ends_and_the_stream_goes_on(pair: Pair, whence: Callable[..., None]) -> None:
    reading, outcome = outcome_of_reading(pair)
    whence(pair.stream.interrupt)
    reading.join(LATE)
    assert isinstance(outcome[0], InterruptedWaitError)
    pair.peer.sendall(b"x")
    assert pair.stream.recv(1, soon()) == b"x"
    assert pair.stream.is_quiet()


def test_where_nobody_waits_an_interrupt_is_not_kept_for_later(pair: Pair) -> None:
    pair.stream.interrupt()
    reading, outcome = outcome_of_reading(pair)
    pair.peer.sendall(b"x")
    reading.join(LATE)
    assert outcome == [b"x"]


def test_bytes_that_come_first_win_and_the_next_wait_is_another(pair: Pair) -> None:
    outcome: list[bytes] = []

    def read_twice() -> None:
        outcome.append(pair.stream.recv(1, soon()))
        outcome.append(pair.stream.recv(1, soon()))

    reading = gevent.spawn(read_twice)
    gevent.sleep(0)

    def bytes_then_interrupt() -> None:
        pair.stream.interrupt()
        pair.peer.sendall(b"a")
        pair.stream._on_readable()

    from_the_hub(bytes_then_interrupt)
    gevent.sleep(0.01)
    pair.peer.sendall(b"b")
    reading.join(LATE)
    assert outcome == [b"a", b"b"]


def test_an_interrupt_leaves_a_writer_alone_and_deadlines_hold_afterwards(pair: Pair) -> None:
    writing = background(lambda: pair.stream.send_all(b"x" * MUCH, LATE))
    reading, outcome = outcome_of_reading(pair)
    pair.stream.interrupt()
    reading.join(LATE)
    assert isinstance(outcome[0], InterruptedWaitError)
    assert len(taken(pair.peer, MUCH)) == MUCH
    assert writing() is None
    with pytest.raises(ReadTimeout):
        pair.stream.recv(1, soon(0.05))


def test_interrupt_on_a_closed_stream_does_nothing(pair: Pair) -> None:
    pair.stream.close()
    pair.stream.interrupt()
