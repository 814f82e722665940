from __future__ import annotations

from typing import Any

import pytest

from wsgiproxy.http1.writer import (
    LAST_CHUNK,
    checked_field_lines,
    chunk,
    field_lines,
    is_status,
    last_chunk,
    request_head,
    response_head,
)


def test_heads_are_written_as_one_block() -> None:
    lines, hop = field_lines([("X-A", "caf\u00e9")]), "Content-Length: 0\r\n"
    written = b"GET /a?b HTTP/1.1\r\nHost: x\r\nX-A: caf\xe9\r\nContent-Length: 0\r\n\r\n"
    assert request_head("GET", "/a?b", "x", lines, hop) == written
    assert response_head("200 OK", checked_field_lines([])) == b"HTTP/1.1 200 OK\r\n\r\n"
    assert field_lines([]) == ""
    hints = checked_field_lines([("Link", "</a.css>; rel=preload")])
    assert response_head("103 Early Hints", hints) == b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"


@pytest.mark.parametrize(
    "field",
    [
        ("A", "b\r\nC: d"), ("A", "b\nC: d"), ("A", "b\rC: d"), ("A", "b\r\n c"), ("A", "b\r\n\r\nbody"),
        ("A", "b\r\n"), ("A", "b\x00"), ("A", "\x7f"), ("A", "\x1b[0m"), ("A", "\u20ac"), ("", "b"), ("A B", "c"),
        ("A:", "c"),
        ("A\r\nB", "c"), ("A\n", "c"), ("\u00e9", "c"), ("A\x00", "c"), (" A", "b"),
    ],
)  # fmt: skip
def test_a_field_that_could_split_the_message_is_refused(field: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="legal"):
        checked_field_lines([("X", "y"), field])


@pytest.mark.parametrize("field", [(b"A", b"b"), ("A", b"b"), (b"A", "b"), ("A", 5), ("A", None)])
def test_a_field_that_is_not_text_is_refused(field: Any) -> None:
    with pytest.raises(TypeError):
        checked_field_lines([field])


@pytest.mark.parametrize("value", ["", "a\tb", "caf\u00e9", "\u00ff", "a: b", " a "])
def test_legal_values_pass(value: str) -> None:
    assert checked_field_lines([("A", value)]) == f"A: {value}\r\n"


@pytest.mark.parametrize(
    ("status", "legal"),
    [
        ("200 OK", True), ("404 Not Found", True), ("299 ", True), ("500", True), ("200 caf\u00e9", True),
        ("", False), ("20 OK", False), ("2000 OK", False), ("099 OK", False), ("200OK", False), (" 200 OK", False),
        ("200 OK\r\nX: y", False), ("200 OK\n", False), ("200 O\x00K", False), ("abc OK", False), ("200\tOK", False),
        ("\u0662\u0660\u0660 OK", False),
    ],
)  # fmt: skip
def test_a_status_is_a_code_and_a_reason(status: str, legal: bool) -> None:
    assert is_status(status) is legal


def test_chunks_carry_their_size_in_hexadecimal() -> None:
    assert chunk(b"x" * 26) + LAST_CHUNK == b"1a\r\n" + b"x" * 26 + b"\r\n0\r\n\r\n"


def test_the_last_chunk_carries_the_trailers() -> None:
    assert last_chunk([]) == LAST_CHUNK
    assert last_chunk([("X-Sum", "caf\u00e9"), ("x-b", "")]) == b"0\r\nX-Sum: caf\xe9\r\nx-b: \r\n\r\n"


@pytest.mark.parametrize(
    "field", [("A", "b\r\nC: d"), ("A", "b\r\n\r\nGET / HTTP/1.1"), ("A\n", "b"), ("", "b"), ("A", "\x00")]
)
def test_a_trailer_that_could_split_the_message_is_refused(field: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="legal"):
        last_chunk([("X", "y"), field])
