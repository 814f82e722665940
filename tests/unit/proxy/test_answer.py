from __future__ import annotations

from typing import Any

import pytest

from tests.unit.proxy.journeys import FakeUpstream, Journey, Told, environ_of, pool_table, tell
from wsgiproxy.config import schema
from wsgiproxy.proxy.answer import status_line


def answering(*, forwarding: schema.Forwarding = schema.Forwarding(), **route: Any) -> Journey:  # noqa: B008 - frozen
    """A journey with one route, matched by the path prefix ``/`` where ``prefix`` is not given."""
    match = schema.Match(path=schema.PathMatch(prefix=route.pop("prefix", "/")))
    return Journey(pool_table(FakeUpstream(), forwarding=forwarding, routes=(schema.Route(match=(match,), **route),)))


@pytest.mark.parametrize(
    ("status", "reason", "line"),
    [(200, "", "200 OK"), (200, "Fine", "200 Fine"), (599, "", "599 "), (599, "Odd", "599 Odd")],
)
def test_a_status_line_has_the_standard_reason_where_there_is_none(status: int, reason: str, line: str) -> None:
    assert status_line(status, reason) == line


# --- respond ----------------------------------------------------------------------------------------------------------


def test_a_fixed_answer_is_utf_8_text_by_default() -> None:
    journey = answering(respond=schema.Respond(body="caf\xe9\n"))
    told = journey.get()
    assert (told.status, told.body) == ("200 OK", "caf\xe9\n".encode())
    assert told.fields == {"Content-Type": "text/plain; charset=utf-8", "Content-Length": "6"}
    assert journey.log == (200, "done", 0, 6)


def test_a_fixed_answer_keeps_its_own_fields_and_content_type() -> None:
    headers = {"content-type": "application/json", "X-Own": "1"}
    told = answering(respond=schema.Respond(status=503, body="{}", headers=headers)).get()
    assert (told.status, told.fields) == ("503 Service Unavailable", {**headers, "Content-Length": "2"})


def test_a_fixed_answer_to_head_has_the_length_and_no_bytes() -> None:
    journey = answering(respond=schema.Respond(body="pong\n"))
    told = journey.get(REQUEST_METHOD="HEAD")
    assert (told.fields["Content-Length"], told.body) == ("5", b"")
    assert journey.log == (200, "done", 0, 0)


@pytest.mark.parametrize("status", [204, 304])
def test_a_fixed_answer_without_a_body_says_nothing_about_one(status: int) -> None:
    told = answering(respond=schema.Respond(status=status)).get()
    assert (told.fields, told.body) == ({}, b"")


# --- redirect (Gateway API, HTTPRequestRedirectFilter) ----------------------------------------------------------------


def location(target: str, prefix: str = "/", asked: str | None = "shop.example", over: str = "http", **to: Any) -> str:
    """Where a client that asks for ``target`` is sent."""
    journey = answering(prefix=prefix, redirect=schema.Redirect(**to))
    told = journey.get(target, HTTP_HOST=asked, **{"wsgi.url_scheme": over})
    return told.fields["Location"]


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ({"scheme": "https"}, "https://shop.example/a%20b?c=d"),
        ({"scheme": "http"}, "http://shop.example/a%20b?c=d"),
        ({"host": "new.example"}, "http://new.example/a%20b?c=d"),
        ({"port": 8443}, "http://shop.example:8443/a%20b?c=d"),
        ({"port": 80}, "http://shop.example/a%20b?c=d"),
        ({"scheme": "https", "port": 443}, "https://shop.example/a%20b?c=d"),
        ({"scheme": "https", "port": 8443}, "https://shop.example:8443/a%20b?c=d"),
        ({"path": "/new"}, "http://shop.example/new?c=d"),
        ({"scheme": "https", "host": "new.example", "path": "/x"}, "https://new.example/x?c=d"),
    ],
)
def test_what_a_redirect_leaves_out_stays_as_the_client_asked(to: dict[str, Any], expected: str) -> None:
    assert location("/a%20b?c=d", **to) == expected


@pytest.mark.parametrize(
    ("asked", "over", "to", "expected"),
    [
        ("shop.example:8080", "http", {"path": "/x"}, "http://shop.example:8080/x"),
        ("shop.example:8080", "http", {"host": "new.example"}, "http://new.example:8080/"),
        ("shop.example:8080", "http", {"scheme": "https"}, "https://shop.example/"),
        ("shop.example:8443", "https", {"scheme": "https"}, "https://shop.example/"),
        ("shop.example:8080", "http", {"scheme": "https", "port": 8443}, "https://shop.example:8443/"),
        ("shop.example:443", "https", {"path": "/x"}, "https://shop.example/x"),
        ("[::1]:8080", "http", {"path": "/x"}, "http://[::1]:8080/x"),
        ("[::1]", "http", {"path": "/x"}, "http://[::1]/x"),
    ],
)
def test_the_port_is_the_given_one_or_else_the_given_schemes_or_else_the_clients(
    asked: str, over: str, to: dict[str, Any], expected: str
) -> None:
    assert location("/", asked=asked, over=over, **to) == expected


@pytest.mark.parametrize(
    ("target", "prefix", "replacement", "expected"),
    [
        ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
        ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
        ("/foo", "/foo", "/xyz", "/xyz"),
        ("/foo/", "/foo", "/xyz", "/xyz/"),
        ("/foo/bar", "/foo", "/", "/bar"),
        ("/foo/", "/foo", "/", "/"),
        ("/foo", "/foo", "/", "/"),
        ("/foo/b%2Fr/?q=%20", "/foo", "/xyz", "/xyz/b%2Fr/?q=%20"),
        ("/foo/bar/baz", "/foo/bar", "/x/y", "/x/y/baz"),
        ("/bar", "/", "/xyz", "/xyz/bar"),
    ],
)
def test_a_path_prefix_is_replaced_element_by_element(
    target: str, prefix: str, replacement: str, expected: str
) -> None:
    assert location(target, prefix=prefix, path_prefix=replacement) == "http://shop.example" + expected


@pytest.mark.parametrize(
    ("target", "expected"), [("/a?b", "/x?b"), ("//evil.example/%2e%2e", "/x"), ("//evil.example", "/x")]
)
def test_without_a_host_the_redirect_is_relative(target: str, expected: str) -> None:
    assert location(target, asked=None, path="/x") == expected


def test_a_relative_redirect_never_names_another_host() -> None:
    assert location("//evil.example/a", asked=None, port=8080) == "/evil.example/a"


def test_the_asterisk_is_redirected_to_the_root() -> None:
    journey = answering(redirect=schema.Redirect(scheme="https"))
    told = journey.get("*", REQUEST_METHOD="OPTIONS")
    assert told.fields["Location"] == "https://shop.example/"


def test_a_redirect_has_its_status_and_an_empty_body() -> None:
    journey = answering(redirect=schema.Redirect(path="/x", status=308))
    told = journey.get()
    assert (told.status, told.body, told.fields["Content-Length"]) == ("308 Permanent Redirect", b"", "0")
    assert journey.log == (308, "done", 0, 0)


# --- redirects behind other servers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ({"scheme": "https"}, "https://shop.example/mount%20point/a/b?c=d"),
        ({"path_prefix": "/new"}, "http://shop.example/mount%20point/new/b?c=d"),
        ({"path": "/new"}, "http://shop.example/mount%20point/new?c=d"),
        ({"host": "new.example"}, "http://new.example/mount%20point/a/b?c=d"),
        ({"host": "new.example", "path": "/x"}, "http://new.example/x?c=d"),
    ],
)
def test_below_a_mount_point_the_client_is_sent_below_it(to: dict[str, Any], expected: str) -> None:
    journey = answering(prefix="/a", redirect=schema.Redirect(**to))
    told = journey.get("/mount%20point/a/b?c=d", SCRIPT_NAME="/mount point", PATH_INFO="/a/b")
    assert told.fields["Location"] == expected


def test_without_a_host_a_relative_redirect_has_the_mount_point_too() -> None:
    journey = answering(redirect=schema.Redirect(path="/x"))
    told = journey.get("/shop/a", SCRIPT_NAME="/shop", PATH_INFO="/a", HTTP_HOST=None)
    assert told.fields["Location"] == "/shop/x"


BELIEVING = schema.Forwarding(trusted_proxies=("192.0.2.0/24",))
PUBLIC: dict[str, Any] = {
    "HTTP_X_FORWARDED_FOR": "198.51.100.1",
    "HTTP_X_FORWARDED_PROTO": "https",
    "HTTP_X_FORWARDED_HOST": "public.example",
    "HTTP_X_FORWARDED_PREFIX": "/front",
}


@pytest.mark.parametrize(
    ("to", "more", "expected"),
    [
        ({"path": "/x"}, {}, "https://public.example/front/shop/x"),
        ({"path": "/x"}, {"HTTP_X_FORWARDED_PORT": "8443"}, "https://public.example:8443/front/shop/x"),
        ({"path": "/x"}, {"HTTP_X_FORWARDED_HOST": "public.example:8443"}, "https://public.example:8443/front/shop/x"),
        ({"scheme": "http"}, {"HTTP_X_FORWARDED_PORT": "8443"}, "http://public.example/front/shop/a"),
        ({"host": "new.example"}, {}, "https://new.example/front/shop/a"),
    ],
)
def test_a_believed_client_is_sent_to_a_url_as_it_sees_them(
    to: dict[str, Any], more: dict[str, Any], expected: str
) -> None:
    journey = answering(redirect=schema.Redirect(**to), forwarding=BELIEVING)
    told = journey.get("/shop/a", SCRIPT_NAME="/shop", PATH_INFO="/a", HTTP_HOST="inner:8080", **{**PUBLIC, **more})
    assert told.fields["Location"] == expected


def test_what_a_client_says_of_itself_redirects_nobody() -> None:
    for forwarding in (schema.Forwarding(), BELIEVING):
        journey = answering(redirect=schema.Redirect(path="/x"), forwarding=forwarding)
        told = journey.get("/", REMOTE_ADDR="198.51.100.1", **PUBLIC)
        assert told.fields["Location"] == "http://shop.example/x"


# --- Max-Forwards (RFC 9110 7.6.2) ------------------------------------------------------------------------------------


def asking(method: str, hops: str, target: str = "/a?b", **more: Any) -> tuple[Journey, Told]:
    journey = answering(pool="web")
    return journey, tell(journey.app, environ_of(method, target, HTTP_MAX_FORWARDS=hops, **more))


def test_options_that_may_go_no_further_are_answered_here() -> None:
    journey, told = asking("OPTIONS", "0")
    assert (told.status, told.fields, told.body) == ("200 OK", {"Content-Length": "0"}, b"")
    assert journey.log == (200, "done", 0, 0)


def test_a_trace_that_may_go_no_further_shows_what_came_here_less_secrets() -> None:
    secrets: dict[str, Any] = {
        "HTTP_COOKIE": "a=1", "HTTP_AUTHORIZATION": "Basic x", "HTTP_PROXY_AUTHORIZATION": "Basic y",
        "HTTP_CLIENT_CERT": ":AAAA:", "HTTP_X_API_KEY": "z",
    }  # fmt: skip
    _, told = asking("TRACE", "0", HTTP_X_OWN="caf\xe9", **secrets)
    assert (told.status, told.fields["Content-Type"]) == ("200 OK", "message/http")
    seen = b"TRACE /a?b HTTP/1.1\r\nHost: shop.example\r\nMax-Forwards: 0\r\nX-Own: caf\xe9\r\n\r\n"
    assert told.body == seen


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_for_any_other_method_max_forwards_says_nothing(method: str) -> None:
    _, told = asking(method, "0")
    assert told.body == b"ok"


@pytest.mark.parametrize("method", ["TRACE", "OPTIONS"])
def test_a_hop_count_that_is_none_is_refused(method: str) -> None:
    journey, told = asking(method, "x")
    assert (told.status, journey.log[1]) == ("400 Bad Request", "bad_request")
    _, told = asking(method, "1")
    assert told.body == b"ok"


def test_where_no_backend_would_answer_the_route_does() -> None:
    journey = answering(respond=schema.Respond(body="pong"))
    assert tell(journey.app, environ_of("OPTIONS", "/", HTTP_MAX_FORWARDS="0")).body == b"pong"
