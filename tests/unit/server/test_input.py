from __future__ import annotations

import io
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgiproxy.config import schema
from wsgiproxy.errors import BadRequestError, ClientDisconnectedError, ContentTooLargeError
from wsgiproxy.http1.body import PIECE, BodyReader
from wsgiproxy.http1.message import CHUNKED, Framing
from wsgiproxy.server.input import RequestInput
from wsgiproxy.server.pace import BodySource, Pace
from wsgiproxy.transport.stream import InterruptedWaitError

TEXT = b"one\ntwo two\n\nfour\nlast"


def input_of(data: bytes, *, step: int = 1 << 20, limit: int | None = None, chunked: bool = False) -> RequestInput:
    """An input whose body arrives ``step`` bytes at a time, with the next request right behind it."""
    wire = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if chunked else data
    source = io.BytesIO(wire + b"GET /next")
    framing = CHUNKED if chunked else Framing(length=len(data))

    def receive(size: int) -> bytes:
        return source.read(min(step, size))

    return RequestInput(BodyReader(framing, b"", receive, BadRequestError, ClientDisconnectedError), limit)


@pytest.mark.parametrize("step", [1, 2, 5, 100])
@pytest.mark.parametrize("chunked", [False, True])
class TestReading:
    """The ways to read of PEP 3333, however the bytes arrive."""

    def test_read_returns_what_was_asked_for_and_less_only_at_the_end(self, step: int, chunked: bool) -> None:
        body = input_of(TEXT, step=step, chunked=chunked)
        assert [body.read(4), body.read(0), body.read(10), body.read(1000), body.read(5), body.read()] == [
            TEXT[:4], b"", TEXT[4:14], TEXT[14:], b"", b""
        ]  # fmt: skip

    @pytest.mark.parametrize("size", [-1, None, 22])
    def test_read_without_a_size_returns_everything(self, step: int, chunked: bool, size: int | None) -> None:
        assert input_of(TEXT, step=step, chunked=chunked).read(size) == TEXT

    def test_lines_end_with_their_line_feed(self, step: int, chunked: bool) -> None:
        lines = TEXT.splitlines(keepends=True)
        assert list(input_of(TEXT, step=step, chunked=chunked)) == lines
        assert input_of(TEXT, step=step, chunked=chunked).readlines() == lines
        assert input_of(TEXT, step=step, chunked=chunked).readlines(None) == lines
        body = input_of(TEXT, step=step, chunked=chunked)
        assert [body.readline(None) for _ in range(6)] == [*lines, b""]

    def test_a_line_may_be_asked_for_in_parts(self, step: int, chunked: bool) -> None:
        body = input_of(TEXT, step=step, chunked=chunked)
        assert [body.readline(n) for n in (2, 0, 2, 1, 100, 5, 100)] == [
            b"on", b"", b"e\n", b"t", b"wo two\n", b"\n", b"four\n"
        ]  # fmt: skip

    def test_readlines_stops_after_about_as_many_bytes_as_hinted(self, step: int, chunked: bool) -> None:
        body = input_of(TEXT, step=step, chunked=chunked)
        assert body.readlines(5) == [b"one\n", b"two two\n"]
        assert body.readlines(1) == [b"\n"]
        assert body.readlines(0) == [b"four\n", b"last"]

    def test_the_ways_to_read_may_be_mixed(self, step: int, chunked: bool) -> None:
        body = input_of(TEXT, step=step, chunked=chunked)
        assert [body.readline(), body.read(3), body.readline()] == [b"one\n", b"two", b" two\n"]
        rest = b""
        while piece := body.read_some():
            rest += piece
        assert rest == b"\nfour\nlast"


@given(st.binary(max_size=300), st.integers(1, 50), st.lists(st.tuples(st.booleans(), st.integers(-1, 30))))
def test_it_reads_as_a_file_reads(data: bytes, step: int, calls: list[tuple[bool, int]]) -> None:
    body, file = input_of(data, step=step), io.BytesIO(data)
    for line, size in calls:
        assert (body.readline(size) if line else body.read(size)) == (file.readline(size) if line else file.read(size))


def test_an_empty_body_has_nothing_to_read() -> None:
    body = RequestInput()
    assert (body.read(), body.read(5), body.readline(), body.readlines(), list(body)) == (b"", b"", b"", [], [])
    assert body.read_some() == b""


def test_the_wait_for_100_ends_at_the_first_read() -> None:
    calls: list[str] = []
    reader = BodyReader(Framing(length=2), b"ab", lambda _: b"", BadRequestError, ClientDisconnectedError)
    body = RequestInput(reader, None, lambda: calls.append("continue"))
    assert body.read(0) == b""
    assert calls == []
    assert (body.read(1), body.read()) == (b"a", b"b")
    assert calls == ["continue"]
    assert not body.take_back_continue()


def test_the_promise_of_100_can_be_taken_back() -> None:
    calls: list[str] = []
    reader = BodyReader(Framing(length=2), b"ab", lambda _: b"", BadRequestError, ClientDisconnectedError)
    body = RequestInput(reader, None, lambda: calls.append("continue"))
    assert body.take_back_continue()
    assert not body.take_back_continue()
    assert body.read() == b"ab"
    assert calls == []


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_refused_and_stays_refused(chunked: bool) -> None:
    assert input_of(b"12345", limit=5, chunked=chunked).read() == b"12345"
    body = input_of(b"123456", limit=5, chunked=chunked)
    for _ in range(2):
        with pytest.raises(ContentTooLargeError):
            body.read()


def test_a_large_body_read_in_pieces_does_not_gather() -> None:
    size = 64 * PIECE
    zeros = bytes(PIECE)
    reader = BodyReader(Framing(length=size), b"", lambda n: zeros[:n], BadRequestError, ClientDisconnectedError)
    body = RequestInput(reader)
    tracemalloc.start()
    try:
        total = 0
        while piece := body.read(10_000):
            total += len(piece)
        assert tracemalloc.get_traced_memory()[1] < 4 * PIECE
    finally:
        tracemalloc.stop()
    assert total == size


def test_a_body_read_byte_by_byte_costs_linear_time() -> None:
    body = input_of(bytes(2 * PIECE))
    started = time.process_time()
    assert sum(1 for _ in iter(lambda: body.read(1), b"")) == 2 * PIECE
    assert time.process_time() - started < 2


class Dripping:
    """A client whose bytes come one by one; ``body`` is interrupted in the wait for the fourth, which is quicker."""

    body: RequestInput

    def __init__(self, data: bytes) -> None:
        self.left = io.BytesIO(data)

    def recv(self, size: int, deadline: float) -> bytes:
        if self.left.tell() == 3:
            self.body.interrupt()
        return self.left.read(1)

    recv_piece = recv

    def interrupt(self) -> None:
        """Too late: the wait has ended with a byte."""


def dripping_input(data: bytes) -> RequestInput:
    client: Any = Dripping(data)
    source = BodySource(client, Pace(schema.ClientTimeouts(), schema.Limits()), 0)
    reader = BodyReader(CHUNKED, b"", source.receive, BadRequestError, ClientDisconnectedError)
    body = client.body = RequestInput(reader, source=source)
    return body


@pytest.mark.parametrize("read", [RequestInput.read_some, RequestInput.read_piece])
def test_an_interrupt_is_not_lost_on_a_client_that_drips_and_the_body_can_be_read_on(
    read: Callable[[RequestInput], bytes],
) -> None:
    body = dripping_input(b"5;a=b\r\nhello\r\n0\r\n\r\n")
    with pytest.raises(InterruptedWaitError):
        read(body)
    assert b"".join(iter(lambda: read(body), b"")) == b"hello"


def test_what_an_interrupted_reader_left_can_be_read_away() -> None:
    body = dripping_input(b"5;a=b\r\nhello\r\n0\r\n\r\n")
    with pytest.raises(InterruptedWaitError):
        body.read_some()
    assert body.read_away()
