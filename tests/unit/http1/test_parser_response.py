from __future__ import annotations

import time

import pytest

from wsgiproxy.errors import BackendProtocolError
from wsgiproxy.http1.message import CHUNKED, NO_BODY, UNTIL_CLOSE, Framing, ResponseHead
from wsgiproxy.http1.parser import parse_response, parse_trailers


def parse(first: str, *lines: str, method: str = "GET") -> ResponseHead:
    return parse_response("".join(f"{line}\r\n" for line in (first, *lines, "")).encode("latin-1"), method)


def test_an_answer_is_taken_apart_and_loses_its_hop_by_hop_fields() -> None:
    head = parse(
        "HTTP/1.1 404 Not  Found\u00e9", "Date: d", "Server: s", "Content-Length: 3", "Connection: keep-alive, X-Mine",
        "Keep-Alive: timeout=5", "X-Mine: 1", "Set-Cookie: a", "set-cookie: b", "Proxy-Authenticate: p", "Upgrade: h2c",
        "Trailer: t", "x-other:  c  ",
    )  # fmt: skip
    assert (head.status, head.reason, head.version) == (404, "Not  Found\u00e9", "HTTP/1.1")
    assert head.fields == [
        ("Date", "d"), ("Server", "s"), ("Content-Length", "3"), ("Set-Cookie", "a"), ("set-cookie", "b"),
        ("x-other", "c"),
    ]  # fmt: skip
    assert head.framing == Framing(length=3)
    assert head.keep_alive


def test_an_answer_cannot_nominate_its_own_length_away() -> None:
    head = parse(
        "HTTP/1.1 200 OK", "Connection: close, Content-Length, Set-Cookie", "Content-Length: 3", "Set-Cookie: a"
    )
    assert head.fields == [("Content-Length", "3"), ("Set-Cookie", "a")]
    assert head.framing == Framing(length=3)


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        ("HTTP/1.1 200 OK", 200, "OK"), ("HTTP/1.1 200 ", 200, ""), ("HTTP/1.1 200", 200, ""),
        ("HTTP/1.0 999 \t x", 999, "\t x"), ("HTTP/1.1 100 Continue", 100, "Continue"),
    ],
)  # fmt: skip
def test_a_status_line_has_a_code_and_perhaps_a_reason(line: str, status: int, reason: str) -> None:
    head = parse(line)
    assert (head.status, head.reason) == (status, reason)


@pytest.mark.parametrize(
    "line",
    [
        "", "HTTP/1.1", "HTTP/1.1 20 OK", "HTTP/1.1 2000 OK", "HTTP/1.1 099 OK", "HTTP/1.1 2x0 OK", "HTTP/1.1  200 OK",
        "HTTP/1.1\t200 OK", "HTTP/1.1 200\tOK", "http/1.1 200 OK", "HTTP/1.2 200 OK", "HTTP/2.0 200 OK", "HTTP/2 200",
        "HTTP/1.10 200 OK", "HTTP/0.9 200 OK", "ICY 200 OK", " HTTP/1.1 200 OK", "HTTP/1.1 200 O\x00K",
        "HTTP/1.1 200 O\rK", "HTTP/1.1 200 O\nK", "HTTP/1.1 200 \x7f", "HTTP/1.1 +20 OK", "\r\nHTTP/1.1 200 OK",
        "HTTP/1.1 \u0662\u0660\u0660 OK".encode().decode("latin-1"), "<html>",
    ],
)  # fmt: skip
def test_a_status_line_that_is_not_exactly_one_is_refused(line: str) -> None:
    with pytest.raises(BackendProtocolError):
        parse(line, "Content-Length: 0")


@pytest.mark.parametrize(
    "line",
    ["X : a", " X: a", ": a", "X", "X: a\nY: b", "X: a\r\n b", "X: a\rb", "X: \x00", "X: \x1f", "X: \x7f", "X(): a",
     "Content-Length : 3", "X\u00e9: a"],
)  # fmt: skip
def test_backends_are_held_to_the_same_fields(line: str) -> None:
    with pytest.raises(BackendProtocolError):
        parse("HTTP/1.1 200 OK", line)
    with pytest.raises(BackendProtocolError):
        parse("HTTP/1.1 200 OK", "Server: s", line, "Content-Length: 0")


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: 5", "Content-Length: 5"], ["Content-Length: 5", "content-length: 6"], ["Content-Length:"],
        ["Content-Length: 5,5"], ["Content-Length: -1"], ["Content-Length: 5", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "transfer-encoding: chunked"], ["Transfer-Encoding: gzip, chunked"],
        ["Transfer-Encoding: identity"], ["Transfer-Encoding:"], ["Transfer-Encoding: chunked, gzip"],
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_ambiguous_answer_is_refused(lines: list[str], method: str) -> None:
    with pytest.raises(BackendProtocolError):
        parse("HTTP/1.1 200 OK", *lines, method=method)


def test_a_transfer_encoding_in_http_1_0_is_refused() -> None:
    with pytest.raises(BackendProtocolError):
        parse("HTTP/1.0 200 OK", "Transfer-Encoding: chunked")


@pytest.mark.parametrize(
    ("first", "lines", "method", "framing", "keeps"),
    [
        ("HTTP/1.1 200 OK", ["Content-Length: 5"], "GET", Framing(length=5), True),
        ("HTTP/1.1 200 OK", ["Content-Length: 5"], "HEAD", NO_BODY, False),
        ("HTTP/1.1 200 OK", ["Content-Length: 0"], "HEAD", NO_BODY, True),
        ("HTTP/1.1 200 OK", ["Transfer-Encoding: chunked"], "HEAD", NO_BODY, False),
        ("HTTP/1.1 200 OK", ["Transfer-Encoding: chunked"], "GET", CHUNKED, True),
        ("HTTP/1.1 200 OK", [], "GET", UNTIL_CLOSE, False),
        ("HTTP/1.1 200 OK", [], "HEAD", NO_BODY, True),
        ("HTTP/1.1 304 Not Modified", ["Content-Length: 5"], "GET", NO_BODY, False),
        ("HTTP/1.1 204 No Content", [], "GET", NO_BODY, True),
        ("HTTP/1.1 100 Continue", [], "POST", NO_BODY, True),
        ("HTTP/1.1 200 OK", ["Content-Length: 5", "Connection: close"], "GET", Framing(length=5), False),
        ("HTTP/1.0 200 OK", ["Content-Length: 5"], "GET", Framing(length=5), False),
        ("HTTP/1.0 200 OK", ["Content-Length: 5", "Connection: Keep-Alive"], "GET", Framing(length=5), True),
    ],
)
def test_an_answer_says_how_it_ends_and_what_follows(
    first: str, lines: list[str], method: str, framing: Framing, keeps: bool
) -> None:
    head = parse(first, *lines, method=method)
    assert head.framing == framing
    assert head.keep_alive is keeps


@pytest.mark.parametrize(
    ("fields", "upgrade"),
    [
        (["Upgrade: websocket", "Connection: Upgrade"], "websocket"),
        (["upgrade: WebSocket", "connection: keep-alive, upgrade"], "websocket"),
        (["Connection: keep-alive", "Connection: UPGRADE", "Upgrade: IRC/6.9", "Content-Length: 0"], "irc/6.9"),
    ],
)
def test_a_101_says_what_it_switches_to(fields: list[str], upgrade: str) -> None:
    head = parse("HTTP/1.1 101 Switching Protocols", "Sec-WebSocket-Accept: x", *fields)
    assert head.upgrade == upgrade
    assert head.fields == [("Sec-WebSocket-Accept", "x")]
    assert head.framing == NO_BODY
    assert not head.keep_alive


@pytest.mark.parametrize(
    "fields",
    [
        [], ["Upgrade: websocket"], ["Connection: Upgrade"], ["Upgrade: websocket", "Connection: close"],
        ["Upgrade:", "Connection: Upgrade"], ["Upgrade: websocket, h2c", "Connection: Upgrade"],
        ["Upgrade: websocket", "Upgrade: websocket", "Connection: Upgrade"], ["Upgrade: a b", "Connection: Upgrade"],
        ["Upgrade: a/", "Connection: Upgrade"], ["Upgrade: a/b/c", "Connection: Upgrade"],
        ["Upgrade: websocket,", "Connection: Upgrade"], ["Upgrade: websocket", "Connection: Upgrades"],
        ["Upgrade: websocket", "Connection: Upgrade", "Content-Length: 5"],
        ["Upgrade: websocket", "Connection: Upgrade", "Transfer-Encoding: chunked"],
    ],
)  # fmt: skip
def test_a_101_that_does_not_say_exactly_what_it_switches_to_is_refused(fields: list[str]) -> None:
    with pytest.raises(BackendProtocolError):
        parse("HTTP/1.1 101 Switching Protocols", *fields)


def test_http_1_0_cannot_switch_protocols() -> None:
    with pytest.raises(BackendProtocolError):
        parse("HTTP/1.0 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade")


@pytest.mark.parametrize("status", [100, 103, 200, 204, 426])
def test_no_other_answer_switches_protocols(status: int) -> None:
    head = parse(f"HTTP/1.1 {status} x", "Upgrade: websocket", "Connection: Upgrade", "Content-Length: 0")
    assert head.upgrade == ""
    assert "Upgrade" not in dict(head.fields)


@pytest.mark.parametrize("field", ["Content-Length: 5", "Transfer-Encoding: chunked", "Content-Length: 0, 0"])
@pytest.mark.parametrize("status", [100, 102, 103, 199])
def test_an_interim_answer_with_a_body_is_refused(status: int, field: str) -> None:
    with pytest.raises(BackendProtocolError):
        parse(f"HTTP/1.1 {status} x", field)


@pytest.mark.parametrize(("status", "length"), [(100, "0"), (103, "0"), (204, "0"), (204, "5")])
def test_no_length_is_passed_on_where_none_may_be(status: int, length: str) -> None:
    head = parse(f"HTTP/1.1 {status} x", f"Content-Length: {length}", "Link: y")
    assert head.fields == [("Link", "y")]
    assert head.keep_alive is (length == "0")


@pytest.mark.parametrize(("length", "passed_on"), [("5", "5"), ("0005", "5"), ("0", "0"), ("00", "0"), ("050", "50")])
def test_a_length_is_passed_on_without_leading_zeros(length: str, passed_on: str) -> None:
    head = parse("HTTP/1.1 200 OK", "X: 05", f"content-length: {length}", "Server: s")
    assert head.fields == [("X", "05"), ("content-length", passed_on), ("Server", "s")]
    assert head.framing == Framing(length=int(length))


@pytest.mark.parametrize(
    "name",
    ["Content-Length", "Content-Type", "Content-Security-Policy", "Set-Cookie", "Location", "WWW-Authenticate", "Date",
     "ETag", "Cache-Control", "Vary", "Strict-Transport-Security", "Access-Control-Allow-Origin", "Retry-After"],
)  # fmt: skip
def test_an_answer_cannot_nominate_away_what_is_for_every_recipient(name: str) -> None:
    head = parse("HTTP/1.1 200 OK", f"Connection: X-Mine, {name}", f"{name}: 3", "X-Mine: 1")
    assert head.fields == [(name, "3")]


@pytest.mark.parametrize(
    "rest", ["", "A: b\r\n", "A: b\r\nx", "A: b\r\nx\r\n", "A: b\r\n\r\nx", "A: b\r\n\r\nX: y\r\n"]
)
def test_half_a_head_is_refused(rest: str) -> None:
    with pytest.raises(BackendProtocolError):
        parse_response(f"HTTP/1.1 200 OK\r\n{rest}".encode(), "GET")


def test_a_flood_of_fields_is_refused_fast() -> None:
    data = b"HTTP/1.1 200 OK\r\n" + b"Connection: a\r\n" * 20_000 + b"\r\n"
    started = time.process_time()
    with pytest.raises(BackendProtocolError):
        parse_response(data, "GET")
    assert time.process_time() - started < 1.0  # in quadratic time it would be minutes


def test_a_reason_phrase_is_cut_to_a_bearable_length() -> None:
    assert len(parse(f"HTTP/1.1 200 {'x' * 5000}").reason) == 512


def test_trailers_are_fields() -> None:
    assert parse_trailers(b"A: b\r\nC:d \r\n", 2) == [("A", "b"), ("C", "d")]


@pytest.mark.parametrize(
    "data", [b"A: b\r\nC: d\r\nE: f\r\n", b"A : b\r\n", b"A\r\n", b" A: b\r\n", b"A: b\nC: d\r\n", b"A: b\r\n c\r\n"]
)
def test_trailers_that_are_malformed_or_too_many_are_refused(data: bytes) -> None:
    assert parse_trailers(data, 2) is None
