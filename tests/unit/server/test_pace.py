from __future__ import annotations

import time
from math import inf

import pytest

from wsgiproxy.config import schema
from wsgiproxy.errors import RequestTimeout
from wsgiproxy.server.pace import BodySource, Pace
from wsgiproxy.transport.stream import InterruptedWaitError, Stream


class Wire:
    """A stream that gives what it has, takes its time, and notes the seconds that it was given."""

    def __init__(self, *pieces: bytes, delay: float = 0.0) -> None:
        self.pieces = list(pieces)
        self.delay = delay
        self.given: list[float] = []
        self.interrupted = 0

    def recv(self, size: int, deadline: float) -> bytes:
        left = deadline - time.monotonic()
        self.given.append(left)
        if left < self.delay:
            raise RequestTimeout("late")
        time.sleep(self.delay)
        return self.pieces.pop(0)

    def send_all(self, data: bytes, timeout: float, deadline: float = inf) -> None:
        assert timeout == 60.0
        self.given.append(deadline - time.monotonic())

    def interrupt(self) -> None:
        self.interrupted += 1


def pace_of(rate: int, **timeouts: float) -> Pace:
    return Pace(schema.ClientTimeouts(**timeouts), schema.Limits(min_rate=rate))


def source_of(wire: object, pace: Pace, received: int = 0) -> BodySource:
    assert isinstance(wire, Wire)
    stream: Stream = wire  # type: ignore[assignment]
    return BodySource(stream, pace, received)


def sent(pace: Pace, size: int, over: float = inf) -> float:
    wire = Wire()
    pace.send(wire, bytes(size), over)  # type: ignore[arg-type]
    return wire.given[0]


def test_a_client_gets_the_timeout_and_time_for_each_byte_to_take_an_answer() -> None:
    assert sent(pace_of(100), 1) == pytest.approx(60.01, abs=0.005)
    assert sent(pace_of(100), 100_000) == pytest.approx(1060, abs=0.1)


def test_the_whole_answer_may_have_its_own_end() -> None:
    assert sent(pace_of(100), 100_000, time.monotonic() + 5) == pytest.approx(5, abs=0.1)


def test_without_a_rate_any_pace_will_do() -> None:
    assert sent(pace_of(0), 1) == inf


def test_each_piece_of_a_body_has_its_timeout() -> None:
    wire = Wire(b"a", b"b")
    source = source_of(wire, pace_of(0, body=2.0))
    assert [source.receive(10), source.receive(10)] == [b"a", b"b"]
    assert wire.given == [pytest.approx(2, abs=0.05)] * 2


def test_the_waits_for_a_body_add_up() -> None:
    wire = Wire(*[b"xx"] * 20, delay=0.02)
    source = source_of(wire, pace_of(1000, body=0.1))
    with pytest.raises(RequestTimeout):
        for _ in range(20):
            source.receive(10)
    assert 3 <= len(wire.given) <= 8
    assert wire.given == sorted(wire.given, reverse=True)


def test_bytes_buy_time() -> None:
    wire = Wire(*[bytes(100)] * 20, delay=0.02)
    source = source_of(wire, pace_of(1000, body=0.1))
    for _ in range(20):
        source.receive(100)
    assert max(wire.given) == pytest.approx(0.1, abs=0.01)  # but no more than the timeout at once


def test_what_came_with_the_head_counts() -> None:
    wire = Wire(*[b"x"] * 20, delay=0.02)
    source = source_of(wire, pace_of(1000, body=0.1), received=400)
    for _ in range(20):
        source.receive(10)


def test_time_that_is_not_spent_waiting_for_the_client_does_not_count() -> None:
    wire = Wire(b"x", b"x")
    source = source_of(wire, pace_of(1000, body=0.1))
    source.receive(10)
    time.sleep(0.12)
    source.receive(10)


def test_all_waiting_may_have_an_end() -> None:
    wire = Wire(b"x")
    source = source_of(wire, pace_of(240))
    source.over = time.monotonic() + 1
    source.receive(10)
    assert wire.given[0] < 1


def test_only_a_wait_for_the_body_is_interrupted() -> None:
    class Interrupted(Wire):
        def recv(self, size: int, deadline: float) -> bytes:
            source.interrupt()
            raise InterruptedWaitError

    wire = Interrupted()
    source = source_of(wire, pace_of(240))
    source.interrupt()
    assert wire.interrupted == 0
    with pytest.raises(InterruptedWaitError):
        source.receive(10)
    assert wire.interrupted == 1
    source.interrupt()
    assert wire.interrupted == 1


def test_an_interrupt_that_bytes_were_quicker_than_ends_the_next_wait() -> None:
    class Quicker(Wire):
        def recv(self, size: int, deadline: float) -> bytes:
            source.interrupt()
            return super().recv(size, deadline)

    source = source_of(Quicker(b"5;", b"a"), pace_of(240))
    assert source.receive(10) == b"5;"
    for _ in range(2):  # until whoever reads the body asks for a piece anew
        with pytest.raises(InterruptedWaitError):
            source.receive(10)
    source.interrupted = False
    assert source.receive(10) == b"a"
