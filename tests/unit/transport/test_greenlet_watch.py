from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from tests.loopback import wait_for
from tests.scripted import background
from tests.unit.transport.pairs import LATE, MUCH, Pair, reset, soon, tcp_pair
from wsgiproxy.errors import ClientDisconnectedError, ResetError
from wsgiproxy.transport.greenlet_stream import GreenletStream


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.close()


def iterations(seconds: float) -> int:
    """How often the hub's loop turns within a time in which nothing happens."""
    count = 0

    def turn() -> None:
        nonlocal count
        count += 1

    watcher = gevent.get_hub().loop.prepare()
    watcher.start(turn)
    gevent.sleep(seconds)
    watcher.stop()
    watcher.close()
    return count


# --- the read watcher -------------------------------------------------------------------------------------------------


def test_an_idle_stream_is_quiet_until_the_peer_says_something(pair: Pair) -> None:
    assert pair.stream.is_quiet()
    pair.peer.sendall(b"x")
    pair.let_it_be_seen()
    assert not pair.stream.is_quiet()
    assert pair.stream.recv(10, soon()) == b"x"
    assert pair.stream.is_quiet()


def test_an_idle_stream_that_the_peer_closes_is_not_quiet(pair: Pair) -> None:
    pair.peer.close()
    pair.let_it_be_seen()
    assert not pair.stream.is_quiet()


@pytest.mark.parametrize("end", [b"", b"unread"])
def test_what_nobody_reads_does_not_turn_the_hub(pair: Pair, end: bytes) -> None:
    if end:
        pair.peer.sendall(end)
    else:
        pair.peer.close()
    pair.let_it_be_seen()
    assert iterations(0.3) < 200  # by timers alone; a hub that is turned by a socket makes ten thousands
    assert pair.stream.fired == 1
    assert pair.stream.recv(10, soon()) == end


def test_waiting_costs_no_timer_and_no_watcher_of_its_own() -> None:
    pairs = [Pair() for _ in range(50)]
    active = gevent.get_hub().loop.activecnt
    joins = [background(lambda pair=pair: pair.stream.recv(1, soon())) for pair in pairs]  # type: ignore[misc]
    assert gevent.get_hub().loop.activecnt == active
    for pair in pairs:
        pair.peer.sendall(b"x")
    assert [join() for join in joins] == [b"x"] * 50
    for pair in pairs:
        pair.close()


def test_a_peer_that_is_always_ready_does_not_keep_the_hub_to_itself(pair: Pair) -> None:
    pair.peer.sendall(b"xxx")
    pair.let_it_be_seen()
    others: list[str] = []
    gevent.spawn(others.append, "had a turn")
    assert [pair.stream.recv(1, soon()) for _ in range(3)] == [b"x"] * 3
    assert others == ["had a turn"]


# --- watch ------------------------------------------------------------------------------------------------------------


def watched(stream: GreenletStream) -> list[bool]:
    told: list[bool] = []
    stream.watch(told.append)
    return told


def test_a_hang_up_while_nobody_reads_is_told_once(pair: Pair) -> None:
    told = watched(pair.stream)
    pair.peer.close()
    wait_for(lambda: told)
    assert pair.stream.recv(1, soon()) == b""
    gevent.sleep(0.01)
    assert told == [False]


def test_a_reset_while_nobody_reads_is_told_as_one() -> None:
    stream, peer = tcp_pair()
    told = watched(stream)
    reset(peer)
    wait_for(lambda: told)
    assert told == [True]
    stream.close()


def test_a_hang_up_before_the_watch_began_is_told_too(pair: Pair) -> None:
    pair.peer.close()
    pair.let_it_be_seen()
    told = watched(pair.stream)
    wait_for(lambda: told)
    assert told == [False]


def test_a_hang_up_is_seen_after_bytes_that_came_while_nobody_read(pair: Pair) -> None:
    told = watched(pair.stream)
    pair.peer.sendall(b"a whole upload")
    pair.let_it_be_seen()
    assert pair.stream.recv(100, soon()) == b"a whole upload"
    assert told == []
    pair.peer.close()
    wait_for(lambda: told)
    assert told == [False]


def test_bytes_are_no_hang_up_and_a_watch_can_be_taken_back(pair: Pair) -> None:
    told = watched(pair.stream)
    pair.peer.sendall(b"x")
    pair.let_it_be_seen()
    assert told == []
    pair.stream.watch(None)
    pair.stream.recv(1, soon())
    pair.peer.close()
    pair.let_it_be_seen()
    assert told == []


# --- abort and close --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wait", [lambda stream: stream.recv(1, soon()), lambda stream: stream.send_all(b"x" * MUCH, LATE)]
)
def test_abort_wakes_a_greenlet_that_waits(pair: Pair, wait: Callable[[Any], object]) -> None:
    error = ClientDisconnectedError("gone")
    join = background(lambda: wait(pair.stream))
    pair.stream.abort(error)
    assert join() is error


def test_every_call_after_an_abort_raises_the_first_reason_even_with_bytes_waiting(pair: Pair) -> None:
    error = ClientDisconnectedError("first")
    pair.peer.sendall(b"data")
    pair.let_it_be_seen()
    pair.stream.abort(error)
    pair.stream.abort(ResetError("second"))
    calls: list[Callable[[], object]] = [
        lambda: pair.stream.recv(1, soon()),
        lambda: pair.stream.send_all(b"x", 1.0),
    ]
    for call in calls:
        with pytest.raises(ClientDisconnectedError) as caught:
            call()
        assert caught.value is error
    assert not pair.stream.is_quiet()


def test_close_wakes_those_who_wait_and_tells_them(pair: Pair) -> None:
    reading = background(lambda: pair.stream.recv(1, soon()))
    writing = background(lambda: pair.stream.send_all(b"x" * MUCH, LATE))
    pair.stream.close()
    for outcome in (reading(), writing()):
        assert isinstance(outcome, ResetError)
        assert str(outcome) == "the connection was closed here"


def test_a_closed_stream_raises_ours_and_takes_abort_and_close_again(pair: Pair) -> None:
    pair.stream.close()
    pair.stream.close()
    pair.stream.abort(ClientDisconnectedError())
    pair.stream.reset()
    assert (pair.stream.fileno(), pair.stream.is_quiet()) == (-1, False)
    assert repr(pair.stream) == "<GreenletStream peer fd -1, closed>"
    assert pair.peer.recv(1) == b""
    with pytest.raises(ResetError):
        pair.stream.recv(1, soon())
    with pytest.raises(ResetError):
        pair.stream.send_all(b"x", 1.0)


def test_reset_is_seen_by_the_peer_as_one() -> None:
    stream, peer = tcp_pair()
    stream.reset()
    with pytest.raises(ConnectionResetError):
        peer.recv(1)
    peer.close()


def test_a_greenlet_that_is_killed_leaves_the_stream_usable(pair: Pair) -> None:
    waiting = gevent.spawn(pair.stream.recv, 1, soon())
    gevent.sleep(0)
    waiting.kill()
    pair.peer.sendall(b"x")
    assert pair.stream.recv(1, soon()) == b"x"


def test_close_frees_descriptors_watchers_and_the_stream_itself() -> None:
    loop = gevent.get_hub().loop
    gevent.sleep(0)
    gc.collect()
    descriptors, active = len(os.listdir("/proc/self/fd")), loop.activecnt
    pairs = [Pair() for _ in range(50)]
    joins = [background(lambda pair=pair: pair.stream.send_all(b"x" * MUCH, 60.0)) for pair in pairs]  # type: ignore[misc]
    joins += [background(lambda pair=pair: pair.stream.recv(1, soon(60.0))) for pair in pairs]  # type: ignore[misc]
    streams = [weakref.ref(pair.stream) for pair in pairs]
    for pair in pairs:
        pair.close()
    assert all(isinstance(join(), ResetError) for join in joins)
    del pair, pairs, joins
    gevent.sleep(0)
    gc.collect()
    assert (len(os.listdir("/proc/self/fd")), loop.activecnt) == (descriptors, active)
    assert [stream() for stream in streams if stream() is not None] == []
