from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgiproxy.errors import BadRequestError, ClientDisconnectedError, ContentTooLargeError, ProxyError
from wsgiproxy.http1.body import PIECE, BodyReader
from wsgiproxy.http1.message import CHUNKED, NO_BODY, UNTIL_CLOSE, Framing


class Source:
    """A scripted peer: hands out one piece per call, at most what was asked for, then the end."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.pieces = [piece for piece in pieces if piece]
        self.asked: list[int] = []

    def receive(self, size: int) -> bytes:
        self.asked.append(size)
        if not self.pieces:
            return b""
        piece, rest = self.pieces[0][:size], self.pieces[0][size:]
        self.pieces[:1] = [rest] if rest else []
        return piece


def reader_of(framing: Framing, *pieces: bytes, buffered: bytes = b"") -> BodyReader:
    return BodyReader(framing, buffered, Source(pieces).receive, BadRequestError, ClientDisconnectedError)


def read_all(reader: BodyReader) -> bytes:
    pieces = []
    while piece := reader.read_some():
        pieces.append(piece)
    return b"".join(pieces)


def cut(data: bytes, at: Iterable[int]) -> list[bytes]:
    places = sorted({place % (len(data) + 1) for place in at})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


def outcome(pieces: list[bytes]) -> tuple[object, ...]:
    """What becomes of a chunked body: its payload and what follows, or the kind of refusal."""
    source = Source(pieces)
    reader = BodyReader(CHUNKED, b"", source.receive, BadRequestError, ClientDisconnectedError)
    try:
        payload = read_all(reader)
    except ProxyError as error:
        return (type(error),)
    return payload, reader.leftover() + b"".join(source.pieces)


def refuses(data: bytes, error: type[ProxyError] = BadRequestError) -> None:
    assert outcome([data]) == (error,)
    assert outcome([data[i : i + 1] for i in range(len(data))]) == (error,)


def test_a_sized_body_ends_at_its_length_and_leaves_the_rest() -> None:
    reader = reader_of(Framing(length=5), b"lo", b"never", buffered=b"hel")
    assert read_all(reader) == b"hello"
    assert reader.finished
    assert reader.received == 5
    buffered = reader_of(Framing(length=5), buffered=b"helloGET /")
    assert read_all(buffered) == b"hello"
    assert buffered.leftover() == b"GET /"


def test_a_sized_body_never_asks_for_more_than_its_length() -> None:
    source = Source([b"x" * PIECE, b"y" * 10])
    reader = BodyReader(Framing(length=PIECE + 3), b"", source.receive, BadRequestError, ClientDisconnectedError)
    assert len(read_all(reader)) == PIECE + 3
    assert source.asked == [PIECE, 3]


def test_no_body_asks_for_nothing() -> None:
    source = Source([b"GET /"])
    reader = BodyReader(NO_BODY, b"", source.receive, BadRequestError, ClientDisconnectedError)
    assert reader.read_some() == b""
    assert reader.finished
    assert reader.is_ready()
    assert source.asked == []


def test_a_sized_body_that_is_cut_is_no_end() -> None:
    reader = reader_of(Framing(length=5), b"hell")
    assert reader.read_some() == b"hell"
    for _ in range(2):
        with pytest.raises(ClientDisconnectedError):
            reader.read_some()
    assert not reader.finished


@pytest.mark.parametrize("framing", [Framing(length=10), UNTIL_CLOSE])
def test_what_needs_no_look_into_it_is_received_by_whoever_asks(framing: Framing) -> None:
    reader = reader_of(framing, buffered=b"ab")
    pieces = [bytearray(b"cdef"), bytearray(b"ghij"), bytearray()]
    asked: list[int] = []

    def receive(size: int) -> bytearray:
        asked.append(size)
        return pieces.pop(0)

    assert reader.read_piece(receive) == b"ab"
    assert asked == []
    assert [bytes(reader.read_piece(receive)) for _ in range(3)] == [b"cdef", b"ghij", b""]
    assert (reader.finished, reader.received, reader.leftover()) == (True, 10, b"")
    assert asked == [8, 4] if framing.length else [PIECE] * 3


def test_a_chunked_body_is_never_received_by_another() -> None:
    reader = reader_of(CHUNKED, b"3\r\nabc\r\n0\r\n\r\n")
    assert [reader.read_piece(lambda size: bytearray()) for _ in range(2)] == [b"abc", b""]


def test_a_body_that_whoever_asks_finds_cut_is_no_end() -> None:
    reader = reader_of(Framing(length=10), b"never")
    for _ in range(2):
        with pytest.raises(ClientDisconnectedError, match="10 bytes early"):
            reader.read_piece(lambda size: bytearray())
    assert reader.failed


def test_a_body_until_the_close_ends_there() -> None:
    reader = reader_of(UNTIL_CLOSE, b"b", b"c", buffered=b"a")
    assert read_all(reader) == b"abc"
    assert reader.finished


def test_a_reader_says_when_it_need_not_wait() -> None:
    reader = reader_of(Framing(length=2), b"b", buffered=b"a")
    assert reader.is_ready()
    reader.read_some()
    assert not reader.is_ready()
    reader.read_some()
    assert reader.is_ready()


def test_chunks_that_are_there_come_in_one_piece() -> None:
    reader = reader_of(CHUNKED, buffered=b"3\r\nabc\r\n2\r\nde\r\n5\r\nfg")
    assert reader.read_some() == b"abcdefg"


@pytest.mark.parametrize(
    "data",
    [
        b"5\r\nhello\r\n0\r\n\r\n", b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", b"05\r\nhello\r\n000\r\n\r\n",
        b"5;a=b\r\nhello\r\n0;c\r\n\r\n", b'5;a="b;c"\r\nhello\r\n0\r\n\r\n', b"5 ;a\r\nhello\r\n0\r\n\r\n",
        b'5 ;\ta = b; c\t="\\"\\\xe9;"\r\nhello\r\n0 ; d\r\n\r\n', b"5\r\nhello\r\n0\r\nA: b\r\nC: d\r\n\r\n",
        b"000000000000005\r\nhello\r\n000000000000000\r\n\r\n",
    ],
)  # fmt: skip
def test_a_chunked_body_is_read_and_what_follows_is_left(data: bytes) -> None:
    for pieces in ([data], [data + b"GET /"], [data[i : i + 1] for i in range(len(data))]):
        payload, rest = outcome(pieces)
        assert payload == b"hello"
        assert rest in (b"", b"GET /")


@pytest.mark.parametrize(("size", "length"), [(b"a", 10), (b"A", 10), (b"1f", 31), (b"0010", 16)])
def test_chunk_sizes_are_hexadecimal(size: bytes, length: int) -> None:
    assert outcome([size + b"\r\n" + b"x" * length + b"\r\n0\r\n\r\n"]) == (b"x" * length, b"")


@pytest.mark.parametrize(
    "size",
    [b"", b"g", b"+5", b"-5", b"0x5", b"5_0", b" 5", b"5 ", b"5\t", b"\t5", b"5h", b"5.0", b"5,5", b"\xb2", b"1" * 16,
     b"ffffffffffffffff", b"0" * 16, b"5\x00", b"5\x0b", b"5;a\x00", b"5;a\x7f", b"5 5", b"\r5", b"5\r",
     b"5;", b"5; ", b"5;;a", b"5;a;", b"5;=b", b"5;a=", b"5;a ", b"5;a=b c", b"5;a b", b'5;a="b', b'5;a="b"c',
     b'5;a="\\"', b'5;"a"', b"5;a\xe9", b"5;a=\xe9", b"5;a\r", b'5;a="\r"', b"5=a", b"5,a", b"5:a"],
)  # fmt: skip
def test_a_chunk_size_that_is_not_exactly_one_is_refused(size: bytes) -> None:
    refuses(size + b"\r\nhello\r\n0\r\n\r\n")
    refuses(b"1\r\na\r\n" + size + b"\r\nhello\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    "data",
    [
        b"5\nhello\r\n0\r\n\r\n", b"5\r\nhello\n0\r\n\r\n", b"5\r\nhello0\r\n\r\n", b"5\r\nhelloX\r\n0\r\n\r\n",
        b"5\r\nhello\r\r\n0\r\n\r\n", b"5\r\nhello\r\n\r\n0\r\n\r\n", b"5;a\nb\r\nhello\r\n0\r\n\r\n",
        b"5;a\rb\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n0\n\r\n", b"4\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\nA\r\n\r\n", b"5\r\nhello\r\n0\r\nA : b\r\n\r\n", b"5\r\nhello\r\n0\r\n A: b\r\n\r\n",
        b"5\r\nhello\r\n0\r\nA: b\nC: d\r\n\r\n", b"5\r\nhello\r\n0\r\nA: \x00\r\n\r\n",
        b"0\r\nA: b\r\r\n\r\n", b"0\r\nA: b\r\n\r\r\n\r\n", b"0\r\n: b\r\n\r\n", b"0\r\nA: b\r\n c\r\n\r\n",
        b"0\r\n5\r\nhello\r\n0\r\n\r\n", b"0\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)  # fmt: skip
def test_a_malformed_chunked_body_is_refused(data: bytes) -> None:
    refuses(data)


@pytest.mark.parametrize(
    "data", [b"", b"5", b"5\r", b"5\r\n", b"5\r\nhell", b"5\r\nhello", b"5\r\nhello\r\n", b"5\r\nhello\r\n0",
             b"5\r\nhello\r\n0\r\n", b"5\r\nhello\r\n0\r\n\r", b"5\r\nhello\r\n0\r\nA: b\r\n"]
)  # fmt: skip
def test_a_chunked_body_without_its_very_end_is_cut(data: bytes) -> None:
    refuses(data, ClientDisconnectedError)


@pytest.mark.parametrize(
    "data",
    [b"x", b"5x", b"5 5", b"+", b"5;\x00", b"5\n", b"5\rx", b"\r", b"\n", b"1" * 16, b"5\r\nhellox", b"5\r\nhello\rx",
     b"5\r\nhello\n", b"5\r\nhello\r\nx", b"0\r\n\n", b"0\r\n\rx", b"0\r\nA: b\n", b"0\r\nA: b\rc"],
)  # fmt: skip
def test_what_no_further_byte_can_make_right_is_refused_without_waiting_for_one(data: bytes) -> None:
    refuses(data)


@pytest.mark.parametrize(("length", "right"), [(4092, True), (4093, False)])
@pytest.mark.parametrize("before", [b"", b"1\r\na\r\n"])
@pytest.mark.parametrize("digit", [b"0", b"1"])
def test_the_longest_size_line_is_the_same_however_it_arrives(
    length: int, right: bool, before: bytes, digit: bytes
) -> None:
    line = digit + b";" + b"e" * length + b"\r\n"
    data = before + line + (b"a\r\n0\r\n" if digit == b"1" else b"") + b"\r\n"
    whole, split = outcome([data]), outcome([data[i : i + 1] for i in range(len(data))])
    assert whole == split
    assert (whole != (BadRequestError,)) is right


@pytest.mark.parametrize(("chunks", "right"), [(160, True), (170, False)])
def test_extensions_are_bounded_in_sum(chunks: int, right: bool) -> None:
    data = (b"1;" + b"e" * 99 + b"\r\na\r\n") * chunks + b"0\r\n\r\n"
    assert (outcome([data]) == (b"a" * chunks, b"")) is right


@pytest.mark.parametrize(
    ("trailers", "right"),
    [
        (b"A: b\r\n" * 100, True), (b"A: b\r\n" * 101, False),
        (b"A: " + b"b" * 8189 + b"\r\n", True), (b"A: " + b"b" * 8190 + b"\r\n", False),
    ],
)  # fmt: skip
def test_trailers_are_bounded_however_they_arrive(trailers: bytes, right: bool) -> None:
    data = b"0\r\n" + trailers + b"\r\n"
    whole, split = outcome([data]), outcome([data[i : i + 1] for i in range(len(data))])
    assert whole == split == ((b"", b"") if right else (BadRequestError,))


@pytest.mark.parametrize("framing", [CHUNKED, Framing(length=1), UNTIL_CLOSE, NO_BODY])
def test_trailers_are_there_once_a_chunked_body_is_over(framing: Framing) -> None:
    wire = b"1\r\na\r\n0\r\nA: b \r\nX_Y:c\r\nA: d\r\n\r\n"
    for pieces in ([wire], [wire[i : i + 1] for i in range(len(wire))]):
        reader = reader_of(framing, *pieces)
        while not reader.finished:
            assert reader.trailers() == []
            reader.read_some()
        assert reader.trailers() == ([("A", "b"), ("X_Y", "c"), ("A", "d")] if framing.chunked else [])


def test_a_body_without_trailers_or_with_bad_ones_has_none() -> None:
    assert read_all(good := reader_of(CHUNKED, b"1\r\na\r\n0\r\n\r\n")) == b"a"
    assert good.trailers() == []
    for wire in (b"0\r\nA: b\r\nC : d\r\n\r\n", b"0\r\nA: b\r\n"):
        bad = reader_of(CHUNKED, wire)
        with pytest.raises(ProxyError):
            read_all(bad)
        assert bad.trailers() == []


def test_a_body_that_was_refused_after_its_end_has_no_trailers() -> None:
    reader = reader_of(CHUNKED, b"0\r\nA: b\r\n\r\n")
    assert read_all(reader) == b""
    with pytest.raises(ContentTooLargeError):
        reader.refuse(ContentTooLargeError("too much"))
    assert reader.trailers() == []


@pytest.mark.parametrize("endless", [b"1;e", b"0;e", b"0\r\nA: ", b"0\r\n" + b"A: b\r\n"])
def test_an_endless_line_is_refused_after_a_bounded_number_of_bytes(endless: bytes) -> None:
    source = Source([endless, *[b"x: y\r\n" if endless.endswith(b"\n") else b"e" * 100] * 10_000])
    reader = BodyReader(CHUNKED, b"", source.receive, BadRequestError, ClientDisconnectedError)
    with pytest.raises(BadRequestError):
        read_all(reader)
    assert len(source.asked) < 1_500


def test_nothing_is_read_past_a_mistake() -> None:
    reader = reader_of(CHUNKED, b"5\r\nhello\r\n0\r\n\r\n", buffered=b"0\r\n5\r\nhello\r\n\r\n")
    for _ in range(3):
        with pytest.raises(BadRequestError):
            reader.read_some()
    assert not reader.finished


def test_a_body_that_was_refused_never_finishes() -> None:
    reader = reader_of(Framing(length=3), buffered=b"abc")
    assert reader.read_some() == b"abc"
    for refuse in (lambda: reader.refuse(ContentTooLargeError("too much")), reader.read_some):
        with pytest.raises(ContentTooLargeError):
            refuse()
    assert not reader.finished


def test_many_tiny_chunks_take_linear_time() -> None:
    data = b"1\r\na\r\n" * 100_000 + b"0\r\n\r\n"
    started = time.process_time()
    assert outcome(cut(data, range(0, len(data), 65536))) == (b"a" * 100_000, b"")
    assert time.process_time() - started < 2


EXTENSIONS = st.sampled_from([b"", b";a", b";a=b", b' ; a="b c"', b"\t;a\t= b;c"])
CHUNK = st.tuples(st.binary(min_size=1, max_size=40), EXTENSIONS, st.sampled_from([b"%x", b"%X", b"%06x"]))
FRAGMENTS = [
    b"5\r\nhello\r\n",
    b"1\r\na\r\n",
    b"0\r\n",
    b"\r\n",
    b"0",
    b"5",
    b"A: b\r\n",
    b"\n",
    b"\r",
    b";x",
    b" ",
    b"h",
]


@given(st.lists(CHUNK), st.lists(st.integers(0, 5000)), st.sampled_from([b"", b"A: b\r\n"]), st.binary(max_size=20))
def test_chunks_come_back_whole_at_any_split(
    chunks: list[tuple[bytes, bytes, bytes]], at: list[int], trailers: bytes, after: bytes
) -> None:
    wire = b"".join(form % len(data) + extension + b"\r\n" + data + b"\r\n" for data, extension, form in chunks)
    payload = b"".join(data for data, _, _ in chunks)
    assert outcome(cut(wire + b"0\r\n" + trailers + b"\r\n" + after, at)) == (payload, after)


@given(st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=3)), st.lists(st.integers(0, 200)))
def test_the_outcome_never_depends_on_the_split(fragments: list[bytes], at: list[int]) -> None:
    data = b"".join(fragments)
    assert outcome(cut(data, at)) == outcome([data])
    assert outcome([data[i : i + 1] for i in range(len(data))]) == outcome([data])


def test_both_sides_may_have_errors_of_their_own() -> None:
    made: Callable[..., BodyReader] = BodyReader
    with pytest.raises(ContentTooLargeError):
        made(CHUNKED, b"zz\r\n", Source([]).receive, ContentTooLargeError, ClientDisconnectedError).read_some()
