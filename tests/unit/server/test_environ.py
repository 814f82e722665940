from __future__ import annotations

import sys

import pytest

from wsgiproxy.http1.parser import parse_request
from wsgiproxy.server.environ import decode_path, listener_environ, request_environ


def environ_of(first: str, *lines: str) -> dict[str, object]:
    data = "".join(f"{line}\r\n" for line in (first, "Host: x", *lines, "")).encode("latin-1")
    return request_environ(listener_environ("127.0.0.1", "8080"), parse_request(data))


def test_a_request_becomes_an_environ() -> None:
    environ = environ_of("POST /a%20b?c=%20d HTTP/1.1", "Content-Type: t/p", "Content-Length: 3", "X-Own: v")
    head = environ.pop("wsgiproxy.head")
    assert environ == {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/a b",
        "QUERY_STRING": "c=%20d",
        "RAW_URI": "/a%20b?c=%20d",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8080",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "wsgiproxy",
        "CONTENT_TYPE": "t/p",
        "CONTENT_LENGTH": "3",
        "HTTP_HOST": "x",
        "HTTP_X_OWN": "v",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
    }
    assert repr(head).startswith("<RequestHead POST /a%20b?c=%20d HTTP/1.1")


def test_one_requests_environ_leaves_no_trace_in_the_next() -> None:
    base = listener_environ("h", "1")
    first = request_environ(base, parse_request(b"GET /a HTTP/1.0\r\nX-Secret: s\r\n\r\n"))
    first["added"] = "by the application"
    second = request_environ(base, parse_request(b"GET /b HTTP/1.0\r\n\r\n"))
    assert not {"HTTP_X_SECRET", "added"} & second.keys()


@pytest.mark.parametrize(
    ("first", "path", "query"),
    [
        ("OPTIONS * HTTP/1.1", "/", ""),
        ("GET http://x/a?b HTTP/1.1", "/a", "b"),
        ("GET http://x HTTP/1.1", "/", ""),
        ("GET //a//b/../c HTTP/1.1", "//a//b/../c", ""),
        ("GET /?a?b HTTP/1.1", "/", "a?b"),
    ],
)
def test_every_form_of_target_has_a_path(first: str, path: str, query: str) -> None:
    environ = environ_of(first)
    assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == (path, query)
    assert environ["RAW_URI"] == first.split(" ")[1]


@pytest.mark.parametrize(
    ("raw", "decoded"),
    [
        ("/a", "/a"), ("/%41%2f%2F", "/A//"), ("/caf%C3%A9", "/caf\u00c3\u00a9"), ("/%E9", "/\u00e9"), ("/%", "/%"),
        ("/%4", "/%4"), ("/%zz", "/%zz"), ("/a+b", "/a+b"), ("/%2541", "/%41"), ("/%00", "/\x00"),
    ],
)  # fmt: skip
def test_a_path_is_decoded_once_and_byte_by_byte(raw: str, decoded: str) -> None:
    assert decode_path(raw) == decoded
