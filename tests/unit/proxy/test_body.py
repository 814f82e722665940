from __future__ import annotations

import io
import time
from math import inf
from typing import Any

import pytest

from wsgiproxy.errors import ClientDisconnectedError, ContentTooLargeError, ExchangeTimeout, RequestTimeout
from wsgiproxy.http1.message import CHUNKED, Fields, Framing
from wsgiproxy.proxy.body import HostInput, ReplayableBody, body_of
from wsgiproxy.transport.stream import InterruptedWaitError


class Input:
    """A foreign ``wsgi.input`` that counts what is asked of it and ends where it must not be read."""

    def __init__(self, data: bytes, error: Exception | None = None) -> None:
        self.data = io.BytesIO(data)
        self.asked: list[int] = []
        self.error = error

    def read(self, size: int) -> bytes:
        self.asked.append(size)
        piece = self.data.read(size)
        if not piece and self.error is not None:
            raise self.error
        return piece


def all_of(body: Any) -> bytes:
    data = b""
    while piece := body.read_some():
        data += piece
    return data


def test_a_sized_input_is_read_in_modest_pieces_and_never_past_its_end() -> None:
    source = Input(b"x" * 40_000 + b"the next request")
    body = HostInput(source, Framing(length=40_000))
    assert all_of(body) == b"x" * 40_000
    assert body.read_some() == b""
    assert source.asked == [16384, 16384, 7232]


def test_a_terminated_input_is_read_to_its_end() -> None:
    assert all_of(HostInput(Input(b"x" * 40_000), CHUNKED)) == b"x" * 40_000


@pytest.mark.parametrize("kind", [type("Bytes", (bytes,), {}), bytearray, memoryview])
def test_a_host_may_give_bytes_of_any_kind(kind: Any) -> None:
    class Source(io.BytesIO):
        def read(self, size: int | None = -1) -> Any:
            return kind(super().read(size))

    assert type(HostInput(Source(b"abc"), Framing(length=3)).read_some()) is bytes


@pytest.mark.parametrize("error", [None, OSError("gone"), EOFError("gone"), ConnectionResetError()])
def test_an_input_that_ends_early_is_a_client_that_has_gone(error: Exception | None) -> None:
    body = HostInput(Input(b"half", error), Framing(length=9))
    assert body.read_some() == b"half"
    with pytest.raises(ClientDisconnectedError):
        body.read_some()


def replayable(*pieces: bytes, length: int | None = None, limit: float = inf) -> tuple[ReplayableBody, list[bytes]]:
    source = list(pieces)

    class Source:
        def read_some(self) -> bytes:
            return source.pop(0) if source else b""

        def read_piece(self) -> bytes:
            return b"piece " + self.read_some()

        def interrupt(self) -> None:
            raise InterruptedWaitError

        def trailers(self) -> Fields:
            return [("X-Checksum", "1")]

    return ReplayableBody(Source(), length, limit), source


def test_a_body_up_to_64_kib_can_be_sent_again_from_any_point() -> None:
    pieces = [b"a" * 30_000, b"b" * 30_000, b"c" * 5536]
    body, left = replayable(*pieces)
    body.read_some()
    body.rewind()
    assert body.read_some() == pieces[0]
    assert body.read_some() == pieces[1]
    for _ in range(2):
        body.rewind()
        assert all_of(body) == b"".join(pieces)
        assert body.can_rewind
    assert left == []


def test_a_body_over_64_kib_streams_through_and_is_not_kept() -> None:
    body, _ = replayable(b"a" * 65_536, b"b", b"c")
    first = body.read_some()
    assert body.can_rewind
    body.rewind()
    assert body.read_some() == first
    assert body.read_some() == b"b"
    assert not body.can_rewind
    assert body._kept == []
    assert all_of(body) == b"c"


# --- the beginning, before a backend is asked -------------------------------------------------------------------------


def test_a_small_body_is_fetched_whole_and_handed_on_as_one_piece() -> None:
    body, left = replayable(b"he", b"l", b"lo", length=5)
    body.prefetch()
    assert left == []
    for _ in range(2):
        assert body.read_some() == b"hello"
        assert body.read_some() == b""
        assert body.can_rewind
        body.rewind()


def test_of_a_large_body_the_first_64_kib_are_fetched() -> None:
    body, left = replayable(b"a" * 40_000, b"b" * 40_000, b"c" * 40_000, length=120_000)
    body.prefetch()
    assert left == [b"c" * 40_000]
    assert body.can_rewind
    assert body.read_some() == b"a" * 40_000 + b"b" * 40_000
    body.rewind()
    assert all_of(body) == b"a" * 40_000 + b"b" * 40_000 + b"c" * 40_000
    assert not body.can_rewind


def test_nothing_is_fetched_of_a_body_of_unknown_length() -> None:
    body, left = replayable(b"a", b"b")
    body.prefetch()
    assert left == [b"a", b"b"]
    assert all_of(body) == b"ab"


def test_a_client_that_ends_early_is_found_out_while_its_body_is_fetched() -> None:
    body = body_of({"wsgi.input": Input(b"half")}, Framing(length=9))
    with pytest.raises(ClientDisconnectedError):
        body.prefetch()


# --- the route's limit ------------------------------------------------------------------------------------------------


def test_a_known_length_over_the_limit_is_refused_without_a_look_at_the_body() -> None:
    with pytest.raises(ContentTooLargeError, match="the request body is longer than 10 bytes"):
        body_of({}, Framing(length=11), 10)
    assert all_of(body_of({"wsgi.input": Input(b"x" * 10)}, Framing(length=10), 10)) == b"x" * 10


def test_an_unknown_length_is_counted_while_it_is_read() -> None:
    body, _ = replayable(b"12345", b"67890", b"!", limit=10)
    assert (body.read_some(), body.read_some()) == (b"12345", b"67890")
    for _ in range(2):
        with pytest.raises(ContentTooLargeError):
            body.read_some()


# --- pieces that may stay in the kernel -------------------------------------------------------------------------------


def test_the_beginning_is_read_and_kept_and_what_follows_may_stay_in_the_kernel() -> None:
    body, source = replayable(b"a" * 65_536, b"b", b"c", length=65_538)
    body.prefetch()
    assert [body.read_piece(), body.can_rewind] == [b"a" * 65_536, True]
    body.rewind()
    assert [body.read_piece(), len(source)] == [b"a" * 65_536, 2]
    assert [body.read_piece(), body.read_piece()] == [b"piece b", b"piece c"]
    assert not body.can_rewind


def test_a_piece_counts_towards_the_limit() -> None:
    body, _ = replayable(b"a" * 65_536, b"b" * 100, limit=65_600)
    assert body.read_piece() == b"a" * 65_536
    with pytest.raises(ContentTooLargeError):
        body.read_piece()


# --- what is asked of the source --------------------------------------------------------------------------------------


def test_interrupts_and_trailers_are_those_of_the_source() -> None:
    body, _ = replayable(b"a")
    assert body.trailers() == [("X-Checksum", "1")]
    with pytest.raises(InterruptedWaitError):
        body.interrupt()


def test_an_interrupted_wait_loses_nothing() -> None:
    class Interrupted:
        steps: list[Any] = [b"a", InterruptedWaitError(), b"b"]  # noqa: RUF012 - one instance alone

        def read_some(self) -> bytes:
            step = self.steps.pop(0) if self.steps else b""
            if isinstance(step, BaseException):
                raise step
            return step  # type: ignore[no-any-return]

    source: Any = Interrupted()
    body = ReplayableBody(source)
    assert body.read_some() == b"a"
    with pytest.raises(InterruptedWaitError):
        body.read_some()
    assert all_of(body) == b"b"
    body.rewind()
    assert all_of(body) == b"ab"


def test_a_hosts_input_knows_neither() -> None:
    body = body_of({"wsgi.input": Input(b"a")}, Framing(length=1))
    body.interrupt()
    assert body.trailers() == []


class Stalling:
    """An input of our own server, whose client is late."""

    ends_by = inf

    def end_by(self, instant: float) -> None:
        self.ends_by = instant

    def read_some(self) -> bytes:
        raise RequestTimeout("nothing came in time")

    read_piece = read_some


@pytest.mark.parametrize(("left", "error"), [(20.0, RequestTimeout), (-1.0, ExchangeTimeout)])
@pytest.mark.parametrize("read", ["read_some", "read_piece", "prefetch"])
def test_a_late_client_is_late_by_its_own_time_or_by_the_exchanges(
    read: str, left: float, error: type[Exception]
) -> None:
    source: Any = Stalling()
    body = ReplayableBody(source, 100_000, keep=0 if read == "read_piece" else 100)
    body.end_by(time.monotonic() + left)
    assert source.ends_by < inf
    with pytest.raises(error):
        getattr(body, read)()


def test_the_waits_of_a_foreign_host_are_its_own() -> None:
    body = ReplayableBody(HostInput(Input(b"hello"), Framing(length=5)), 5)
    body.end_by(0.0)
    assert all_of(body) == b"hello"
