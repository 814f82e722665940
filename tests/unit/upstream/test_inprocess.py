from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication
from wsgiref.validate import validator

import pytest

from tests.unit.upstream.apps import ADDRESS, Environ, Result, ScriptedBody, app_of, fail, get, read, send
from wsgiproxy.config import schema
from wsgiproxy.errors import AppError, Blame, ClientDisconnectedError, ExchangeTimeout, TruncatedBodyError
from wsgiproxy.http1.message import Fields, Framing
from wsgiproxy.upstream.inprocess import InProcessUpstream
from wsgiproxy.upstream.messages import Upstream, UpstreamRequest

# --- the upstream -----------------------------------------------------------------------------------------------------


def test_an_application_is_an_upstream_without_connections() -> None:
    upstream: Upstream = InProcessUpstream(ADDRESS, app_of([b"hello"]))
    upstream.configure(schema.Pool(backends=(schema.Backend(address=ADDRESS),)))
    upstream.check_connect(1.0)
    assert upstream.idle_connections() == 0
    assert read(upstream.send(get(), fresh=True)) == b"hello"
    assert read(upstream.send_probe(UpstreamRequest("GET", "/", "", [], path_info="/"), 1.0)) == b"hello"
    upstream.close()
    upstream.close()
    assert repr(upstream) == "<InProcessUpstream app:shop:application>"


def test_status_reason_fields_and_body_come_back_as_they_are() -> None:
    fields = [("Set-Cookie", "a=1"), ("X-Shop", "caf\xe9"), ("Set-Cookie", "b=2"), ("Content-Length", "5")]
    response = send(app_of(iter([b"", b"he", b"", b"llo", b""]), "404 Not Here", fields))
    assert (response.status, response.reason, response.length) == (404, "Not Here", 5)
    assert response.fields == fields
    assert response.body.is_ready()
    assert list(response.body) == [b"he", b"llo"]
    assert list(response.body) == []


def test_hop_by_hop_fields_of_an_application_are_dropped() -> None:
    hop = [("Connection", "close"), ("Keep-Alive", "timeout=5"), ("transfer-encoding", "chunked"), ("X-Own", "1")]
    assert send(app_of(Result(b"x"), headers=hop)).fields == [("X-Own", "1")]


def test_no_length_is_known_of_an_iterator() -> None:
    response = send(app_of(iter([b"hello"])))
    assert response.length is None
    assert response.fields == []
    assert read(response) == b"hello"


@pytest.mark.parametrize("result", [[b"hello"], (b"hello",), [b"", b"he", b"llo"]])
def test_a_list_is_counted_and_its_length_announced(result: Any) -> None:
    response = send(app_of(result))
    assert (response.length, response.fields) == (5, [("Content-Length", "5")])
    assert read(response) == b"hello"


def test_an_empty_list_is_an_empty_body() -> None:
    response = send(app_of([]))
    assert (response.length, response.fields) == (0, [("Content-Length", "0")])
    assert read(response) == b""


# --- errors of the application ----------------------------------------------------------------------------------------


def test_an_application_that_raises_is_a_500_to_the_backends_blame_and_is_logged(caplog: Any) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        return fail()  # type: ignore[no-any-return]

    with pytest.raises(AppError, match="app:shop:application: RuntimeError: boom") as caught:
        send(app)
    assert (caught.value.status, caught.value.blame) == (500, Blame.BACKEND)
    assert isinstance(caught.value.__cause__, RuntimeError)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("wsgiproxy.app", logging.ERROR)
    assert record.getMessage() == "app:shop:application failed at GET /a%20b?q=1"
    assert "boom" in caplog.text
    assert "Traceback" in caplog.text


def test_an_error_before_the_first_byte_is_an_answer_not_a_cut(caplog: Any) -> None:
    result = Result(b"", fail)
    with pytest.raises(AppError, match="boom"):
        send(app_of(result))
    assert result.closed == 1


def test_an_error_within_the_body_is_a_cut_and_is_logged(caplog: Any) -> None:
    result = Result(b"half", fail)
    response = send(app_of(result))
    assert next(response.body) == b"half"
    with pytest.raises(TruncatedBodyError, match="boom"):
        next(response.body)
    assert "Traceback" in caplog.text
    with pytest.raises(StopIteration):
        next(response.body)
    response.body.close()
    assert result.closed == 1


def test_text_within_the_body_is_a_cut(caplog: Any) -> None:
    response = send(app_of(Result(b"half", "text")))
    with pytest.raises(TruncatedBodyError, match="a piece of the body is a str"):
        read(response)


def test_an_exit_passes_and_still_closes() -> None:
    result = Result(lambda: fail(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        send(app_of(result))
    assert result.closed == 1


# --- close ------------------------------------------------------------------------------------------------------------


def test_close_is_called_once_after_the_end() -> None:
    result = Result(b"a", b"b")
    response = send(app_of(result))
    assert read(response) == b"ab"
    response.body.close()
    response.body.close()
    assert result.closed == 1


def test_close_is_called_once_when_the_client_leaves_early_and_nothing_more_is_asked_for() -> None:
    result = Result(b"a", b"b", b"c")
    response = send(app_of(result))
    assert next(response.body) == b"a"
    response.body.close()
    assert list(response.body) == []
    assert (result.closed, result.pulled) == (1, 1)


def test_an_error_in_close_is_logged_and_kept_from_the_client(caplog: Any) -> None:
    result = Result(b"a", on_close=fail)
    response = send(app_of(result))
    assert read(response) == b"a"
    response.body.close()
    response.body.close()
    assert result.closed == 1
    assert "raised in close()" in caplog.text
    assert "boom" in caplog.text


# --- lengths ----------------------------------------------------------------------------------------------------------


def test_fewer_bytes_than_announced_are_a_cut() -> None:
    response = send(app_of(Result(b"hel"), headers=[("Content-Length", "5")]))
    assert next(response.body) == b"hel"
    with pytest.raises(TruncatedBodyError, match="ended 2 bytes early"):
        next(response.body)
    with pytest.raises(StopIteration):
        next(response.body)


@pytest.mark.parametrize("pieces", [(b"hello world",), (b"hello", b" world", b"!"), (b"he", b"llo wor", b"ld")])
def test_more_bytes_than_announced_are_never_sent_and_logged_once(pieces: tuple[bytes, ...], caplog: Any) -> None:
    response = send(app_of(Result(*pieces), headers=[("Content-Length", "5")]))
    assert response.length == 5
    assert read(response) == b"hello"
    assert list(response.body) == []
    assert [record.getMessage() for record in caplog.records] == [
        "app:shop:application sent more than its Content-Length to GET /a%20b?q=1; cut"
    ]


def test_an_error_after_the_announced_end_is_logged_and_does_not_spoil_the_answer(caplog: Any) -> None:
    response = send(app_of(Result(b"hello", fail), headers=[("Content-Length", "5")]))
    assert read(response) == b"hello"
    assert "raised after the end" in caplog.text


@pytest.mark.parametrize("headers", [[], [("Content-Length", "2")]], ids=["unknown", "announced"])
def test_a_body_is_over_at_its_end_or_with_the_last_announced_byte(headers: Fields) -> None:
    body: Any = send(app_of(Result(b"a", b"b"), headers=headers)).body
    seen = [body.is_over()]
    for _ in body:
        seen.append(body.is_over())
    seen.append(body.is_over())
    assert seen == [False, False, bool(headers), True]


@pytest.mark.parametrize("result", [Result(b"discarded"), Result(), [b"discarded"], []])
def test_head_has_the_fields_and_no_body(result: Any) -> None:
    response = send(app_of(result, headers=[("Content-Length", "9")]), get("HEAD"))
    assert (response.length, response.fields) == (0, [("Content-Length", "9")])
    assert read(response) == b""
    response.body.close()
    if isinstance(result, Result):
        assert (result.closed, result.pulled) == (1, len(result.pieces))


def test_head_gets_no_length_that_the_application_did_not_give() -> None:
    assert send(app_of([]), get("HEAD")).fields == []


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_a_status_without_a_body_has_neither_body_nor_length(status: str) -> None:
    result = Result(b"discarded")
    response = send(app_of(result, status, [("ETag", '"1"'), ("Content-Length", "9")]))
    assert (response.length, response.fields) == (0, [("ETag", '"1"')])
    assert read(response) == b""
    assert result.closed == 1
    assert send(app_of([], status)).fields == []


# --- the client's body ------------------------------------------------------------------------------------------------


def echo(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    while piece := environ["wsgi.input"].read(3):
        yield piece


def test_a_body_streams_through() -> None:
    request = get("POST", body=ScriptedBody(b"hello", b" ", b"world"), framing=Framing(length=11))
    assert list(send(echo, request).body) == [b"hel", b"lo ", b"wor", b"ld"]


@pytest.mark.parametrize("catching", [False, True])
def test_a_client_that_leaves_is_blamed_itself_not_the_application(catching: bool, caplog: Any) -> None:
    gone = ClientDisconnectedError("gone")

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            environ["wsgi.input"].read()
        except ClientDisconnectedError as error:
            if catching:
                raise ValueError("cannot read the form") from error
            raise
        return fail()  # type: ignore[no-any-return]

    with pytest.raises(ClientDisconnectedError) as caught:
        send(app, get("POST", body=ScriptedBody(b"half", gone), framing=Framing(length=9)))
    assert caught.value is gone
    assert caplog.records == []


def test_a_client_that_leaves_while_the_answer_streams_is_blamed_itself(caplog: Any) -> None:
    request = get("POST", body=ScriptedBody(b"abc", ClientDisconnectedError("gone")), framing=Framing(length=9))
    body = send(echo, request).body
    assert next(body) == b"abc"
    with pytest.raises(ClientDisconnectedError):
        next(body)
    assert caplog.records == []


# --- under the standard library's validator ---------------------------------------------------------------------------


def hosts_environ() -> Environ:
    """An environ as a server would make it for a real request."""
    return {
        "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/", "QUERY_STRING": "", "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8080", "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "192.0.2.7", "HTTP_HOST": "shop.example",
        "wsgi.version": (1, 0), "wsgi.url_scheme": "https", "wsgi.input": None, "wsgi.errors": sys.stderr,
        "wsgi.multithread": True, "wsgi.multiprocess": False, "wsgi.run_once": False,
    }  # fmt: skip


def written(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])(b"written ")
    return [b"returned"]


def lines(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    source = environ["wsgi.input"]
    data = [source.readline(), *source.readlines(), *source, source.read(10)]
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(sum(map(len, data))))])
    return data


def test_an_application_has_no_trailers_and_no_connection() -> None:
    response = send(app_of([b"ok"]))
    assert read(response) == b"ok"
    assert response.body.trailers() == []
    with pytest.raises(AppError, match="no connection"):
        response.body.take_over()


def test_an_application_cannot_switch_protocols() -> None:
    with pytest.raises(AppError, match="illegal status"):
        send(app_of([], "101 Switching Protocols"), get(upgrade="websocket"))


@pytest.mark.parametrize("environ", [None, hosts_environ()], ids=["probe", "client"])
@pytest.mark.parametrize(
    ("app", "request_of", "expected"),
    [
        (app_of([b"hello"], headers=[("Content-Type", "text/plain")]), get, b"hello"),
        (app_of([], "204 No Content"), get, b""),
        (written, get, b"written returned"),
        (echo, lambda **more: get("POST", body=ScriptedBody(b"abcd"), framing=Framing(length=4), **more), b"abcd"),
        (echo, lambda **more: get("POST", body=ScriptedBody(b"ab"), framing=Framing(chunked=True), **more), b"ab"),
        (lines, lambda **more: get("PUT", body=ScriptedBody(b"a\nb", b"\nc"), framing=Framing(length=5), **more),
         b"a\nb\nc"),
        (app_of([], headers=[("Content-Type", "text/plain")]), lambda **more: get("HEAD", **more), b""),
    ],
)  # fmt: skip
def test_validated_applications_are_content(
    app: WSGIApplication, request_of: Callable[..., UpstreamRequest], expected: bytes, environ: Environ | None
) -> None:
    response = send(validator(app), request_of(environ=environ, fields=[("Content-Type", "a/b"), ("X-A", "1")]))
    assert read(response) == expected
    response.body.close()


# --- time -------------------------------------------------------------------------------------------------------------


def test_an_answer_that_comes_after_the_end_of_the_exchange_is_none() -> None:
    result = Result(b"late")
    request = get()
    request.ends_by = time.monotonic() - 1
    with pytest.raises(ExchangeTimeout):
        InProcessUpstream(ADDRESS, app_of(result)).send(request)
    assert result.closed == 1


def test_an_answer_that_goes_on_after_the_end_of_the_exchange_is_cut() -> None:
    result = Result(b"one", b"two", b"three")
    request = get()
    request.ends_by = time.monotonic() + 20
    response = InProcessUpstream(ADDRESS, app_of(result)).send(request)
    assert next(response.body) == b"one"
    request.ends_by = time.monotonic() - 1
    with pytest.raises(ExchangeTimeout):
        next(response.body)
    response.body.close()
    assert (result.closed, list(response.body)) == (1, [])
