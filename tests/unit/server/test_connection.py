from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.server.scripted import (
    CHUNKED,
    CONTINUE,
    EXPECTING,
    GET,
    SIZED,
    Host,
    ScriptedClient,
    deaf,
    last,
    ok,
    statuses,
)
from wsgiproxy.config import schema
from wsgiproxy.errors import ClientDisconnectedError, ProxyError, RequestTimeout
from wsgiproxy.server.connection import Connection
from wsgiproxy.server.environ import listener_environ


def pieces_of(data: bytes, at: Iterable[int]) -> list[bytes]:
    places = sorted({place % (len(data) + 1) for place in at})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


def normal(client: ScriptedClient) -> bytes:
    """What was sent, less the dates that the server itself added."""
    return b"\r\n".join(line for line in client.sent.split(b"\r\n") if not line.startswith(b"Date: "))


PIPELINE = b"\r\n" + GET % 1 + SIZED + b"\r\n" + CHUNKED + GET % 2
BAD_ENDS = [
    b"", b"\n", b"\r\n\r\n", b"\rG", b"GET / HTTP/1.1\nHost: x\n\n", b"GET / HTTP/1.1\r\n\r\n", b"GET /\r\n\r\n",
    b"GET / HTTP/3.0\r\nHost: x\r\n\r\n", b"CONNECT x HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n5\r\nhello\r\n0\r\n\r\n",
]  # fmt: skip


@given(st.lists(st.integers(0, len(PIPELINE) + 80)), st.sampled_from(BAD_ENDS))
def test_the_answers_never_depend_on_how_the_bytes_were_split(at: list[int], end: bytes) -> None:
    data = PIPELINE + end
    whole, split = Host(), Host()
    expected = normal(whole.serve(data))
    assert normal(split.serve(*pieces_of(data, at))) == expected
    assert normal(split.serve(*pieces_of(data, range(len(data))))) == expected
    assert split.seen == 2 * whole.seen
    assert whole.seen[:4] == [("/1", b""), ("/sized", b"hello"), ("/chunked", b"hello"), ("/2", b"")]
    assert statuses(expected)[:4] == [200] * 4


def test_pipelined_requests_are_answered_in_order() -> None:
    assert Host().serve(b"".join(GET % i for i in range(100))).sent == b"".join(ok(b"/%d" % i) for i in range(100))


@pytest.mark.parametrize(
    ("request_", "more"),
    [
        (b"GET /1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"Connection: close\r\n"),
        (b"GET /1 HTTP/1.0\r\n\r\n", b"Connection: close\r\n"),
        (b"GET /1 HTTP/1.0\r\nConnection: close\r\n\r\n", b"Connection: close\r\n"),
    ],
)
def test_nothing_is_parsed_after_a_last_request(request_: bytes, more: bytes) -> None:
    host = Host()
    assert host.serve(request_ + GET % 2, GET % 3).sent == ok(b"/1", more)
    assert host.seen == [("/1", b"")]


def test_http_1_0_may_keep_alive() -> None:
    request = b"GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    assert Host().serve(request * 2).sent == ok(b"/1", b"Connection: keep-alive\r\n") * 2


REFUSED = [
    (b"GET / HTTP/1.1\r\n\r\n", 400), (b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400),
    (b"GET / HTTP/1.1\nHost: x\n\n", 400), (b"\x16\x03\x01\x02\x00\x01", 400), (b"GET /\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\r\nX : y\r\n\r\n", 400), (b"GET / HTTP/1.1\r\nHost: x\r\nX: y\r\n z\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\r\nX: \x00\r\n\r\n", 400), (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
    (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", 501),
    (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\nhello", 400),
    (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414), (b"GET /" + b"a" * 40_000, 414),
    (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 40_000, 431),
    (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
    (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 20_000 + b"\r\n", 431),
]  # fmt: skip


@pytest.mark.parametrize(("data", "status"), REFUSED)
def test_a_refused_request_is_answered_and_nothing_after_it_is_parsed(data: bytes, status: int) -> None:
    host = Host()
    client = host.serve(GET % 1 + data, GET % 2 + GET % 3)
    assert statuses(client.sent) == [200, status]
    assert client.sent.count(b"Connection: close\r\n") == 1
    assert host.seen == [("/1", b"")]
    assert client.shut_down


@pytest.mark.parametrize("body", [b"zz\r\n", b"5\r\nhelloX", b"0\r\n5\r\nhello\r\n0\r\n\r\n", b"-1\r\n", b"5\nhello"])
@pytest.mark.parametrize("app", ["reads", "reads and catches", "never reads"])
def test_a_malformed_body_is_the_end_of_the_connection(body: bytes, app: str) -> None:
    def catching(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        with pytest.raises(ProxyError):
            environ["wsgi.input"].read()
        return deaf(environ, start_response)

    host = Host({"reads": None, "reads and catches": catching, "never reads": deaf}[app])
    data = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    client = host.serve(data + GET % 1, GET % 2)
    assert statuses(client.sent) == [400 if app == "reads" else 200]
    assert (b"Connection: close\r\n" in client.sent) is (app != "never reads")
    assert host.seen == []


def test_limits_are_exact() -> None:
    request = GET % 1
    at_limit = Host(limits=schema.Limits(header_bytes=len(request), header_count=1, target_bytes=2))
    assert statuses(at_limit.serve(request).sent) == [200]
    assert statuses(Host(limits=schema.Limits(header_bytes=len(request) - 1)).serve(request).sent) == [431]
    assert statuses(Host(limits=schema.Limits(target_bytes=1)).serve(request).sent) == [414]
    two = request.replace(b"Host", b"A: b\r\nHost")
    assert statuses(Host(limits=schema.Limits(header_count=1)).serve(two).sent) == [431]


def test_an_endless_head_is_not_received_for_long() -> None:
    client = Host().serve(b"GET / HTTP/1.1\r\nX: ", *[b"x" * 16384] * 4, RequestTimeout("enough"))
    assert statuses(client.sent) == [431]


@pytest.mark.parametrize("app", [None, deaf])
def test_a_body_announced_over_the_limit_is_refused_before_the_application_is_asked(app: Any) -> None:
    host = Host(app, schema.Limits(body_bytes=4))
    client = host.serve(SIZED, GET % 1)
    assert statuses(client.sent) == [413]
    assert host.seen == []
    assert statuses(Host(limits=schema.Limits(body_bytes=5)).serve(SIZED + GET % 1).sent) == [200, 200]


def test_a_chunked_body_over_the_limit_is_refused_as_it_comes() -> None:
    host = Host(limits=schema.Limits(body_bytes=4))
    assert statuses(host.serve(CHUNKED + GET % 1).sent) == [413]
    assert host.seen == []


def test_an_announced_body_over_the_limit_gets_no_100_continue() -> None:
    assert statuses(Host(limits=schema.Limits(body_bytes=4)).serve(EXPECTING).sent) == [413]


def test_the_last_of_the_allowed_requests_says_so() -> None:
    host = Host(limits=schema.Limits(requests=2))
    assert host.serve(GET % 1 + GET % 2 + GET % 3).sent == ok(b"/1") + last(b"/2")


def test_a_server_that_drains_says_so_with_its_next_answer() -> None:
    host = Host()
    host.draining = True
    assert host.serve(GET % 1 + GET % 2).sent == last(b"/1")


@pytest.mark.parametrize("request_", [SIZED, CHUNKED])
def test_a_body_left_unread_is_read_away(request_: bytes) -> None:
    assert Host(deaf).serve(request_ + GET % 1, request_[:-3], request_[-3:] + GET % 1).sent == ok(b"deaf") * 4


def test_a_body_left_half_read_is_read_away() -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        environ["wsgi.input"].read(3)
        return deaf(environ, start_response)

    assert Host(app).serve(SIZED + CHUNKED + GET % 1).sent == ok(b"deaf") * 3


def test_a_large_body_left_unread_ends_the_connection() -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n"
    body = [(GET % 1).ljust(10_000)] * 1000
    client = Host(deaf).serve(head, *body, GET % 2)
    assert client.sent == ok(b"deaf")


@pytest.mark.parametrize("size", [3, 0])
def test_a_client_that_leaves_in_the_middle_of_its_body_gets_no_answer(size: int) -> None:
    host = Host()
    assert host.serve(SIZED[: len(SIZED) - 5 + size]).sent == b""
    assert host.seen == []


@pytest.mark.parametrize("end", [b"", b"\r\n", b"\r", b"GET / HT", ClientDisconnectedError("reset")])
def test_a_client_that_leaves_between_requests_is_not_answered(end: bytes | ProxyError) -> None:
    assert Host().serve(GET % 1, end).sent == ok(b"/1")


def test_100_continue_is_sent_at_the_first_read() -> None:
    host = Host()
    assert host.serve(EXPECTING, b"hello" + GET % 1).sent == CONTINUE + ok(b"/") + ok(b"/1")
    assert host.seen == [("/", b"hello"), ("/1", b"")]


def test_100_continue_is_not_sent_to_a_client_that_did_not_wait() -> None:
    assert Host().serve(EXPECTING + b"hel", b"lo" + GET % 1).sent == ok(b"/") + ok(b"/1")


def test_100_continue_is_not_sent_when_the_application_never_reads() -> None:
    for script in ([EXPECTING], [EXPECTING, b"hello" + GET % 1]):
        assert Host(deaf).serve(*script).sent == last(b"deaf")


def test_100_continue_never_comes_behind_the_final_head() -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        start_response("200 OK", [("Date", "d"), ("Content-Length", "7")])
        yield b"ok"
        yield environ["wsgi.input"].read()

    assert Host(app).serve(EXPECTING, b"hello").sent == last(b"okhello")


def test_an_application_hears_of_a_reset_only_while_it_asked_to() -> None:
    heard: list[ProxyError] = []

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        environ["wsgiproxy.on_cancel"](heard.append)
        return deaf(environ, start_response)

    connection = Connection(Host(app), ScriptedClient([GET % 1]), listener_environ("h", "1"))  # type: ignore[arg-type]
    connection.serve()
    connection.cut()
    assert heard == []


def test_a_connection_shows_what_one_would_debug_with() -> None:
    shown: list[str] = []
    connection: Connection

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        shown.append(repr(connection))
        return deaf(environ, start_response)

    connection = Connection(Host(app), ScriptedClient([GET % 1]), listener_environ("h", "1"))  # type: ignore[arg-type]
    shown.append(repr(connection))
    connection.serve()
    assert shown[0].endswith(", 0 requests, idle>")
    assert shown[1].endswith(", 1 requests>")


def test_a_defect_of_ours_ends_one_connection_and_is_seen(caplog: pytest.LogCaptureFixture) -> None:
    host = Host()
    host.limits = None  # type: ignore[assignment]
    assert host.serve(GET % 1).sent == b""
    assert "AttributeError" in caplog.text
