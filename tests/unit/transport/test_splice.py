"""Pieces that stay in the kernel: every byte gets through once, every end and failure is seen, no pipe is left."""

from __future__ import annotations

import contextlib
import errno
import functools
import gc
import os
import random
import socket
import time
from collections.abc import Iterator
from typing import Any

import gevent
import gevent.socket
import pytest

from tests.loopback import driver, wait_for
from tests.scripted import background
from tests.unit.transport.lines import PIECE, Line, descriptors, send, tcp
from tests.unit.transport.pairs import LATE, MUCH, reset, soon, taken
from wsgiproxy.errors import ClientDisconnectedError, ProxyError, ReadTimeout, ResetError, WriteTimeout
from wsgiproxy.transport import splice
from wsgiproxy.transport.splice import Piped, PipePool
from wsgiproxy.transport.stream import BACKEND, SWEEP_INTERVAL, InterruptedWaitError
from wsgiproxy.transport.thread import stream_for

DATA = random.Random(4).randbytes(MUCH)


@pytest.fixture(params=[tcp, socket.socketpair], ids=["tcp", "unix"])
def line(request: pytest.FixtureRequest) -> Iterator[Line]:
    """A line that leaves no descriptor open and whose pool never keeps a pipe with something in it."""
    gevent.sleep(0)
    driver()
    gc.collect()
    before = descriptors()
    line = Line(request.param)
    yield line
    for read_end, _ in line.pool._idle:
        with pytest.raises(BlockingIOError):
            os.read(read_end, 1)
    line.close()
    gc.collect()
    wait_for(lambda: descriptors() <= before, "all descriptors to be closed")
    assert repr(line.pool).startswith("<PipePool 0 open, 0 idle")


# --- what gets through ------------------------------------------------------------------------------------------------


def test_everything_gets_through_in_order_and_then_the_end(line: Line) -> None:
    send(line.origin, DATA)
    pumping = background(line.pump)
    assert taken(line.target, MUCH) == DATA
    assert pumping() >= MUCH // PIECE
    assert repr(line.pool) == "<PipePool 1 open, 1 idle>"


def test_a_piece_is_no_larger_than_was_asked_for(line: Line) -> None:
    line.origin.sendall(b"hello")
    piece = line.source.recv_piece(2, soon())
    assert (len(piece), bytes(piece)) == (2, b"he")
    assert line.source.recv(100, soon()) == b"llo"


def test_a_piece_can_be_had_as_bytes_which_empties_it(line: Line) -> None:
    line.origin.sendall(DATA[:100])
    piece = line.source.recv_piece(PIECE, soon())
    assert repr(piece).startswith("<Piped 100 bytes, fd ")
    assert (bytes(piece), len(piece), bytes(piece)) == (DATA[:100], 0, b"")
    assert len(line.pool._idle) == 1


def test_a_stream_that_cannot_splice_takes_a_piece_all_the_same(line: Line) -> None:
    other = stream_for(line.target, BACKEND)
    assert not other.splices
    line.origin.sendall(b"hello")
    piece = line.source.recv_piece(PIECE, soon())
    other.send_all(piece, LATE)
    assert line.sink.recv(100, soon()) == b"hello"
    line.sink.send_all(b"back", LATE)
    assert other.recv_piece(100, soon()) == b"back"


def test_a_fast_line_lets_others_run_between_two_pieces(line: Line) -> None:
    turns = 0

    def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            gevent.sleep(0)

    send(line.origin, DATA)
    other = gevent.spawn(count)
    pumping = background(line.pump)
    taken(line.target, MUCH)
    piped = pumping()
    other.kill()
    assert turns >= piped / 2


def test_urgent_data_does_not_hold_a_stream_up() -> None:
    line = Line(tcp)
    line.origin.sendall(b"before")
    line.origin.send(b"!", socket.MSG_OOB)
    line.origin.sendall(b"after")
    line.origin.shutdown(socket.SHUT_WR)
    wait_for(lambda: not line.source.is_quiet())
    started = time.process_time()
    line.pump()
    assert taken(line.target, 11) == b"beforeafter"
    assert time.process_time() - started < 1
    line.close()


# --- what does not ----------------------------------------------------------------------------------------------------


def test_a_source_that_is_silent_is_late(line: Line) -> None:
    started = time.monotonic()
    with pytest.raises(ReadTimeout):
        line.source.recv_piece(PIECE, soon(0.1))
    assert 0.1 <= time.monotonic() - started < 0.1 + SWEEP_INTERVAL + LATE
    line.origin.sendall(b"late")  # one wait has ended, not the stream
    assert bytes(line.source.recv_piece(PIECE, soon())) == b"late"


def test_a_sink_that_takes_nothing_is_late_and_what_it_did_not_take_is_never_seen_again(line: Line) -> None:
    send(line.origin, DATA)
    with pytest.raises(WriteTimeout):
        line.pump(0.2)
    assert line.pool._idle == []
    received = bytearray()
    with contextlib.suppress(BlockingIOError):
        line.target.setblocking(False)
        while piece := line.target.recv(1 << 20):
            received += piece
    assert received == DATA[: len(received)]
    line.sink.send_all(b"and goes on", LATE)
    assert taken(line.target, 11) == b"and goes on"


def test_a_sink_has_no_longer_than_to_the_deadline_however_much_it_takes(line: Line) -> None:
    send(line.origin, DATA)
    drained = gevent.spawn(functools.partial(sip, line.target))
    started = time.monotonic()
    with pytest.raises(WriteTimeout):
        while len(piece := line.source.recv_piece(PIECE, soon())):
            line.sink.send_all(piece, LATE, started + 0.3)
    assert 0.3 <= time.monotonic() - started < 0.3 + SWEEP_INTERVAL + LATE
    drained.kill()


def sip(sock: socket.socket) -> None:
    """Read, but slowly."""
    sock.setblocking(False)
    while True:
        gevent.sleep(0.02)
        with contextlib.suppress(BlockingIOError):
            sock.recv(64 * 1024)


def test_a_sink_that_takes_a_little_now_and_then_is_not_late(line: Line) -> None:
    send(line.origin, DATA[: 2 * PIECE])
    drained = gevent.spawn(functools.partial(sip, line.target))
    line.pump(0.5)
    drained.kill()


def test_a_reset_of_the_source_is_no_end() -> None:
    line = Line(tcp)
    line.origin.sendall(b"x")
    assert bytes(line.source.recv_piece(PIECE, soon())) == b"x"
    waiting = background(lambda: line.source.recv_piece(PIECE, soon()))
    reset(line.origin)
    assert isinstance(waiting(), ResetError)
    line.close()


def test_a_reset_that_nobody_waited_for_is_no_end_either() -> None:
    line = Line(tcp)
    reset(line.origin)
    wait_for(lambda: not line.source.is_quiet())
    with pytest.raises(ResetError):
        line.source.recv_piece(PIECE, soon())
    line.close()


@pytest.mark.parametrize("leave", [socket.socket.close, reset])
def test_a_sink_that_goes_away_is_a_reset_and_its_pipe_is_closed(line: Line, leave: Any) -> None:
    send(line.origin, DATA)
    pumping = background(line.pump)
    taken(line.target, 100)
    leave(line.target)
    assert isinstance(pumping(), ResetError)
    assert repr(line.pool) == "<PipePool 0 open, 0 idle>"


def test_the_end_of_the_source_comes_after_its_last_byte(line: Line) -> None:
    line.origin.sendall(DATA[:1000])
    line.origin.close()
    line.pump()
    assert taken(line.target, 1000) == DATA[:1000]
    assert line.source.recv_piece(PIECE, soon()) == b""


@pytest.mark.parametrize("which", ["source", "sink"])
@pytest.mark.parametrize("how", ["abort", "close"])
def test_an_abort_ends_either_wait(line: Line, which: str, how: str) -> None:
    if which == "sink":
        send(line.origin, DATA)
    pumping = background(line.pump)
    gevent.sleep(0.05)
    stream = getattr(line, which)
    error = ClientDisconnectedError("gone")
    stream.close() if how == "close" else stream.abort(error)
    assert pumping() is error or how == "close"
    assert isinstance(pumping(), ProxyError)
    with pytest.raises(ProxyError):
        line.source.recv_piece(1, soon()) if which == "source" else line.sink.send_all(b"x", LATE)


def test_an_interrupted_wait_takes_nothing(line: Line) -> None:
    outcome: list[object] = []

    def read() -> None:
        try:
            line.source.recv_piece(PIECE, soon())
        except InterruptedWaitError as error:
            outcome.append(error)

    reading = gevent.spawn(read)
    gevent.sleep(0)
    line.source.interrupt()
    reading.join(LATE)
    assert len(outcome) == 1
    line.origin.sendall(b"all")
    assert bytes(line.source.recv_piece(PIECE, soon())) == b"all"


# --- the pool ---------------------------------------------------------------------------------------------------------


def test_a_piece_that_is_dropped_takes_its_pipe_with_it(line: Line) -> None:
    line.origin.sendall(b"lost")
    before = descriptors()
    piece: object = line.source.recv_piece(PIECE, soon())
    assert descriptors() == before + 2
    del piece
    assert (descriptors(), line.pool._idle) == (before, [])


def test_no_more_pipes_are_open_than_may_be(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splice, "_MOST_OPEN", 2)
    monkeypatch.setattr(splice, "_MOST_IDLE", 1)
    line.origin.sendall(b"abcd")
    pieces = [line.source.recv_piece(1, soon()) for _ in range(4)]
    assert [isinstance(piece, Piped) for piece in pieces] == [True, True, False, False]
    for piece in pieces:
        line.sink.send_all(piece, LATE)
    assert taken(line.target, 4) == b"abcd"
    assert repr(line.pool) == "<PipePool 1 open, 1 idle>"


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_where_no_descriptor_is_left_bytes_are_copied(line: Line, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def pipe2(flags: int) -> tuple[int, int]:
        raise OSError(number, "full")

    monkeypatch.setattr(os, "pipe2", pipe2)
    line.origin.sendall(b"copied")
    assert line.source.recv_piece(PIECE, soon()) == b"copied"
    assert line.pool.able


def test_a_pipe_that_would_be_too_small_is_not_used(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splice, "_SIZES", (1 << 40,))
    before = descriptors()
    line.origin.sendall(b"copied")
    assert line.source.recv_piece(PIECE, soon()) == b"copied"
    assert descriptors() == before


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EPERM])
@pytest.mark.parametrize("fails_at", [0, 1, 2])
def test_where_the_kernel_cannot_splice_nothing_is_lost_and_it_is_not_tried_again(
    line: Line, monkeypatch: pytest.MonkeyPatch, number: int, fails_at: int
) -> None:
    calls = 0

    def failing(*args: Any, **options: Any) -> int:
        nonlocal calls
        calls += 1
        if calls > fails_at:
            raise OSError(number, "cannot")
        return os.splice(args[0], args[1], 1000, flags=options["flags"])

    monkeypatch.setattr(splice, "_splice", failing)
    send(line.origin, DATA[:PIECE])
    pumping = background(line.pump)
    assert taken(line.target, PIECE) == DATA[:PIECE]
    pumping()
    assert calls == fails_at + 1
    assert not line.pool.able


def test_without_splice_there_are_no_pieces(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splice, "_splice", None)
    line.source._pipes = PipePool()
    line.origin.sendall(b"x")
    assert line.source.recv_piece(PIECE, soon()) == b"x"


def test_a_pipe_that_loses_bytes_is_a_failure_and_not_an_end(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    line.origin.sendall(b"x")
    piece = line.source.recv_piece(PIECE, soon())
    monkeypatch.setattr(splice, "_splice", lambda *args, **options: 0)
    with pytest.raises(ResetError):
        line.sink.send_all(piece, LATE)


# --- any sizes, pauses and cuts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(30))
def test_what_arrives_is_a_beginning_of_what_was_sent_and_all_of_it_unless_somebody_was_told(
    line: Line, seed: int
) -> None:
    dice = random.Random(seed)
    size = dice.choice([0, 1, 4096, 65_537, 1_000_000, 3_000_000])
    sent, cut = DATA[:size], dice.choice([None, None, "origin", "target", "abort"])
    cut_at = dice.randrange(size + 1)
    arrived = bytearray()

    def write() -> None:
        line.origin.setblocking(False)
        done = 0
        while done < size:
            if cut == "origin" and done >= cut_at:
                break
            if dice.random() < 0.05:
                gevent.sleep(dice.random() * 0.01)
            gevent.socket.wait_write(line.origin.fileno(), LATE)
            with contextlib.suppress(BlockingIOError):
                done += line.origin.send(sent[done : done + dice.choice([1, 5000, 65_536, 300_000])])
        line.origin.shutdown(socket.SHUT_WR)

    def read() -> None:
        line.target.setblocking(False)
        while True:
            if cut is not None and cut != "origin" and len(arrived) >= cut_at:
                line.target.close() if cut == "target" else line.sink.abort(ClientDisconnectedError("gone"))
                return
            if dice.random() < 0.05:
                gevent.sleep(dice.random() * 0.01)
            gevent.socket.wait_read(line.target.fileno(), LATE)
            piece = line.target.recv(dice.choice([1, 5000, 65_536, 1 << 20]))
            if not piece:
                return
            arrived.extend(piece)

    def pump() -> str:
        line.pump()
        line.sink.shutdown_write()
        return "end"

    tasks = [background(task) for task in (write, read)]
    outcome = background(pump)()
    if outcome == "end":
        if cut not in ("target", "abort"):
            tasks[1]()
            assert len(arrived) == size or cut == "origin"
    else:
        assert isinstance(outcome, ProxyError)
        assert cut in ("target", "abort")
    assert arrived == sent[: len(arrived)]
    gevent.sleep(0.02)
