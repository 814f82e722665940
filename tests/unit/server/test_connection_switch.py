from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.server.scripted import CHUNKED, GET, SIZED, Host, ScriptedClient, deaf, ok, statuses
from wsgiproxy.config import schema
from wsgiproxy.errors import RequestTimeout

TUNNEL = b"GET /t HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n"


class Tunnel:
    """A body that takes the connection over, and tells what it was given."""

    def __init__(self, error: Exception | None = None) -> None:
        self.given: list[Any] = []
        self.closed = 0
        self.error = error

    def __iter__(self) -> Any:
        raise AssertionError("a tunnel is not iterated over")

    def run_tunnel(self, client: ScriptedClient, early: bytes) -> None:
        self.given.append(early)
        client.send_all(b"<through the tunnel>", 1.0)
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self.closed += 1


def switching(body: Any, headers: Any = (("Upgrade", "websocket"),), status: str = "101 Switching Protocols") -> Any:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        assert environ["wsgiproxy.upgrade"] is True
        start_response(status, list(headers))
        return body

    return app


class TestTunnels:
    """101: the application gets the connection."""

    def test_it_gets_the_stream_and_what_came_early(self) -> None:
        tunnel = Tunnel()
        client = Host(switching(tunnel)).serve(TUNNEL + b"early", b"late")
        head, _, rest = client.sent.partition(b"\r\n\r\n")
        assert head.split(b"\r\n") == [
            b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade"
        ]  # fmt: skip
        assert rest == b"<through the tunnel>"
        assert (tunnel.given, tunnel.closed) == ([b"early"], 1)

    def test_end_to_end_fields_are_kept_and_the_others_dropped(self) -> None:
        fields = [("Upgrade", "websocket"), ("Sec-WebSocket-Accept", "k"), ("Connection", "close"), ("Date", "d"),
                  ("Content-Length", "5"), ("Transfer-Encoding", "chunked"), ("Keep-Alive", "1")]  # fmt: skip
        client = Host(switching(Tunnel(), fields)).serve(TUNNEL)
        lines = client.sent.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
        assert lines == [b"Upgrade: websocket", b"Sec-WebSocket-Accept: k", b"Date: d", b"Connection: Upgrade"]

    def test_an_error_in_it_ends_the_connection(self, caplog: pytest.LogCaptureFixture) -> None:
        tunnel = Tunnel(ValueError("in the tunnel"))
        assert Host(switching(tunnel)).serve(TUNNEL + GET % 1).sent.endswith(b"<through the tunnel>")
        assert tunnel.closed == 1
        assert "in the tunnel" in caplog.text

    @pytest.mark.parametrize(
        "app",
        [
            switching([b""]), switching(Tunnel(), []), switching(Tunnel(), [("Upgrade", "a\r\nX: y")]),
            switching(Tunnel(), status="100 Continue"), switching(Tunnel(), status="102 Processing"),
        ],
    )  # fmt: skip
    def test_a_101_that_cannot_be_is_a_defect_of_the_application(self, app: Any) -> None:
        assert statuses(Host(app).serve(TUNNEL).sent) == [500]

    def test_an_asked_for_upgrade_may_be_declined(self) -> None:
        assert Host().serve(TUNNEL + GET % 1).sent == ok(b"/t") + ok(b"/1")

    @pytest.mark.parametrize(
        "request_",
        [
            TUNNEL.replace(b", Upgrade", b""), TUNNEL.replace(b"Upgrade: websocket\r\n", b""),
            TUNNEL.replace(b"1.1", b"1.0"), TUNNEL.replace(b"Connection", b"X"),
            TUNNEL.replace(b"Host", b"Content-Length: 1\r\nHost") + b"x",
            TUNNEL.replace(b"Host", b"Transfer-Encoding: chunked\r\nHost") + b"0\r\n\r\n",
        ],
    )  # fmt: skip
    def test_no_101_is_let_through_that_was_not_asked_for(self, request_: bytes) -> None:
        def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
            assert "wsgiproxy.upgrade" not in environ
            start_response("101 Switching Protocols", [("Upgrade", "websocket")])
            return Tunnel()

        assert statuses(Host(app).serve(request_).sent) == [500]

    def test_an_upgrade_of_one_request_is_no_leave_for_the_next(self) -> None:
        seen: list[Any] = []

        def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
            seen.append(environ.get("wsgiproxy.upgrade"))
            return deaf(environ, start_response)

        Host(app).serve(TUNNEL + GET % 1)
        assert seen == [True, None]


class TestEarlyHints:
    """103: fields ahead of the answer."""

    @staticmethod
    def app(*hints: list[tuple[str, str]]) -> Any:
        def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
            for fields in hints:
                environ["wsgi.early_hints"](fields)
            return deaf(environ, start_response)

        return app

    def test_they_are_sent_at_once_and_keep_the_connection(self) -> None:
        app = self.app([("Link", "</a.css>")], [("link", "</b.css>"), ("Connection", "close"), ("Content-Length", "3")])
        hints = [b"HTTP/1.1 103 Early Hints\r\n%b\r\n\r\n" % link for link in (b"Link: </a.css>", b"link: </b.css>")]
        assert Host(app).serve(GET % 1 + GET % 2).sent == (b"".join(hints) + ok(b"deaf")) * 2

    def test_http_1_0_knows_none(self) -> None:
        def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
            assert "wsgi.early_hints" not in environ
            return deaf(environ, start_response)

        request = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
        assert statuses(Host(app).serve(request * 2).sent) == [200, 200]

    @pytest.mark.parametrize("fields", [[("Link", "a\r\nX: y")], [("L ink", "a")], [("Link", 5)]])
    def test_illegal_ones_are_never_sent(self, fields: Any) -> None:
        assert statuses(Host(self.app(fields)).serve(GET % 1).sent) == [500]

    def test_after_the_head_they_are_too_late(self) -> None:
        def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
            start_response("200 OK", [("Date", "d"), ("Content-Length", "4")])
            yield b"de"
            environ["wsgi.early_hints"]([("Link", "a")])
            yield b"af"

        assert Host(app).serve(GET % 1).sent == b"HTTP/1.1 200 OK\r\nDate: d\r\nContent-Length: 4\r\n\r\ndeaf"


def test_trailers_of_a_request_are_there_after_its_end() -> None:
    seen: list[Any] = []

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        body = environ["wsgi.input"]
        seen.append((body.trailers(), body.read(), body.trailers()))
        return deaf(environ, start_response)

    Host(app).serve(CHUNKED + SIZED + GET % 1)
    assert seen == [([], b"hello", [("T", "t")]), ([], b"hello", []), ([], b"", [])]


@pytest.mark.parametrize("rest", [b"", b"\r", b"\r\n"])
def test_a_client_that_has_sent_no_more_than_an_empty_line_is_idle(rest: bytes) -> None:
    """Some send a line end behind the body of a POST (RFC 9112 2.2)."""
    for script in ([SIZED + rest], [SIZED, rest], [SIZED, rest[:1], rest[1:]]):
        host = Host()
        assert host.serve(*script, RequestTimeout("idle")).sent == ok(b"/sized")


def test_a_client_that_has_begun_a_request_behind_an_empty_line_is_not_idle() -> None:
    assert statuses(Host().serve(SIZED + b"\r\nG", RequestTimeout("late")).sent) == [200, 408]


def test_a_refused_request_is_in_the_log_with_its_client_and_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    Host().serve(b"\r\nGET /\x1b[31m HTTP/1.1\r\nHost: x\r\n\r\n")
    Host(limits=schema.Limits(body_bytes=4)).serve(SIZED)
    Host().serve(b"\x16\x03\x01\x02\x00\n")
    Host().serve(b"POST /z HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
    first, second, third, fourth = caplog.messages
    assert first == "a request of - was refused: 400, malformed request line: 'GET /\\x1b[31m HTTP/1.1\\r'"
    assert second.endswith(": 'POST /sized HTTP/1.1'")
    assert "refused: 400" in third
    assert third.endswith(": '\\x16\\x03\\x01\\x02\\x00'")
    assert fourth.endswith(": 'POST /z HTTP/1.1'")


def test_underscores_in_names_are_kept_where_that_is_asked_for() -> None:
    seen: list[Any] = []

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        seen.append([name for name, _ in environ["wsgiproxy.head"].fields])
        return deaf(environ, start_response)

    host = Host(app)
    for host.keep_underscores in (False, True):
        host.serve(b"GET / HTTP/1.1\r\nHost: x\r\nA_b: c\r\n\r\n")
    assert seen == [["Host"], ["Host", "A_b"]]
