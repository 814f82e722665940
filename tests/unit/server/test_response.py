from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from tests.loopback import Answer, Client, serving, wait_for
from wsgiproxy.errors import AppError, BadRequestError
from wsgiproxy.server.response import refusal

Headers = list[tuple[Any, Any]]
LONG = b"x" * 300_000


class Body:
    """An iterable without a length that notes its close, and may fail."""

    def __init__(self, *pieces: Any, error: BaseException | None = None) -> None:
        self.pieces = pieces
        self.error = error
        self.closed = 0

    def __iter__(self) -> Iterator[Any]:
        yield from self.pieces
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self.closed += 1


class Late(Body):
    """A body that says that its first piece will take a while."""

    def is_ready(self) -> bool:
        return False


def app_of(body: Any, headers: Headers | None = None, status: Any = "200 OK") -> Callable[..., Any]:
    def app(_: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        start_response(status, headers if headers is not None else [])
        return body

    return app


def ask(app: Any, method: str = "GET", version: str = "1.1", *lines: str) -> Answer:
    """One exchange on a connection of its own, which must be good for another one if, and only if, it says so."""
    with serving(app) as running:
        client = running.client()
        request = "".join(f"{line}\r\n" for line in (f"{method} / HTTP/{version}", "Host: x", *lines, "")).encode()
        client.send(request)
        answer = client.answer(method)
        if answer["connection"] == "close" or (version == "1.0" and answer["connection"] is None):
            assert client.is_closed()
        else:
            client.send(request)
            again = client.answer(method)
            assert (again.status, again.body) == (answer.status, answer.body)
            assert client.is_silent(0.02)
        return answer


def cut(app: Any, version: str = "1.1") -> Client:
    """A client that has asked and will see a cut."""
    with serving(app) as running:
        client = running.client()
        client.send(f"GET / HTTP/{version}\r\nHost: x\r\n\r\n".encode())
        with pytest.raises((EOFError, ConnectionResetError)):
            client.answer()
        return client


@pytest.mark.parametrize("body", [[b"hello"], (b"he", b"llo"), [b"", b"hello", b""]])
def test_a_body_that_is_at_hand_gets_its_length(body: Any) -> None:
    answer = ask(app_of(body))
    assert (answer.body, answer["content-length"], answer["transfer-encoding"]) == (b"hello", "5", None)


@pytest.mark.parametrize("body", [[], [b""], Body(), Body(b"", b"")])
def test_an_empty_body_has_length_0(body: Any) -> None:
    assert ask(app_of(body))["content-length"] == "0"


@pytest.mark.parametrize("pieces", [(b"he", b"", b"llo"), (b"", b"hello"), (LONG, b"y", LONG)])
def test_a_body_of_unknown_length_is_chunked(pieces: tuple[bytes, ...]) -> None:
    answer = ask(app_of(Body(*pieces)))
    assert (answer.body, answer["transfer-encoding"]) == (b"".join(pieces), "chunked")


@pytest.mark.parametrize("pieces", [(b"hello",), (b"he", b"llo"), (LONG,)])
@pytest.mark.parametrize("lines", [(), ("Connection: keep-alive",)])
def test_a_body_of_unknown_length_ends_with_the_connection_in_http_1_0(
    pieces: tuple[bytes, ...], lines: tuple[str, ...]
) -> None:
    answer = ask(app_of(Body(*pieces)), "GET", "1.0", *lines)
    assert (answer.body, answer["transfer-encoding"], answer["connection"]) == (b"".join(pieces), None, "close")


@pytest.mark.parametrize("body", [[b"hello"], Body(b"he", b"llo"), Late(b"hello")])
@pytest.mark.parametrize(("version", "connection"), [("1.0", "keep-alive"), ("1.1", None)])
def test_an_announced_length_is_kept_to(body: Any, version: str, connection: str | None) -> None:
    answer = ask(app_of(body, [("Content-Length", "5")]), "GET", version, "Connection: keep-alive")
    assert (answer.body, answer["content-length"], answer["transfer-encoding"]) == (b"hello", "5", None)
    assert answer["connection"] == connection


def test_a_large_body_arrives_whole() -> None:
    assert ask(app_of([LONG * 10])).body == LONG * 10


@pytest.mark.parametrize(
    ("body", "headers", "length"),
    [
        ([b"hello"], [], "5"), (Body(b"hello"), [], None), ([], [("Content-Length", "9")], "9"),
        ([b"hello"], [("Content-Length", "9")], "9"), ([], [], None), (Body(), [], None), (Late(), [], None),
        (Late(b"hello"), [("Content-Length", "5")], "5"),
    ],
)  # fmt: skip
def test_head_is_answered_with_the_head_alone(body: Any, headers: Headers, length: str | None) -> None:
    answer = ask(app_of(body, headers), "HEAD")
    assert (answer.status, answer["content-length"], answer["transfer-encoding"]) == (200, length, None)


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
@pytest.mark.parametrize("body", [[], [b"wrong"], Body(b"wrong"), Late(b"wrong")])
def test_some_statuses_have_no_body(status: str, body: Any) -> None:
    answer = ask(app_of(body, [("Content-Length", "5"), ("ETag", "e")], status))
    assert (answer["content-length"], answer["transfer-encoding"], answer["etag"]) == (None, None, "e")


def test_an_endless_body_is_not_read_for_head() -> None:
    body = Body(b"x", error=AssertionError("read on"))
    ask(app_of(body), "HEAD")
    assert body.closed == 2


def test_fields_keep_their_order_repetitions_and_spelling() -> None:
    headers = [("Set-Cookie", "a"), ("x-Own", "caf\u00e9"), ("Set-Cookie", "b"), ("Date", "d"), ("Server", "s")]
    answer = ask(app_of([b"x"], headers))
    assert answer.fields == [(name.lower(), value) for name, value in headers] + [("content-length", "1")]


def test_a_date_is_added() -> None:
    assert ask(app_of([]))["date"].endswith(" GMT")


def test_hop_by_hop_fields_are_the_servers_own() -> None:
    headers = [
        ("Connection", "close, X-Own"),
        ("Keep-Alive", "5"),
        ("Transfer-Encoding", "chunked"),
        ("Upgrade", "h2c"),
    ]
    answer = ask(app_of([b"x"], headers))
    assert {name for name, _ in answer.fields} == {"content-length", "date"}


def test_a_client_that_asks_for_the_end_gets_it() -> None:
    assert ask(app_of([b"x"]), "GET", "1.1", "Connection: close")["connection"] == "close"


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        ("200 OK\r\nX: y", []), ("OK", []), ("100 Continue", []), ("101 Switching Protocols", []),
        (200, []),
        ("200 OK", [("X", "a\r\nSet-Cookie: evil")]), ("200 OK", [("X", "a\nb")]), ("200 OK", [("X: y\r\nZ", "a")]),
        ("200 OK", [("X", "\u20ac")]), ("200 OK", [("X y", "a")]), ("200 OK", [("", "a")]), ("200 OK", [(b"X", b"a")]),
        ("200 OK", [("Content-Length", "-1")]), ("200 OK", [("Content-Length", "5, 5")]), ("200 OK", [("X", 5)]),
        ("200 OK", [("Content-Length", "")]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("body", [[b"hello"], Body(b"hello"), Late(b"hello")])
def test_an_illegal_head_is_never_sent(status: Any, headers: Headers, body: Any) -> None:
    answer = ask(app_of(body, headers, status))
    assert (answer.status, answer["connection"], answer["set-cookie"]) == (500, "close", None)


def test_the_fields_may_still_be_exchanged_with_exc_info() -> None:
    def app(_: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        start_response("200 OK", [("X-First", "1"), ("Content-Length", "99")])
        try:
            raise KeyError("late")
        except KeyError as error:
            start_response("503 Sorry", [("X-Second", "2")], (KeyError, error, error.__traceback__))
        return [b"sorry"]

    answer = ask(app)
    assert (answer.status, answer["x-first"], answer["x-second"], answer.body) == (503, None, "2", b"sorry")


def test_exc_info_after_the_head_raises_the_error_again(caplog: pytest.LogCaptureFixture) -> None:
    def app(_: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        start_response("200 OK", [])
        yield b"begun"
        try:
            raise KeyError("too late for this")
        except KeyError as error:
            start_response("500 No", [], (KeyError, error, error.__traceback__))

    cut(app)
    assert "too late for this" in caplog.text


def test_a_second_call_of_start_response_is_an_error() -> None:
    def app(_: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        start_response("200 OK", [])
        start_response("200 OK", [])

    assert ask(app).status == 500


@pytest.mark.parametrize("body", [[b"x"], [], Body(b"x"), Body(), Late(b"x"), None])
def test_an_answer_without_start_response_is_an_error(body: Any) -> None:
    assert ask(lambda *_: body).status == 500


def test_start_response_may_wait_for_the_first_iteration() -> None:
    def app(_: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        start_response("202 Accepted", [("Content-Length", "1")])
        yield b"x"

    answer = ask(app)
    assert (answer.status, answer.body) == (202, b"x")


@pytest.mark.parametrize("writes", [(b"a",), (b"a", b"b"), (b"", b"a", b"", b"b", b""), (LONG, b"a")])
@pytest.mark.parametrize("result", [[], [b"c"], Body(b"c", b""), Late(b"c")])
@pytest.mark.parametrize("sized", [True, False])
def test_write_sends_before_what_is_returned(writes: tuple[bytes, ...], result: Any, sized: bool) -> None:
    whole = b"".join(writes) + b"".join(result)

    def app(_: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        write = start_response("200 OK", [("Content-Length", str(len(whole)))] if sized else [])
        for data in writes:
            write(data)
        return result

    assert ask(app).body == whole


def test_write_sends_at_once() -> None:
    go_on = gevent.event.Event()

    def app(_: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        write = start_response("200 OK", [])
        write(b"early")
        go_on.wait()
        return [b"late"]

    with serving(app) as running:
        client = running.client()
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.read_to(b"early")
        go_on.set()
        assert client.read_to(b"late")


def test_a_body_that_is_not_ready_has_its_head_sent_ahead() -> None:
    go_on = gevent.event.Event()

    class Waiting(Late):
        def __iter__(self) -> Iterator[bytes]:
            go_on.wait()
            yield b"late"

    with serving(app_of(Waiting())) as running:
        client = running.client()
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.read_to(b"\r\n\r\n")
        go_on.set()
        assert client.read_to(b"0\r\n\r\n") == b"4\r\nlate\r\n0\r\n\r\n"


ERRORS = [ValueError("secret"), SystemExit(3), gevent.Timeout(1), AppError("secret"), AssertionError()]


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_application_that_raises_before_the_head_is_answered_for(error: BaseException, method: str) -> None:
    def app(_: dict[str, Any], __: Callable[..., Any]) -> Any:
        raise error

    for failing in (app, app_of(Body(error=error))):
        answer = ask(failing, method)
        assert (answer.status, answer["connection"]) == (500, "close")
        assert b"secret" not in answer.body


@pytest.mark.parametrize("body", [["text"], Body("text"), Body(5), 5, None])
def test_a_body_that_is_not_bytes_is_answered_for(body: Any) -> None:
    assert ask(app_of(body)).status == 500


def test_what_an_application_raises_is_logged_with_its_trace(caplog: pytest.LogCaptureFixture) -> None:
    ask(app_of(Body(error=ValueError("why"))))
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("wsgiproxy.server", logging.ERROR)
    assert "GET /" in record.message
    assert "ValueError: why" in caplog.text


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("headers", [[], [("Content-Length", "9")]])
def test_an_application_that_raises_after_the_head_is_cut(error: BaseException, headers: Headers) -> None:
    body = Body(b"begun", error=error)
    cut(app_of(body, headers))
    assert body.closed == 1


def test_a_cut_that_only_a_reset_can_show_is_a_reset() -> None:
    with serving(app_of(Body(b"begun", error=ValueError()))) as running:
        client = running.client()
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            client.rest()


@pytest.mark.parametrize("body", [[b"four"], Body(b"fo", b"ur"), Body(), Late(b"four")])
def test_a_body_shorter_than_announced_is_cut(body: Any, caplog: pytest.LogCaptureFixture) -> None:
    cut(app_of(body, [("Content-Length", "5")]))
    assert "shorter than its Content-Length" in caplog.text


def endless() -> Iterator[bytes]:
    while True:
        yield b"hello"


@pytest.mark.parametrize("body", [[b"hello world"], Body(b"hel", b"lo wor", b"ld"), endless()])
def test_a_body_longer_than_announced_ends_where_it_was_to(body: Any, caplog: pytest.LogCaptureFixture) -> None:
    with serving(app_of(body, [("Content-Length", "5")])) as running:
        client = running.client()
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.answer().body == b"hello"
        assert client.is_closed()
    assert caplog.text.count("longer than its Content-Length") == 1


def test_the_body_is_closed_once_however_it_ends() -> None:
    bodies = [
        Body(b"x"),
        Body(),
        Late(b"x"),
        Body(b"x", error=ValueError()),
        Body(error=ValueError()),
        Body("no bytes"),
    ]
    for body in bodies:
        with serving(app_of(body)) as running:
            client = running.client()
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert client.rest()
        assert body.closed == 1


def test_a_close_that_raises_is_logged_and_ends_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    class Sore(Body):
        def close(self) -> None:
            raise ValueError("in close")

    with serving(app_of(Sore(b"x"), [("Content-Length", "1")])) as running:
        client = running.client()
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.answer().body == b"x"
        assert client.is_closed()
    assert "in close" in caplog.text


def test_a_body_is_closed_when_the_client_leaves_in_the_middle() -> None:
    def pieces() -> Iterator[bytes]:
        while True:
            yield LONG

    body = Body(*[LONG] * 1000)
    with serving(app_of(body)) as running:
        client = running.client()
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        client.read_exactly(100_000)
        client.close_with_reset()
        wait_for(lambda: body.closed == 1)


def test_a_refusal_is_a_whole_last_answer() -> None:
    head, _, body = refusal(BadRequestError("secret detail")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"\r\nConnection: close" in head
    assert b"\r\nContent-Length: %d\r\n" % len(body) in head
    assert body == b"400 Bad Request\n"
    assert refusal(BadRequestError(""), "HEAD").endswith(b"\r\n\r\n")


def test_an_application_may_give_text_of_any_kind() -> None:
    text: Any = type("Text", (str,), {})
    answer = ask(app_of([b"hi"], [(text("Content-Length"), text("2")), (text("X-Own"), text("1"))], text("200 OK")))
    assert (answer.status, answer["x-own"], answer.body) == (200, "1", b"hi")
