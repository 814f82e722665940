from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any
from wsgiref.types import StartResponse

import pytest

from tests.unit.upstream.apps import Environ, Result, app_of, fail, read, send
from wsgiproxy.errors import AppError, TruncatedBodyError

# --- start_response ---------------------------------------------------------------------------------------------------


def test_start_response_may_wait_for_the_first_iteration() -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        yield b""
        start_response("201 Created", [("X-Late", "yes")])
        yield b""
        yield b"made"

    response = send(app)
    assert (response.status, response.fields) == (201, [("X-Late", "yes")])
    assert read(response) == b"made"


def test_start_response_may_be_corrected_until_the_first_byte() -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [("X-First", "1"), ("Content-Length", "100")])
        yield b""
        try:
            fail()
        except RuntimeError:
            start_response("500 Oops", [("X-Second", "2")], sys.exc_info())
        yield b"sorry"

    response = send(app)
    assert (response.status, response.fields, response.length) == (500, [("X-Second", "2")], None)
    assert read(response) == b"sorry"


@pytest.mark.parametrize("wrote", [True, False], ids=["written", "yielded"])
def test_after_the_first_byte_a_correction_raises_what_was_wrong(wrote: bool, caplog: Any) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        write = start_response("200 OK", [])
        if wrote:
            write(b"begun")
        else:
            yield b"begun"
        try:
            fail()
        except RuntimeError:
            start_response("500 Oops", [], sys.exc_info())

    if wrote:
        with pytest.raises(AppError, match="boom"):
            send(app)
    else:
        body = send(app).body
        assert next(body) == b"begun"
        with pytest.raises(TruncatedBodyError, match="boom"):
            next(body)


def test_start_response_twice_without_a_reason_is_refused(caplog: Any) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        start_response("200 OK", [])
        return [b"x"]

    with pytest.raises(AppError, match="again without exc_info"):
        send(app)


@pytest.mark.parametrize("result", [[], [b"x"], iter([b"x"])])
def test_an_application_that_never_starts_is_an_error_and_is_closed(result: Any, caplog: Any) -> None:
    closing = Result(*result)
    with pytest.raises(AppError, match="start_response was not called"):
        send(lambda environ, start_response: closing)
    assert closing.closed == 1


def test_what_is_written_comes_before_what_is_returned() -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", [])
        for piece in (b"one ", b"", b"two "):
            write(piece)
        return [b"three ", b"four"]

    response = send(app)
    assert response.length == 18
    assert list(response.body) == [b"one ", b"two ", b"three ", b"four"]


def test_a_generator_may_write_too() -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        write = start_response("200 OK", [])
        yield b"one "
        write(b"two ")
        yield b"three "
        write(b"four")

    assert list(send(app).body) == [b"one ", b"two ", b"three ", b"four"]


# --- what is refused --------------------------------------------------------------------------------------------------

BAD_HEADERS: list[Any] = [
    [("X", "a\r\nSet-Cookie: b=1")],
    [("X", "a\nb")],
    [("X", "a\rb")],
    [("X", "a\0b")],
    [("X", "a\x1bb")],
    [("X", "a\x7fb")],
    [("X", "\u20ac")],
    [("X\r\nY", "a")],
    [("X Y", "a")],
    [("", "a")],
    [("X:", "a")],
    [("X", b"a")],
    [(b"X", "a")],
    [("X", 5)],
    [("X", None)],
    [("X",)],
    [["X", "a"]],
    [("X", "a", "b")],
    [None],
    (("X", "a"),),
    {"X": "a"},
    None,
]


@pytest.mark.parametrize("headers", BAD_HEADERS, ids=repr)
def test_headers_that_would_split_or_spoil_the_answer_are_refused(headers: Any, caplog: Any) -> None:
    with pytest.raises(AppError, match="refused to send"):
        send(app_of([b"x"], headers=headers))


BAD_STATUSES: list[Any] = [
    "200 OK\r\nX: y", "200 O\0K", "OK", "20 OK", "2000 OK", "200OK", "", "101 Up", "\u0662\u0660\u0660 OK",
    200, b"200 OK", None,
]  # fmt: skip


@pytest.mark.parametrize("status", BAD_STATUSES)
def test_a_status_that_is_none_is_refused(status: Any, caplog: Any) -> None:
    with pytest.raises(AppError, match="illegal status"):
        send(app_of([b"x"], status))


@pytest.mark.parametrize("length", ["", "+5", "-1", "5 ", "0x5", "1_0", "5, 5", "\u0665", "9" * 30, "five"])
def test_a_content_length_that_is_no_plain_number_is_refused(length: str, caplog: Any) -> None:
    with pytest.raises(AppError, match="refused to send"):
        send(app_of([b"hello"], headers=[("Content-Length", length)]))


def test_two_content_lengths_are_refused(caplog: Any) -> None:
    with pytest.raises(AppError, match="refused to send"):
        send(app_of([b"hello"], headers=[("Content-Length", "5"), ("content-length", "5")]))


def test_an_application_may_answer_for_a_header_that_was_refused() -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            start_response("200 OK", [("X", "a\r\nb")])
        except AppError:
            start_response("400 Bad", [], sys.exc_info())
        return [b"bad"]

    response = send(app)
    assert (response.status, read(response)) == (400, b"bad")


@pytest.mark.parametrize("result", [None, 5, "text", b"bytes", [b"x", "text"], ["text"], [None], [bytearray(b"x")]])
def test_a_result_that_is_no_iterable_of_bytes_is_an_error(result: Any, caplog: Any) -> None:
    with pytest.raises(AppError):
        send(app_of(result))
