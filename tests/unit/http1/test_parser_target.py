from __future__ import annotations

import pytest

from tests.unit.http1.heads import one_by_one, parse, status_of
from wsgiproxy.errors import BadRequestError
from wsgiproxy.http1.parser import parse_request


@pytest.mark.parametrize(
    ("host", "taken"), [("a:65535", True), ("a:65536", False), ("[::1]:99999", False), ("a:", True)]
)
def test_a_port_has_at_most_16_bits(host: str, taken: bool) -> None:
    data = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    if taken:
        assert parse_request(data).host == host
    else:
        with pytest.raises(BadRequestError):
            parse_request(data)


@pytest.mark.parametrize(
    "line",
    [
        "get / HTTP/1.1\n", "GET /  HTTP/1.1", "GET  / HTTP/1.1", "GET / HTTP/1.1 ", " GET / HTTP/1.1",
        "GET\t/\tHTTP/1.1", "GET /\x0bHTTP/1.1", "GET / http/1.1", "GET / HTTP/1.10", "GET / HTTP/01.1",
        "GET / HTTP/1,1",
        "GET / HTTP/1.", "GET / HTTP/+1.1", "GET / HTTPS/1.1", "GET / ICE/1.0", "GET / RTSP/1.0", "GET /", "GET", "",
        "GET HTTP/1.1",
        "GET / x HTTP/1.1", "G@T / HTTP/1.1", "G\u00c9T / HTTP/1.1", '"GET" / HTTP/1.1', "GET /\u00e9 HTTP/1.1",
        "GET /a#b HTTP/1.1", "GET # HTTP/1.1", "GET a HTTP/1.1", "GET * HTTP/1.1", "GET ?a HTTP/1.1", "GET \\ HTTP/1.1",
        "OPTIONS ** HTTP/1.1", "GET x:80 HTTP/1.1", "GET ftp://x/ HTTP/1.1", "GET http:/x HTTP/1.1",
        "GET http:///a HTTP/1.1", "GET http://a@x/ HTTP/1.1", "GET http://x/a#b HTTP/1.1", "GET http://x#b HTTP/1.1",
        "GET http://x:y/ HTTP/1.1", "GET http://[x]/ HTTP/1.1", "M" * 41 + " / HTTP/1.1",
        "GET http://x/a\\b HTTP/1.1", "GET http://x\\b HTTP/1.1", "GET http:\\\\x/ HTTP/1.1", "GET //x#b HTTP/1.1",
        "GET /?a#b HTTP/1.1", "GET http://x?a#b HTTP/1.1", "GET *?a HTTP/1.1", "OPTIONS *?a HTTP/1.1",
        "GET /* HTTP/1.1 ", "OPTIONS */a HTTP/1.1", "GET http://x%41/ HTTP/1.1", "GET http://:80/ HTTP/1.1",
        "GET http://x:99999/ HTTP/1.1", "GET http://[1]/ HTTP/1.1", "GET http:// HTTP/1.1", "GET http:x HTTP/1.1",
        "GET //x/ http://x/ HTTP/1.1", "GET httpss://x/ HTTP/1.1", "GET ws://x/ HTTP/1.1", "GET file:///x HTTP/1.1",
        "GET http://x@x/ HTTP/1.1", "GET http://x:x@x/ HTTP/1.1", "GET javascript:1 HTTP/1.1", "GET x HTTP/1.1",
        "GET / HTTP/1.1\r", "GET /\r HTTP/1.1", "GET / HTTP/ 1.1", "GET / HTTP/1 .1",
        "GET / HTTP /1.1", "GET / Http/1.1",
        "GET / HTTP/1.1\x00", "GET / HTTP/1.1;", "GET / HTTP/1.1.1", "GET / HTTP/-1.1",
        "GET / HTTP/11", "GET / HTTP/1.01",
        "GET /\u00a0HTTP/1.1", "GET\u00a0/ HTTP/1.1", "GET/ HTTP/1.1", "GET /HTTP/1.1",
        "GET/HTTP/1.1", "G ET / HTTP/1.1",
        *one_by_one("GET /a", [*range(0x21), 0x7F, *range(0x80, 0x100), 0x23, 0x5C], "b HTTP/1.1"),
        *one_by_one("GET /a?", [*range(0x21), 0x7F, *range(0x80, 0x100), 0x23], "b HTTP/1.1"),
        *one_by_one("GET http://x/a", [*range(0x21), 0x7F, *range(0x80, 0x100), 0x23, 0x5C], "b HTTP/1.1"),
        *one_by_one("GET http://x", [*range(0x21), *map(ord, '"#,<>@[\\]^`{|}%'), *range(0x7F, 0x100)], "/ HTTP/1.1"),
    ],
)  # fmt: skip
def test_a_request_line_that_is_not_exactly_one_is_refused(line: str) -> None:
    assert status_of(f"{line}\r\nHost: x\r\n\r\n".encode("latin-1")) == 400


@pytest.mark.parametrize("version", ["HTTP/2", "HTTP/2.0", "HTTP/3.0", "HTTP/0.9", "HTTP/1.2", "HTTP/9.9"])
def test_other_versions_are_not_spoken(version: str) -> None:
    assert status_of(f"GET / {version}\r\nHost: x\r\n\r\n".encode()) == 505
    assert status_of(f"PRI * {version}\r\n\r\n".encode()) == 505


@pytest.mark.parametrize("character", [*map(chr, range(0x21, 0x7F))])
def test_every_other_visible_character_of_a_target_is_passed_on_as_it_is(character: str) -> None:
    if character not in "#\\?":
        head = parse(f"GET /{character} HTTP/1.1")
        assert (head.target, head.path, head.query) == (f"/{character}", f"/{character}", "")
    if character != "#":
        for target in (f"/?{character}", f"http://x?{character}"):
            head = parse(f"GET {target} HTTP/1.1")
            assert (head.target, head.path, head.query) == (target, "/", character)


@pytest.mark.parametrize("method", ["get", "Head", "HEAd", "post", "oPTIONS", "trace", "delete", "put", "patch"])
def test_a_standard_method_has_one_spelling(method: str) -> None:
    assert status_of(f"{method} / HTTP/1.1\r\nHost: x\r\n\r\n".encode()) == 400


@pytest.mark.parametrize("method", ["PURGE", "M-SEARCH", "UPDATEREDIRECTREF", "x", "getter", "!#$%&'*+-.^_`|~9"])
def test_any_other_token_is_a_method(method: str) -> None:
    assert parse(f"{method} / HTTP/1.1").method == method


def test_trace_has_no_body() -> None:
    assert parse("TRACE / HTTP/1.1", "Content-Length: 0").method == "TRACE"
    for framing in ("Content-Length: 1", "Transfer-Encoding: chunked"):
        assert status_of(f"TRACE / HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n".encode()) == 400


@pytest.mark.parametrize("target", ["x:443", "/", "x"])
def test_connect_is_not_spoken(target: str) -> None:
    assert status_of(f"CONNECT {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()) == 501


@pytest.mark.parametrize(
    ("host", "right"),
    [
        ("x", True), ("x:80", True), ("x:", True), ("X.Example.ORG.", True), ("127.0.0.1:8080", True), ("[::1]", True),
        ("[::1]:80", True), ("xn--mller-kva.example", True), ("a_b", True), ("a!$&'()*+;=~", True),
        ("[2001:db8::7:1]:8080", True), ("[::ffff:1.2.3.4]", True), ("x:0", True), ("x:00080", True),
        ("a%20b", False), ("a%00b", False), ("a%2Fb", False), ("a%zz", False), ("%", False), ("[::1]a", False),
        ("[1]", False), ("[:::]", False), ("[1.2.3.4]", False), ("[::1%25eth0]", False), ("[v1.a]", False),
        ("[]", False), ("[::1]:65536", False), ("x:000080", False), ("x\ty", False),
        ("", False), ("x y", False), ("x,y", False), ("x:80:80", False), ("x:8a", False), ("x:123456", False),
        ("x:-1", False), ("a@x", False), ("x/", False), ("x?", False), ("x#", False), ("[::1", False), ("::1", False),
        ("[g]", False), ("http://x", False), ("x\\y", False), (":80", False), ("x\u00e9", False), ("<x>", False),
    ],
)  # fmt: skip
def test_the_host_must_be_an_authority(host: str, right: bool) -> None:
    if right:
        assert parse("GET / HTTP/1.1", host=f"Host: {host}").host == host
    else:
        assert status_of(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1")) == 400


def test_http_1_1_needs_a_host_and_http_1_0_does_not() -> None:
    assert status_of(b"GET / HTTP/1.1\r\n\r\n") == 400
    assert parse("GET / HTTP/1.0", host="").host == ""
    assert status_of(b"GET / HTTP/1.0\r\nHost:\r\n\r\n") == 400


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("second", ["Host: x", "host: y", "HOST:"])
def test_two_hosts_are_refused(version: str, second: str) -> None:
    assert status_of(f"GET / HTTP/{version}\r\nHost: x\r\n{second}\r\n\r\n".encode()) == 400


@pytest.mark.parametrize(
    ("line", "host", "expected"),
    [
        ("GET http://x/a?b HTTP/1.1", "x", ("/a", "b", "x")),
        ("GET HTTP://X:80/a HTTP/1.1", "x", ("/a", "", "X:80")),
        ("GET https://x/a HTTP/1.1", "x:443", ("/a", "", "x")),
        ("GET http://x HTTP/1.1", "x", ("/", "", "x")),
        ("GET http://x?b?c HTTP/1.1", "x", ("/", "b?c", "x")),
        ("OPTIONS http://x HTTP/1.1", "x", ("*", "", "x")),
        ("OPTIONS http://x?b HTTP/1.1", "x", ("/", "b", "x")),
        ("OPTIONS * HTTP/1.1", "x", ("*", "", "x")),
        ("GET http://[::1]:8080/ HTTP/1.1", "[::1]:8080", ("/", "", "[::1]:8080")),
        ("GET //a/b HTTP/1.1", "x", ("//a/b", "", "x")),
        ("GET /? HTTP/1.1", "x", ("/", "", "x")),
        ("GET /http://y/ HTTP/1.1", "x", ("/http://y/", "", "x")),
    ],
)
def test_the_target_says_path_query_and_authority(line: str, host: str, expected: tuple[str, str, str]) -> None:
    head = parse(line, host=f"Host: {host}")
    assert (head.path, head.query, head.host) == expected


@pytest.mark.parametrize(
    ("authority", "host", "same"),
    [
        ("http://x", "x:80", True), ("http://x:80", "X", True), ("http://x:", "x:80", True), ("HTTP://X", "x:", True),
        ("https://x", "x:443", True), ("https://x:443", "x", True), ("http://[::1]:80", "[::1]", True),
        ("http://x", "x:443", False), ("http://x:443", "x", False), ("https://x", "x:80", False),
        ("http://x", "x.", False), ("http://x:81", "x:82", False), ("http://x:8080", "x:80", False),
        ("http://[::1]", "[::2]", False), ("http://x", "y", False), ("http://x.y", "x", False),
    ],
)  # fmt: skip
def test_a_default_port_is_the_schemes(authority: str, host: str, same: bool) -> None:
    if same:
        assert parse(f"GET {authority}/ HTTP/1.1", host=f"Host: {host}").host == authority.partition("://")[2]
    else:
        assert status_of(f"GET {authority}/ HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()) == 400


@pytest.mark.parametrize("host", ["y", "x:81", "x.y", "x:8080"])
def test_an_absolute_target_and_the_host_must_name_the_same(host: str) -> None:
    assert status_of(f"GET http://x/ HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()) == 400


@pytest.mark.parametrize("authority", ["x:65536", "[1]", "[:::]:80"])
def test_an_absolute_target_names_an_authority_that_can_exist(authority: str) -> None:
    assert status_of(f"GET http://{authority}/ HTTP/1.0\r\n\r\n".encode()) == 400


def test_the_authority_of_an_absolute_target_stands_in_for_a_host_in_http_1_0() -> None:
    assert parse("GET http://x:81/ HTTP/1.0", host="").host == "x:81"
    assert status_of(b"GET http://x/ HTTP/1.1\r\n\r\n") == 400
