"""Whatever the bytes are, and however they are split: well-formed messages, or a clean refusal, and always the same."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpus import strategies as made
from tests.corpus.reading import Answer, Requests, Source, at, in_bytes, read_answer, read_requests
from wsgiproxy.errors import (
    BackendProtocolError,
    BadRequestError,
    ClientDisconnectedError,
    ClientError,
    TruncatedBodyError,
)
from wsgiproxy.http1.body import BodyReader
from wsgiproxy.http1.message import CHUNKED
from wsgiproxy.http1.writer import field_lines, request_head

TOKEN_CHARACTERS = set(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
FORBIDDEN = set(range(0x20)) - {0x09} | {0x7F}
METHODS = st.sampled_from(["GET", "HEAD", "POST"])
some = settings(max_examples=300, deadline=None)


def check_requests(data: bytes, cuts: list[int]) -> Requests:
    """What came of the bytes, which is the same in any pieces; every message in it is well-formed."""
    found = read_requests([data])
    assert found.error is None or isinstance(found.error, ClientError)
    assert read_requests(at(data, cuts)).summary() == found.summary()
    assert read_requests(in_bytes(data)).summary() == found.summary()
    for request in found.requests:
        head = request.head
        assert set(head.method.encode()) <= TOKEN_CHARACTERS
        assert all(0x20 < code < 0x7F for code in head.target.encode("latin-1"))
        assert head.version in ("HTTP/1.0", "HTTP/1.1")
        check_fields(head.fields)
        names = [name.lower() for name, _ in head.fields]
        assert names.count("host") == 1 or (head.version == "HTTP/1.0" and "host" not in names)
        assert names.count("content-length") + names.count("transfer-encoding") <= 1
        if "content-length" in names:
            assert head.framing.length == len(request.body)
    return found


def check_answer(data: bytes, method: str, cuts: list[int]) -> Answer:
    """The same for an answer."""
    found = read_answer([data], method)
    assert found.error is None or isinstance(found.error, BackendProtocolError | TruncatedBodyError)
    assert read_answer(at(data, cuts), method).summary() == found.summary()
    assert read_answer(in_bytes(data), method).summary() == found.summary()
    if found.head is not None:
        check_fields(found.head.fields)
        assert found.head.framing.length is None or found.error or found.head.framing.length == len(found.body)
    return found


def check_fields(fields: list[tuple[str, str]]) -> None:
    """Names are tokens; no value holds a control character, or white space around it."""
    for name, value in fields:
        assert name
        assert set(name.encode("latin-1")) <= TOKEN_CHARACTERS
        assert not FORBIDDEN & set(value.encode("latin-1"))
        assert value == value.strip(" \t")


@some
@given(data=made.anything, cuts=made.splits)
def test_any_bytes_are_requests_or_are_refused(data: bytes, cuts: list[int]) -> None:
    check_requests(data, cuts)


@some
@given(data=made.request_like, cuts=made.splits)
def test_near_requests_are_requests_or_are_refused(data: bytes, cuts: list[int]) -> None:
    check_requests(data, cuts)


@some
@given(data=made.request_bytes(), cuts=made.splits)
def test_changed_cases_are_requests_or_are_refused(data: bytes, cuts: list[int]) -> None:
    check_requests(data, cuts)


@some
@given(data=made.anything | made.answer_like, method=METHODS, cuts=made.splits)
def test_any_bytes_are_an_answer_or_are_refused(data: bytes, method: str, cuts: list[int]) -> None:
    check_answer(data, method, cuts)


@some
@given(data=made.answer_bytes(), method=METHODS, cuts=made.splits)
def test_changed_answers_are_answers_or_are_refused(data: bytes, method: str, cuts: list[int]) -> None:
    check_answer(data, method, cuts)


@some
@given(requests=st.lists(made.good_requests(), min_size=1, max_size=3), cuts=made.splits)
def test_good_requests_are_read_as_they_were_meant(requests: list[made.Made], cuts: list[int]) -> None:
    found = check_requests(b"".join(request.data for request in requests), cuts)
    assert found.error is None
    assert not found.partial
    assert len(found.requests) == len(requests)
    for read, request in zip(found.requests, requests, strict=True):
        head = read.head
        assert (head.method, head.target, read.body) == (request.method, request.target, request.body)
        assert (head.fields, head.framing.chunked) == (request.fields, request.chunked)


@some
@given(request=made.good_requests())
def test_a_request_that_was_read_and_is_written_is_read_the_same(request: made.Made) -> None:
    (first,) = read_requests([request.data]).requests
    host, *others = sorted(first.head.fields, key=lambda field: field[0].lower() != "host")
    head = request_head(first.head.method, first.head.target, host[1], field_lines(others), "")
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(first.body), first.body) if request.chunked and first.body else first.body
    (second,) = read_requests([head + (body or (b"0\r\n\r\n" if request.chunked else b""))]).requests
    assert (second.head.target, second.head.framing, second.body) == (first.head.target, first.head.framing, first.body)
    assert sorted(second.head.fields[1:]) == sorted(others)


@some
@given(body=st.binary(max_size=300), data=st.data(), cuts=made.splits, behind=st.binary(max_size=20))
def test_a_chunked_body_is_read_to_its_end_and_no_further(
    body: bytes, data: st.DataObject, cuts: list[int], behind: bytes
) -> None:
    wire = data.draw(made.chunks(body)) + b"X-A: b\r\n\r\n"
    source = Source(at(wire + behind, cuts))
    reader = BodyReader(CHUNKED, b"", source.recv, BadRequestError, ClientDisconnectedError)
    read = b""
    while not reader.finished:
        read += reader.read_some()
    assert read == body
    assert reader.leftover() + source.rest() == behind
