from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.http1.heads import one_by_one, parse, status_of
from wsgiproxy.errors import ClientError
from wsgiproxy.http1.headers import forwardable
from wsgiproxy.http1.message import CHUNKED, NO_BODY, Framing
from wsgiproxy.http1.parser import check_partial, parse_request


def test_a_browsers_request_is_taken_apart() -> None:
    head = parse("GET /a%20b/c?d=e?f HTTP/1.1", "User-Agent: M (X; Y)", "accept: */*", "Cookie: a=b; c=d", "X-Empty:")
    assert (head.method, head.target, head.version) == ("GET", "/a%20b/c?d=e?f", "HTTP/1.1")
    assert (head.path, head.query, head.host) == ("/a%20b/c", "d=e?f", "x")
    assert head.fields == [
        ("Host", "x"), ("User-Agent", "M (X; Y)"), ("accept", "*/*"), ("Cookie", "a=b; c=d"), ("X-Empty", "")
    ]  # fmt: skip
    assert head.environ["HTTP_USER_AGENT"] == "M (X; Y)"
    assert head.framing == NO_BODY
    assert head.keep_alive
    assert not head.expect_continue


@pytest.mark.parametrize("line", ["X: a b", "X:a b", "X:  a b", "X:\ta b", "X: a b ", "X: a b\t \t", "X:a b  "])
def test_white_space_around_a_value_is_taken_off(line: str) -> None:
    assert parse("GET / HTTP/1.1", line).fields[1] == ("X", "a b")


def test_bytes_beyond_ascii_are_kept_in_values() -> None:
    assert parse("GET / HTTP/1.1", "X: caf\u00e9\u00ff").environ["HTTP_X"] == "caf\u00e9\u00ff"


@pytest.mark.parametrize("name", ["a", "!#$%&'*+-.^`|~", "9", "-"])
def test_every_token_is_a_name(name: str) -> None:
    assert parse("GET / HTTP/1.1", f"{name}: v").fields[1] == (name, "v")


def test_names_that_cgi_takes_for_other_ones_are_dropped() -> None:
    unfit = ("X_Forwarded_For: 6.6.6.6", "Content_Length: 5", "Transfer_Encoding: chunked", "pROXY: http://evil/")
    head = parse("GET / HTTP/1.1", *unfit)
    assert head.fields == [("Host", "x")]
    assert head.environ == {"HTTP_HOST": "x"}
    assert head.framing == NO_BODY


def test_names_with_underscores_are_kept_where_that_is_asked_for_but_mean_nothing() -> None:
    lines = ("X_Own: 1", "Content_Length: 5", "Transfer_Encoding: chunked", "X_Forwarded_For: y", "Host_: z", "HOST: x",
             "pROXY: http://evil/", "Connection_: close", "Expect_: 100-continue")  # fmt: skip
    data = "".join(f"{line}\r\n" for line in ("GET / HTTP/1.1", *lines, "")).encode()
    head = parse_request(data, keep_underscores=True)
    assert [name for name, _ in head.fields] == [
        "X_Own", "Content_Length", "Transfer_Encoding", "X_Forwarded_For", "Host_", "HOST", "Connection_", "Expect_"
    ]  # fmt: skip
    assert head.environ == {"HTTP_HOST": "x"}
    assert head.framing == NO_BODY
    assert head.keep_alive
    assert not head.expect_continue
    assert [name for name, _ in forwardable(head.fields)] == ["X_Own", "Host_", "Connection_", "Expect_"]


@pytest.mark.parametrize(
    "line",
    [
        "X : a", "X\t: a", " X: a", "\tX: a", ": a", "X", "X=a", "X a", "X(y): a", '"X": a', "X@: a", "X/y: a",
        "X[y]: a", "\u00e9: a", "X;: a", "X,y: a", "X{}: a", "X?: a", "X: a\n Y: b", "X: a\n\tb", "X: a\r\n b",
        "X: a\r\n\tb", "X: a\rY: b", "X: a\r", "X: a\n", "X: a\nY: b", "X: a\r\r", "\rX: a", "X:\r a", "Y: b\r\nX : a",
        *one_by_one("X: a", [*range(9), *range(10, 32), 0x7F], "b"),
        *one_by_one("X", [*range(33), 0x7F, 0x80], "Y: b"),
    ],
)  # fmt: skip
def test_a_line_that_is_not_exactly_a_field_is_refused(line: str) -> None:
    assert status_of(f"GET / HTTP/1.1\r\nHost: x\r\n{line}\r\n\r\n".encode("latin-1")) == 400
    assert status_of(f"GET / HTTP/1.1\r\n{line}\r\nHost: x\r\n\r\n".encode("latin-1")) == 400


@pytest.mark.parametrize("data", [b"", b"\r\n", b"\r\n\r\n", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n",
                                  b"GET / HTTP/1.1\r\nHost: x\r\nX\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\nX",
                                  b"GET / HTTP/1.1\r\nHost: x\r\n\r\nX: y\r\n"])  # fmt: skip
def test_half_a_head_is_refused(data: bytes) -> None:
    assert status_of(data) == 400


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["Content-Length: 5"], Framing(length=5)),
        (["content-length:  5 "], Framing(length=5)),
        (["Transfer-Encoding: chunked"], CHUNKED),
        (["transfer-encoding:\tCHUNKED\t"], CHUNKED),
        (["Content-Length: 5", "Content-Length: 5"], 400),
        (["Content-Length: 5", "CONTENT-LENGTH: 6"], 400),
        (["Content-Length: 5, 5"], 400),
        (["Content-Length:"], 400),
        (["Content-Length: +5"], 400),
        (["Content-Length: 5", "Transfer-Encoding: chunked"], 400),
        (["Transfer-Encoding: chunked", "Content-Length: 0"], 400),
        (["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], 400),
        (["Transfer-Encoding: chunked", "Transfer-Encoding: identity"], 400),
        (["Transfer-Encoding: gzip", "Transfer-Encoding: chunked"], 501),
        (["Transfer-Encoding: gzip"], 501),
        (["Transfer-Encoding: x-own"], 501),
        (["Transfer-Encoding: x-own", "Transfer-Encoding: chunked"], 501),
        (["Transfer-Encoding: chunked", "Transfer-Encoding: x-own"], 400),
        (["Transfer-Encoding: chunked", "Transfer-Encoding:"], 400),
        (["Transfer-Encoding: chunked;x"], 400),
        (["Transfer_Encoding: chunked", "Content_Length: 5"], NO_BODY),
        (["Transfer-Encoding:"], 400),
        (["Transfer-Encoding: chunked,"], 400),
        (["Transfer-Encoding : chunked"], 400),
        (["Transfer-Encoding:\x0bchunked"], 400),
        (["Transfer-Encoding: \x00chunked"], 400),
        (["X: a\nTransfer-Encoding: chunked"], 400),
    ],
)
def test_a_request_has_one_framing_or_is_refused(lines: list[str], expected: Framing | int) -> None:
    if isinstance(expected, Framing):
        assert parse("POST / HTTP/1.1", *lines).framing == expected
    else:
        assert status_of("\r\n".join(["POST / HTTP/1.1", "Host: x", *lines, "", ""]).encode()) == expected


@pytest.mark.parametrize(
    ("version", "connection", "keeps"),
    [
        ("1.1", None, True), ("1.1", "close", False), ("1.1", "CLOSE", False), ("1.1", "x, Close", False),
        ("1.1", "keep-alive", True), ("1.1", "closed", True), ("1.1", "", True),
        ("1.0", None, False), ("1.0", "keep-alive", True), ("1.0", "Keep-Alive, x", True),
        ("1.0", "keep-alive, close", False), ("1.0", "upgrade", False),
    ],
)  # fmt: skip
def test_version_and_connection_field_say_whether_to_keep_alive(
    version: str, connection: str | None, keeps: bool
) -> None:
    lines = [] if connection is None else [f"Connection: {connection}"]
    assert parse(f"GET / HTTP/{version}", *lines).keep_alive is keeps


def test_connection_close_in_a_second_field_counts() -> None:
    assert not parse("GET / HTTP/1.1", "Connection: keep-alive", "Connection: close").keep_alive


def test_only_http_1_1_clients_may_expect_100_continue() -> None:
    assert parse("PUT / HTTP/1.1", "Expect: 100-Continue", "Content-Length: 3").expect_continue
    assert not parse("PUT / HTTP/1.0", "Expect: 100-continue", "Content-Length: 3").expect_continue
    assert not parse("PUT / HTTP/1.1", "Expect: 200-ok", "Content-Length: 3").expect_continue


def test_limits_are_exact() -> None:
    data = b"GET /2345678 HTTP/1.1\r\nHost: x\r\nA: b\r\nC: d\r\n\r\n"
    assert parse_request(data, max_fields=3, max_target=8).target == "/2345678"
    assert status_of(data, max_fields=2, max_target=8) == 431
    assert status_of(data, max_fields=3, max_target=7) == 414


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20_000 + b"\r\n",
        b"GET / HTTP/1.1\r\n" + b"A" * 200_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nA:" + b" \t" * 100_000 + b"\x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nA:" + b" " * 200_000 + b"b" + b" " * 200_000 + b"\n\r\n\r\n",
        b"A" * 200_000,
        b"GET " + b"/" * 200_000 + b" \r\n\r\n",
        b"GET http://" + b"a" * 100_000 + b"? HTTP/1.1\r\nHost: " + b"a." * 50_000 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: " + b"gzip," * 40_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"\r" * 100_000 + b"\r\n\r\n",
    ],
)
def test_a_large_bad_head_is_refused_in_linear_time(data: bytes) -> None:
    started = time.process_time()
    assert status_of(data, max_target=1_000_000) in (400, 431)
    assert time.process_time() - started < 1.0  # in quadratic time it would be minutes


LEGAL = b"".join([b"POST /a?b HTTP/1.1\r\n", b"Host: x\r\n", b"Content-Length: 3\r\n", b"X-A: b, c \r\n", b"\r\n"])


@given(st.integers(0, len(LEGAL) - 1))
def test_no_beginning_of_a_right_head_is_refused(size: int) -> None:
    if size:
        check_partial(LEGAL[:size])
        check_partial(b"\r\n" + LEGAL[:size], 2, size // 2)


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01", b"\r\nGET", b"\nGET", b"GET\t/", b" GET", b"{", b"M" * 41, b"GET / HTTP/1.1\rX",
        b"GET / HTTP/1.1\r\r", b"GET / HTTP/1.1\r\nHost: x\n",
    ],
)  # fmt: skip
def test_what_cannot_become_a_request_is_refused_at_once(data: bytes) -> None:
    with pytest.raises(ClientError):
        check_partial(data)


def test_a_bare_line_feed_is_refused_at_once_and_looked_for_only_in_what_is_new() -> None:
    data = b"GET / HTTP/1.1\nHost: x"
    with pytest.raises(ClientError):
        check_partial(data)
    with pytest.raises(ClientError):
        check_partial(data, 0, data.index(b"\n"))
    check_partial(data, 0, data.index(b"\n") + 1)
    check_partial(b"GET / HTTP/1.1\r\nHost: x", 0, len(b"GET / HTTP/1.1\r"))
    with pytest.raises(ClientError):
        check_partial(b"GET / HTTP/1.1\rHost: x", 0, len(b"GET / HTTP/1.1\r"))


@given(st.binary(max_size=200) | st.lists(st.sampled_from([*LEGAL.split(b" "), b"\r\n", b"\n", b": ", b"\x00"])))
def test_any_bytes_are_one_head_or_a_refusal(data: bytes | list[bytes]) -> None:
    text = data if isinstance(data, bytes) else b"".join(data)
    try:
        head = parse_request(text.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
    except ClientError as error:
        assert error.status in (400, 414, 431, 501, 505)
    else:
        assert all(
            "\n" not in part and "\r" not in part and "\0" not in part for field in head.fields for part in field
        )
