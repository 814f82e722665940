from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse
from wsgiref.validate import validator

import pytest

from tests.unit.proxy.journeys import Environ, FakeUpstream, Journey, Told, backends_of, environ_of, pool_table, tell
from wsgiproxy.config import schema
from wsgiproxy.errors import (
    AppError,
    BackendProtocolError,
    ClientDisconnectedError,
    ConnectError,
    ConnectTimeout,
    InvalidConfigError,
    ReadTimeout,
    RequestTimeout,
    ResetError,
    TruncatedBodyError,
)
from wsgiproxy.proxy.app import ProxyApp


def hello(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"" if environ["REQUEST_METHOD"] == "HEAD" else b"hello"]


def echo(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return iter(lambda: environ["wsgi.input"].read(3), b"")


# --- an answer --------------------------------------------------------------------------------------------------------


def test_a_backends_answer_goes_back_as_it_is() -> None:
    upstream = FakeUpstream([b"he", b"llo"])
    upstream.status, upstream.reason = 404, "Not Here"
    upstream.fields = [("Set-Cookie", "a"), ("X-B", "caf\xe9"), ("Set-Cookie", "b")]
    journey = Journey(pool_table(upstream))
    told = journey.get("/x")
    assert (told.status, told.calls[0][1], told.body) == ("404 Not Here", upstream.fields, b"hello")
    assert (journey.log, journey.in_flight) == ((404, "done", 1, 5), [0])
    (exchange,) = journey.logged
    assert (exchange.route, exchange.pool, exchange.backend) == ("routes[0]", "web", "http://b0:1")
    assert exchange.started_at <= exchange.first_byte_at <= exchange.ended_at


def test_start_response_is_called_once_before_anything_is_read_and_the_answer_waits_for_it() -> None:
    journey = Journey(pool_table(FakeUpstream([b"x"])))
    told = Told()
    result: Any = journey.app(environ_of(), told.start_response)
    assert told.status == "200 OK"
    assert (journey.in_flight, journey.logged) == ([1], [])
    assert list(result) == [b"x"]
    assert journey.in_flight == [1]
    result.close()
    assert (journey.in_flight, len(journey.logged)) == ([0], 1)


def test_the_table_is_read_once_so_that_a_reload_never_moves_a_request() -> None:
    class Reloading:
        def __init__(self) -> None:
            self.tables = [pool_table(FakeUpstream([b"old"])), pool_table(FakeUpstream([b"new"]))]

        @property
        def table(self) -> Any:
            return self.tables.pop(0)

    runtime: Any = Reloading()
    assert tell(ProxyApp(runtime), environ_of()).body == b"old"
    assert len(runtime.tables) == 1


def test_a_stripped_prefix_is_the_mount_point_of_an_application_here() -> None:
    seen: list[tuple[str, str, str]] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        seen.append((environ["SCRIPT_NAME"], environ["PATH_INFO"], environ["QUERY_STRING"]))
        return hello(environ, start_response)

    match = schema.Match(path=schema.PathMatch(prefix="/api"))
    routes = (schema.Route(match=(match,), pool="web", strip_prefix=True),)
    Journey(pool_table(app, routes=routes)).get("/api/x%20y?z")
    Journey(pool_table(app, routes=routes)).get("/shop/api", SCRIPT_NAME="/shop", PATH_INFO="/api")
    assert seen == [("/api", "/x y", "z"), ("/shop/api", "/", "")]


# --- no backend's answer ----------------------------------------------------------------------------------------------


def test_what_no_route_matches_is_404_or_the_fallbacks() -> None:
    routes = (schema.Route(match=(schema.Match(host=("other.example",)),), pool="web"),)
    journey = Journey(pool_table(hello, routes=routes))
    told = journey.get()
    assert (told.status, told.body, journey.log) == ("404 Not Found", b"404 Not Found\n", (404, "no_route", 0, 14))
    environ = environ_of()
    journey = Journey(pool_table(hello, routes=routes), fallback=echo)
    assert tell(journey.app, environ).status == "200 OK"
    assert journey.logged == []


def test_the_fallback_gets_the_very_environ_unread() -> None:
    seen: list[Environ] = []

    def fallback(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        seen.append(environ)
        return echo(environ, start_response)

    environ = environ_of("POST", "/", b"hello")
    told = tell(Journey(pool_table(routes=()), fallback=fallback).app, environ)
    assert seen[0] is environ
    assert told.body == b"hello"


def test_a_pool_without_an_available_backend_is_503_with_retry_after() -> None:
    table = pool_table(hello, health_check=schema.HealthCheck(interval=7.2))
    backends_of(table)[0].weight = 0
    journey = Journey(table)
    told = journey.get()
    assert (told.status, told.fields["Retry-After"]) == ("503 Service Unavailable", "8")
    assert journey.log == (503, "no_backend", 0, 24)


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (ConnectError("10.0.0.1:80: refused"), "502 Bad Gateway", "connect_error"),
        (ConnectTimeout("late"), "504 Gateway Timeout", "connect_timeout"),
        (ReadTimeout("late"), "504 Gateway Timeout", "read_timeout"),
        (ResetError("reset"), "502 Bad Gateway", "backend_reset"),
        (BackendProtocolError("no HTTP"), "502 Bad Gateway", "backend_protocol"),
        (AppError("boom"), "500 Internal Server Error", "app_error"),
        (RequestTimeout("slow"), "408 Request Timeout", "client_timeout"),
    ],
)
def test_an_error_is_a_small_page_that_tells_nothing_about_our_inside(error: Any, status: str, reason: str) -> None:
    journey = Journey(pool_table(FakeUpstream(error), attempts=1))
    told = journey.get()
    page = f"{status}\n".encode()
    assert (told.status, told.body) == (status, page)
    assert told.fields == {
        "Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store", "Content-Length": str(len(page)),
    }  # fmt: skip
    assert journey.log == (int(status[:3]), reason, 1, len(page))
    assert journey.in_flight == [0]


def test_an_error_page_for_head_has_no_bytes() -> None:
    journey = Journey(pool_table(FakeUpstream(ReadTimeout("late")), attempts=1))
    told = journey.get(REQUEST_METHOD="HEAD")
    assert (told.fields["Content-Length"], told.body, journey.log[3]) == ("20", b"", 0)


def test_a_client_that_has_gone_is_499_in_the_log() -> None:
    journey = Journey(pool_table(FakeUpstream(ClientDisconnectedError("gone"))))
    assert journey.get().status == "400 Bad Request"
    assert journey.log == (499, "client_disconnected", 1, 0)
    assert (journey.in_flight, backends_of(journey.table)[0].failures) == ([0], 0)


@pytest.mark.parametrize("target", ["/%00", "/%zz", "/a%"])
def test_a_path_that_cannot_be_matched_safely_is_400(target: str) -> None:
    journey = Journey(pool_table(hello))
    assert journey.get(target, PATH_INFO="/\x00" if target == "/%00" else target).status == "400 Bad Request"
    assert journey.log[1] == "bad_request"
    assert journey.logged[0].head is not None


def test_a_head_that_cannot_be_is_400_and_logged_without_one() -> None:
    journey = Journey(pool_table(hello))
    assert journey.get(HTTP_X_OWN="a\r\nb").status == "400 Bad Request"
    assert journey.logged[0].head is None
    assert journey.log == (400, "bad_request", 0, 16)


# --- after the head ---------------------------------------------------------------------------------------------------


def test_a_cut_backend_is_a_cut_client() -> None:
    journey = Journey(pool_table(FakeUpstream([b"half", TruncatedBodyError("cut")])))
    told = journey.get()
    assert (told.status, told.body) == ("200 OK", b"half")
    assert isinstance(told.error, TruncatedBodyError)
    assert (journey.log, journey.in_flight) == ((200, "truncated_body", 1, 4), [0])


@pytest.mark.parametrize("routed", ["pool", "respond", "missing"])
def test_a_start_response_that_raises_leaves_nothing_in_flight_and_is_passed_on(routed: str) -> None:
    respond = schema.Route(respond=schema.Respond(body="x"))
    routes = {"pool": (schema.Route(pool="web"),), "respond": (respond,), "missing": ()}[routed]
    upstream = FakeUpstream([b"x"])
    journey = Journey(pool_table(upstream, routes=routes))

    def refusing(status: str, fields: Any, exc_info: Any = None) -> Any:
        raise RuntimeError("the host cannot")

    with pytest.raises(RuntimeError, match="the host cannot"):
        journey.app(environ_of(), refusing)
    assert (journey.in_flight, len(journey.logged)) == ([0], 1)
    assert [body.closed for body in upstream.bodies] == [1] * (routed == "pool")


def test_a_defect_in_an_upstream_leaves_nothing_in_flight_and_is_the_hosts_to_report() -> None:
    journey = Journey(pool_table(FakeUpstream(RuntimeError("a defect"))))
    with pytest.raises(RuntimeError, match="a defect"):
        journey.get()
    assert journey.in_flight == [0]


def test_close_closes_the_runtime() -> None:
    journey = Journey(pool_table(hello))
    journey.app.close()
    assert journey.app._runtime.closed == 1  # type: ignore[attr-defined]


def test_an_application_is_made_from_a_file_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "wsgiproxy.yaml"
    path.write_text("routes:\n  - {respond: {body: pong}}\n")
    app = ProxyApp.from_file(str(path))
    assert tell(app, environ_of()).body == b"pong"
    app.close()
    path.write_text("routs: []\n")
    with pytest.raises(InvalidConfigError, match="routs"):
        ProxyApp.from_file(str(path))


# --- who is the client ------------------------------------------------------------------------------------------------


def test_the_client_that_is_believed_is_told_and_logged() -> None:
    upstream = FakeUpstream()
    trusting = schema.Forwarding(trusted_proxies=("192.0.2.0/24",), via="edge")
    journey = Journey(pool_table(upstream, forwarding=trusting))
    told = journey.get(HTTP_X_FORWARDED_FOR="6.6.6.6, 198.51.100.1", HTTP_X_FORWARDED_PROTO="https")
    fields = dict(upstream.requests[0].fields)
    assert (fields["X-Forwarded-For"], fields["X-Forwarded-Proto"]) == ("198.51.100.1, 192.0.2.7", "https")
    assert journey.logged[0].address == "198.51.100.1"
    assert (told.fields["Via"], fields["Via"]) == ("1.1 edge", "1.1 edge")
    assert upstream.fields == [("Content-Type", "text/plain")]


def test_by_default_nobody_is_believed_and_nothing_is_added_to_an_answer() -> None:
    upstream = FakeUpstream()
    journey = Journey(pool_table(upstream))
    told = journey.get(HTTP_X_FORWARDED_FOR="198.51.100.1")
    assert dict(upstream.requests[0].fields)["X-Forwarded-For"] == "192.0.2.7"
    assert journey.logged[0].address == "192.0.2.7"
    assert "Via" not in told.fields


# --- bodies -----------------------------------------------------------------------------------------------------------


def test_a_body_over_the_routes_limit_is_413_and_no_backend_is_asked() -> None:
    upstream = FakeUpstream()
    journey = Journey(pool_table(upstream, routes=(schema.Route(pool="web", body_bytes=4),)))
    assert journey.post(b"hello").status.startswith("413 ")
    assert (upstream.requests, journey.log[:3]) == ([], (413, "content_too_large", 0))
    journey.logged.clear()
    assert journey.post(b"hell").status == "200 OK"


def test_a_chunked_body_that_grows_over_the_limit_is_413_and_nobody_is_blamed() -> None:
    journey = Journey(pool_table(FakeUpstream(), routes=(schema.Route(pool="web", body_bytes=4),)))
    chunked: dict[str, Any] = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    told = journey.post(b"hello", CONTENT_LENGTH=None, **chunked)
    assert told.status.startswith("413 ")
    assert (journey.in_flight, backends_of(journey.table)[0].failures) == ([0], 0)


# --- upgrades ---------------------------------------------------------------------------------------------------------

ASKED: dict[str, Any] = {
    "wsgiproxy.upgrade": True, "HTTP_CONNECTION": "Upgrade", "HTTP_UPGRADE": "websocket",
}  # fmt: skip


def switching() -> FakeUpstream:
    upstream = FakeUpstream([])
    upstream.status, upstream.reason = 101, "Switching Protocols"
    upstream.fields = [("Sec-WebSocket-Accept", "x")]
    return upstream


def test_a_backend_that_switches_protocols_gets_a_tunnel() -> None:
    upstream = switching()
    journey = Journey(pool_table(upstream))
    told = Told()
    result: Any = journey.app(environ_of(**ASKED), told.start_response)
    assert upstream.requests[0].upgrade == "websocket"
    assert told.status == "101 Switching Protocols"
    assert told.fields == {"Sec-WebSocket-Accept": "x", "Upgrade": "websocket"}
    assert hasattr(result, "run_tunnel")
    assert (journey.in_flight, journey.logged) == ([1], [])
    result.close()
    assert (journey.in_flight, [body.closed > 0 for body in upstream.bodies]) == ([0], [True])
    assert (journey.logged[0].status, len(journey.logged)) == (101, 1)


def test_a_backend_that_does_not_switch_answers_as_ever() -> None:
    upstream = FakeUpstream([b"no"])
    told = Journey(pool_table(upstream)).get(**ASKED)
    assert (told.status, told.body) == ("200 OK", b"no")
    assert upstream.requests[0].upgrade == "websocket"


def test_a_route_that_refuses_upgrades_does_not_ask_for_one() -> None:
    upstream = FakeUpstream([b"no"])
    routes = (schema.Route(pool="web", upgrades=()),)
    told = Journey(pool_table(upstream, routes=routes)).get(**ASKED)
    assert (told.status, told.body, upstream.requests[0].upgrade) == ("200 OK", b"no", "")


def test_a_host_that_refuses_the_switch_leaves_nothing_behind() -> None:
    upstream = switching()
    journey = Journey(pool_table(upstream))

    def refusing(status: str, fields: Any, exc_info: Any = None) -> Any:
        raise RuntimeError("the host cannot")

    with pytest.raises(RuntimeError, match="the host cannot"):
        journey.app(environ_of(**ASKED), refusing)
    assert (journey.in_flight, len(journey.logged), upstream.bodies[0].closed > 0) == ([0], 1, True)


# --- trailers ---------------------------------------------------------------------------------------------------------


def test_trailers_that_the_route_names_are_asked_for_and_handed_on() -> None:
    upstream = FakeUpstream([b"x"])
    upstream.trailers = [("X-Checksum", "1")]
    journey = Journey(pool_table(upstream, routes=(schema.Route(pool="web", trailers=("X-Checksum",)),)))
    told = Told()
    result: Any = journey.app(environ_of(), told.start_response)
    assert list(result) == [b"x"]
    assert (result.trailer_names, result.trailers()) == (("x-checksum",), [("X-Checksum", "1")])
    assert upstream.requests[0].trailers == ("x-checksum",)
    result.close()


# --- under the standard library's validator ---------------------------------------------------------------------------

VALID: list[tuple[Any, Environ, bytes]] = [
    (hello, environ_of(), b"hello"),
    (hello, environ_of("HEAD"), b""),
    (echo, environ_of("POST", "/a%20b?c", b"hello", CONTENT_TYPE="a/b", HTTP_X_OWN="1"), b"hello"),
    (FakeUpstream([b"he", b"llo"]), environ_of(), b"hello"),
    (FakeUpstream(ReadTimeout("late"), ReadTimeout("late")), environ_of(), b"504 Gateway Timeout\n"),
    (FakeUpstream(ConnectError("refused")), environ_of("HEAD"), b""),
]


@pytest.mark.parametrize(("backend", "environ", "expected"), VALID)
def test_the_application_and_the_applications_behind_it_keep_to_pep_3333(
    backend: Any, environ: Environ, expected: bytes
) -> None:
    inside = backend if isinstance(backend, FakeUpstream) else validator(backend)
    journey = Journey(pool_table(inside, attempts=1))
    told = tell(validator(journey.app), environ)
    assert (told.body, told.error, journey.in_flight) == (expected, None, [0])


@pytest.mark.parametrize(
    "route",
    [
        schema.Route(respond=schema.Respond(body="pong")),
        schema.Route(respond=schema.Respond()),
        schema.Route(respond=schema.Respond(status=204)),
        schema.Route(redirect=schema.Redirect(scheme="https")),
        schema.Route(match=(schema.Match(host=("other.example",)),), pool="web"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_answers_given_here_keep_to_pep_3333(route: schema.Route, method: str) -> None:
    tell(validator(Journey(pool_table(hello, routes=(route,))).app), environ_of(method))
