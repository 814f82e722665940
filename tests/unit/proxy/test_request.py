from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.unit.proxy.journeys import environ_of, outgoing
from wsgiproxy.errors import (
    BadRequestError,
    ClientError,
    ContentTooLargeError,
    HeadersTooLargeError,
    NotImplementedByProxyError,
)
from wsgiproxy.http1.message import CHUNKED, NO_BODY, Framing
from wsgiproxy.http1.parser import parse_request
from wsgiproxy.proxy.request import head_of


def fields_of(environ: dict[str, Any]) -> dict[str, str]:
    """The end-to-end fields that go out, less what we say ourselves."""
    return {name: value for name, value in outgoing(environ).fields if not name.startswith("X-Forwarded-")}


# --- the head ---------------------------------------------------------------------------------------------------------


def test_the_head_that_our_own_server_parsed_is_used_as_it_is() -> None:
    head: Any = parse_request(b"GET /a HTTP/1.1\r\nHost: a\r\nx-b: 1\r\nX-B: 2\r\n\r\n")
    environ = environ_of(**{"wsgiproxy.head": head})
    assert head_of(environ) is head
    assert [field for field in outgoing(environ).fields if "X-F" not in field[0]] == [("x-b", "1"), ("X-B", "2")]


def test_a_middleware_that_moved_the_mount_point_makes_the_parsed_head_wrong() -> None:
    head: Any = parse_request(b"GET /shop/a HTTP/1.1\r\nHost: a\r\n\r\n")
    environ = environ_of(
        target="/shop/a", SCRIPT_NAME="/shop", PATH_INFO="/a", HTTP_HOST="a", **{"wsgiproxy.head": head}
    )
    assert head_of(environ).target == "/a"


def test_a_middleware_that_changes_requests_takes_the_parsed_head_away() -> None:
    head: Any = parse_request(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
    environ = environ_of("POST", "/a", HTTP_X_OWN="1", **{"wsgiproxy.head": head})
    assert head_of(environ) is head
    del environ["wsgiproxy.head"]
    made = head_of(environ)
    assert (made.method, made.environ["HTTP_X_OWN"]) == ("POST", "1")


def test_a_host_may_give_text_of_any_kind() -> None:
    text: Any = type("Text", (str,), {})
    environ = environ_of(target="/shop/a", SCRIPT_NAME="/shop", PATH_INFO="/a", REMOTE_ADDR="192.0.2.1")
    made = outgoing({key: text(value) if isinstance(value, str) else value for key, value in environ.items()})
    assert (made.target, made.script_name, made.scheme) == ("/a", "/shop", "http")


def test_a_head_is_made_from_any_other_servers_environ() -> None:
    head = head_of(environ_of("POST", "/a?b=c", b"hello", CONTENT_TYPE="a/b", HTTP_X_OWN="1", HTTP_COOKIE="a=1; b=2"))
    assert (head.method, head.target, head.path, head.query, head.host) == (
        "POST", "/a?b=c", "/a", "b=c", "shop.example",
    )  # fmt: skip
    assert head.fields == [
        ("Content-Type", "a/b"), ("Content-Length", "5"), ("Host", "shop.example"), ("X-Own", "1"),
        ("Cookie", "a=1; b=2"),
    ]  # fmt: skip
    assert head.framing == Framing(length=5)


def test_only_http_keys_and_the_content_keys_are_taken() -> None:
    secrets: dict[str, Any] = {
        "AWS_SECRET": "1",
        "HOME": "/root",
        "X_HTTP_OWN": "1",
        "HTTPS": "on",
        "REMOTE_USER": "ada",
    }
    environ = environ_of(**secrets, HTTP_CONTENT_LENGTH="5", HTTP_CONTENT_TYPE="x/y")
    assert head_of(environ).fields == [("Host", "shop.example")]
    assert head_of(environ).framing == NO_BODY


def test_no_host_field_is_http_1_0_and_the_servers_name_takes_its_place_nowhere() -> None:
    head = head_of(environ_of(HTTP_HOST=None))
    assert (head.version, head.host) == ("HTTP/1.0", "")
    assert outgoing(environ_of(HTTP_HOST=None)).host == ""


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("HTTP_X_OWN", "a\r\nX-Evil: 1"),
        ("HTTP_X_OWN", "a\nX-Evil: 1"),
        ("HTTP_X_OWN", "a\rb"),
        ("HTTP_X_OWN", "a\r\n\r\nGET /evil HTTP/1.1"),
        ("HTTP_X_OWN", "a\x00"),
        ("HTTP_X_OWN", "snow \u2603"),
        ("HTTP_X OWN", "1"),
        ("HTTP_", "1"),
        ("CONTENT_TYPE", "a/b\r\nX-Evil: 1"),
        ("REQUEST_METHOD", "GET /evil HTTP/1.1\r\nX-Evil: 1\r\nX:"),
        ("REQUEST_METHOD", "G T"),
        ("RAW_URI", "/\r\nX-Evil: 1"),
        ("RAW_URI", "/a b"),
        ("QUERY_STRING", "a b"),
        ("QUERY_STRING", "a\r\nX: 1"),
        ("PATH_INFO", "/snow/\u2603"),
        ("SCRIPT_NAME", "/snow/\u2603"),
        ("HTTP_HOST", "a, b"),
        ("HTTP_HOST", ""),
        ("CONTENT_LENGTH", "+5"),
        ("CONTENT_LENGTH", "5, 5"),
        ("CONTENT_LENGTH", "five"),
    ],
)
def test_what_our_own_parser_would_refuse_is_refused(key: str, value: str) -> None:
    environ = environ_of(RAW_URI=None, PATH_INFO="/other") | {key: value}
    if key == "RAW_URI":
        environ["PATH_INFO"] = value
    with pytest.raises(BadRequestError):
        outgoing(environ)


def test_a_thousand_fields_are_the_most() -> None:
    with pytest.raises(HeadersTooLargeError):
        head_of(environ_of() | {f"HTTP_X{number}": "1" for number in range(1000)})


# --- the target -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "script", "path", "expected"),
    [
        ("/a%20b/%2F?q=%20", "", "/a b//", "/a%20b/%2F?q=%20"),
        ("/a?", "", "/a", "/a?"),
        ("//a", "", "//a", "//a"),
        ("//a", "", "/a", "/a?q=%20"),  # waitress has collapsed it: what it says counts
        ("/caf%C3%A9", "", "/caf\xc3\xa9", "/caf%C3%A9"),
        ("/caf%E9", "", "/caf\xef\xbf\xbd", "/caf%EF%BF%BD?q=%20"),  # werkzeug has lost the byte
        ("/a%2Fb", "", "/a%2Fb", "/a%2Fb"),  # cheroot leaves it quoted
        ("/a%2fb%2Fc", "", "/a%2Fb%2Fc", "/a%2fb%2Fc"),
        ("", "", "/a b;c=1,2%?#[]\xe9", "/a%20b;c=1,2%25%3F%23%5B%5D%E9?q=%20"),
        ("", "", "", "/?q=%20"),
        ("?q=1", "", "", "/?q=%20"),
        ("/rewritten", "", "/by/a/middleware", "/by/a/middleware?q=%20"),
        ("http://shop.example/a%20b?q=1", "", "/a b", "/a%20b?q=1"),
        ("HTTPS://shop.example?q=1", "", "/", "/?q=%20"),
        ("http://shop.example", "", "/", "/?q=%20"),
        ("http://shop.example/http://b/", "", "/http://b/", "/http://b/"),
        ("/http://b/", "", "/http://b/", "/http://b/"),
        ("/shop/a%20b?q=1", "/shop", "/a b", "/a%20b?q=1"),
        ("/s%68op/a%2Fb?q=1", "/shop", "/a/b", "/a%2Fb?q=1"),
        ("/s/hop/a", "/s/hop", "/a", "/a"),
        ("/shop", "/shop", "", "/"),
        ("/shop?q=1", "/shop", "", "/?q=1"),
        ("/shop/", "/shop", "/", "/"),
        ("/a%2Fb/c", "/a/b", "/c", "/c?q=%20"),  # elements do not line up: quoted anew
        ("/shop//a", "/shop", "//a", "//a"),
        ("/elsewhere", "/shop", "/a", "/a?q=%20"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("key", ["RAW_URI", "REQUEST_URI"])
def test_the_raw_target_less_the_mount_point_is_sent_on(
    key: str, raw: str, script: str, path: str, expected: str
) -> None:
    environ = environ_of(RAW_URI=None, SCRIPT_NAME=script, PATH_INFO=path, QUERY_STRING="q=%20") | {key: raw}
    assert outgoing(environ).target == expected


def test_an_absolute_target_that_names_another_host_is_refused_as_our_own_server_does() -> None:
    with pytest.raises(BadRequestError, match="different hosts"):
        outgoing(environ_of(RAW_URI="http://other.example/"))


def test_a_server_without_a_raw_target_gets_the_path_quoted_anew() -> None:
    assert outgoing(environ_of(target="/a b?c=d", RAW_URI=None)).target == "/a%20b?c=d"


def test_the_asterisk_is_kept() -> None:
    request = outgoing(environ_of("OPTIONS", "*"))
    assert (request.target, request.path_info) == ("*", "")
    assert outgoing(environ_of("OPTIONS", "*", RAW_URI=None)).target == "*"


def test_dots_are_resolved_and_the_absolute_form_becomes_the_origin_form() -> None:
    assert outgoing(environ_of(target="/a/%2e%2e/b?x=/../y")).target == "/b?x=/../y"
    head: Any = parse_request(b"GET http://shop.example/a?b HTTP/1.1\r\nHost: shop.example\r\n\r\n")
    assert outgoing(environ_of(**{"wsgiproxy.head": head})).target == "/a?b"


@pytest.mark.parametrize(
    ("raw", "strip", "target", "script_name", "path_info"),
    [
        ("/api/v1/x?y", 1, "/v1/x?y", "/api", "/v1/x"),
        ("/api/v1/x?y", 2, "/x?y", "/api/v1", "/x"),
        ("/api", 1, "/", "/api", "/"),
        ("/api?y=", 1, "/?y=", "/api", "/"),
        ("/api/", 1, "/", "/api", "/"),
        ("//api///x", 1, "/x", "/api", "/x"),
        ("/%61pi/%20x", 1, "/%20x", "/api", "/ x"),
        ("/api/x", 0, "/api/x", "", "/api/x"),
    ],
)
def test_a_stripped_prefix_becomes_the_mount_point(
    raw: str, strip: int, target: str, script_name: str, path_info: str
) -> None:
    environ = environ_of(RAW_URI=raw, PATH_INFO=None, QUERY_STRING=None)
    environ["wsgiproxy.head"] = parse_request(f"GET {raw} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    request = outgoing(environ, strip)
    assert (request.target, request.script_name, request.path_info) == (target, script_name, path_info)
    assert dict(request.fields).get("X-Forwarded-Prefix", "") == script_name


def test_a_mount_point_and_a_stripped_prefix_add_up() -> None:
    environ = environ_of(target="/shop/api/x", SCRIPT_NAME="/shop", PATH_INFO="/api/x")
    request = outgoing(environ, 1)
    assert (request.target, request.script_name, request.path_info) == ("/x", "/shop/api", "/x")
    assert dict(request.fields)["X-Forwarded-Prefix"] == "/shop/api"


def test_a_mount_point_that_a_client_chose_splits_no_message() -> None:
    environ = environ_of(RAW_URI=None, SCRIPT_NAME="/t\r\nX-Evil: 1/caf\xe9", PATH_INFO="/x")
    assert dict(outgoing(environ).fields)["X-Forwarded-Prefix"] == "/t%0D%0AX-Evil:%201/caf%E9"


# --- the fields -------------------------------------------------------------------------------------------------------


def test_fields_of_one_hop_and_dangerous_ones_stay_here() -> None:
    dropped: dict[str, Any] = {
        "HTTP_CONNECTION": "x-own, keep-alive", "HTTP_X_OWN": "1", "HTTP_KEEP_ALIVE": "5", "HTTP_TE": "trailers",
        "HTTP_UPGRADE": "h2c", "HTTP_PROXY": "http://evil", "HTTP_PROXY_AUTHORIZATION": "1",
        "HTTP_EXPECT": "100-continue", "HTTP_PROXY_CONNECTION": "close", "HTTP_TRAILER": "X",
        "HTTP_HTTP2_SETTINGS": "x",
    }  # fmt: skip
    assert fields_of(environ_of(**dropped, HTTP_X_KEPT="1")) == {"X-Kept": "1"}


def test_a_connection_field_cannot_take_away_what_backends_stand_on() -> None:
    kept: dict[str, Any] = {"HTTP_AUTHORIZATION": "Basic x", "HTTP_COOKIE": "a=1", "CONTENT_TYPE": "a/b"}
    environ = environ_of(
        HTTP_CONNECTION="Authorization, cookie, content-type, host, x-forwarded-for, X-Forwarded-Proto, gone",
        HTTP_GONE="1", **kept,
    )  # fmt: skip
    request = outgoing(environ)
    assert fields_of(environ) == {"Content-Type": "a/b", "Authorization": "Basic x", "Cookie": "a=1"}
    assert {"X-Forwarded-For", "X-Forwarded-Proto"} <= {name for name, _ in request.fields}
    assert request.host == "shop.example"


def test_underscores_of_our_own_servers_clients_are_dropped() -> None:
    head: Any = parse_request(b"GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: 1.1.1.1\r\nX-Own: 1\r\n\r\n")
    assert fields_of(environ_of(**{"wsgiproxy.head": head})) == {"X-Own": "1"}


def test_the_environ_is_never_changed() -> None:
    environ = environ_of("POST", "/a%20b?c", b"hello", HTTP_CONNECTION="x-own", HTTP_X_OWN="1")
    source = environ.pop("wsgi.input")
    before = copy.copy(environ)
    environ["wsgi.input"] = source
    request = outgoing(environ, 1)
    assert request.body is not None
    request.body.read_some()
    del environ["wsgi.input"]
    assert environ == before


# --- the body ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, NO_BODY),
        ({"CONTENT_LENGTH": ""}, NO_BODY),
        ({"CONTENT_LENGTH": "0"}, NO_BODY),
        ({"CONTENT_LENGTH": "5"}, Framing(length=5)),
        ({"CONTENT_LENGTH": "5", "HTTP_TRANSFER_ENCODING": "chunked"}, Framing(length=5)),  # waitress has decoded it
        ({"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}, CHUNKED),
        ({"HTTP_TRANSFER_ENCODING": "Chunked", "wsgi.input_terminated": True}, CHUNKED),
        ({"wsgi.input_terminated": True}, NO_BODY),  # gunicorn says so of every request
    ],
)
def test_the_framing_is_a_stated_length_or_else_chunked_where_the_host_ends_the_input(
    more: dict[str, Any], expected: Framing
) -> None:
    request = outgoing(environ_of("POST", **more))
    assert (request.framing, request.body is None) == (expected, expected == NO_BODY)


@pytest.mark.parametrize(
    "more",
    [
        {"HTTP_TRANSFER_ENCODING": "chunked"},  # uWSGI: the body cannot be read here, and must not silently be lost
        {"HTTP_TRANSFER_ENCODING": "gzip, chunked", "wsgi.input_terminated": True},
        {"HTTP_TRANSFER_ENCODING": "chunked, chunked", "wsgi.input_terminated": True},
        {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True, "HTTP_HOST": None},
    ],
)
def test_a_body_whose_end_cannot_be_known_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(ClientError) as caught:
        outgoing(environ_of("POST", **more))
    assert isinstance(caught.value, NotImplementedByProxyError | BadRequestError)


def test_a_body_that_is_known_to_be_over_the_routes_limit_is_refused_unread() -> None:
    with pytest.raises(ContentTooLargeError, match="longer than 4 bytes"):
        outgoing(environ_of("POST", "/", b"hello", **{"wsgi.input": None}), body_bytes=4)
    assert outgoing(environ_of("POST", "/", b"hello"), body_bytes=5).body is not None
    assert outgoing(environ_of(), body_bytes=0).body is None


def test_a_chunked_body_is_held_to_the_routes_limit_while_it_is_read() -> None:
    environ = environ_of("POST", "/", b"hello", CONTENT_LENGTH=None, HTTP_TRANSFER_ENCODING="chunked")
    request = outgoing(environ | {"wsgi.input_terminated": True}, body_bytes=4)
    assert request.body is not None
    with pytest.raises(ContentTooLargeError):
        request.body.read_some()
