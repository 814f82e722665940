"""What a request asks for beside an answer, and what is said in it of the client and of us."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.proxy.journeys import FakeUpstream, environ_of, outgoing, pool_table
from wsgiproxy.config import schema
from wsgiproxy.proxy.exchange import Exchange
from wsgiproxy.proxy.request import head_of, upstream_request
from wsgiproxy.routing.path import normalize_path
from wsgiproxy.upstream.messages import NOBODY, ClientAddress


def fields_of(environ: dict[str, Any]) -> dict[str, str]:
    """The end-to-end fields that go out, less what we say ourselves."""
    return {name: value for name, value in outgoing(environ).fields if not name.startswith("X-Forwarded-")}


# --- upgrades, early hints, trailers ----------------------------------------------------------------------------------


def upgrade(asked: str, *, can: bool = True, **route: Any) -> str:
    more: dict[str, Any] = {"HTTP_CONNECTION": "Upgrade", "HTTP_UPGRADE": asked}
    return outgoing(environ_of(**more) | ({"wsgiproxy.upgrade": True} if can else {}), **route).upgrade


@pytest.mark.parametrize(
    ("asked", "allowed", "expected"),
    [
        ("websocket", ("websocket",), "websocket"),
        ("WebSocket", ("websocket",), "websocket"),
        ("h2c, websocket", ("websocket",), "websocket"),
        ("h2c", ("websocket",), ""),
        ("websocket/13", ("websocket",), ""),
        ("websockets", ("websocket",), ""),
        ("websocket", (), ""),
        ("one, two", ("two", "one"), "one"),
        ("", ("websocket",), ""),
    ],
)
def test_the_first_protocol_that_the_route_lists_is_asked_for(
    asked: str, allowed: tuple[str, ...], expected: str
) -> None:
    assert upgrade(asked, upgrades=allowed) == expected


def test_by_default_a_route_lets_web_sockets_through_and_nothing_else() -> None:
    assert upgrade("h2c") == ""
    assert upgrade("websocket") == "websocket"


def test_no_upgrade_is_asked_for_where_the_server_cannot_carry_a_tunnel() -> None:
    assert upgrade("websocket", can=False) == ""


def test_the_upgrade_field_itself_is_the_upstreams_to_write() -> None:
    environ = environ_of(HTTP_CONNECTION="Upgrade", HTTP_UPGRADE="websocket", HTTP_SEC_WEBSOCKET_KEY="x")
    assert fields_of(environ | {"wsgiproxy.upgrade": True}) == {"Sec-Websocket-Key": "x"}


def test_early_hints_go_straight_to_the_server() -> None:
    told: list[Any] = []
    request = outgoing(environ_of(**{"wsgi.early_hints": told.append}))
    assert request.on_early_hints is not None
    request.on_early_hints([("Link", "</a>")])
    assert told == [[("Link", "</a>")]]
    assert outgoing(environ_of()).on_early_hints is None


def test_the_routes_trailers_are_asked_for_in_lower_case() -> None:
    assert outgoing(environ_of(), trailers=("X-Checksum", "etag")).trailers == ("x-checksum", "etag")
    assert outgoing(environ_of()).trailers == ()


# --- of the client, and of us -----------------------------------------------------------------------------------------


def test_the_scheme_is_the_clients() -> None:
    assert outgoing(environ_of()).scheme == "http"
    assert outgoing(environ_of(**{"wsgi.url_scheme": "https"})).scheme == "https"
    trusting = schema.Forwarding(trusted_proxies=("192.0.2.0/24",))
    assert outgoing(environ_of(HTTP_X_FORWARDED_PROTO="https"), forwarding=trusting).scheme == "https"
    assert outgoing(environ_of(HTTP_X_FORWARDED_PROTO="https")).scheme == "http"


def test_who_the_client_is_is_worked_out_only_for_pools_that_begin_with_it() -> None:
    environ = environ_of(REMOTE_PORT="4711", **{"wsgiproxy.destination": lambda: ("192.0.2.1", 80)})
    assert outgoing(environ).client is NOBODY
    table = pool_table(FakeUpstream(), proxy_protocol="v2")
    exchange, head, path = Exchange(environ, None), head_of(environ), normalize_path("/")
    assert path is not None
    match = table.match(head, "/")
    assert match is not None
    request = upstream_request(exchange, table, head, path, match)
    assert request.client == ClientAddress("192.0.2.7", 4711, "192.0.2.1", 80)


def test_via_gets_our_entry_behind_those_of_others() -> None:
    environ = environ_of(HTTP_VIA="1.0 fred")
    request = outgoing(environ, forwarding=schema.Forwarding(via="edge"))
    assert [value for name, value in request.fields if name.lower() == "via"] == ["1.0 fred", "1.1 edge"]
    assert [value for name, value in outgoing(environ).fields if name.lower() == "via"] == ["1.0 fred"]


def test_early_hints_are_via_us_as_well() -> None:
    told: list[Any] = []
    request = outgoing(environ_of(**{"wsgi.early_hints": told.append}), forwarding=schema.Forwarding(via="edge"))
    assert request.on_early_hints is not None
    request.on_early_hints([("Link", "</a>")])
    assert told == [[("Link", "</a>"), ("Via", "1.1 edge")]]


@pytest.mark.parametrize(("method", "sent"), [("TRACE", "4"), ("OPTIONS", "4"), ("GET", "5"), ("POST", "5")])
def test_a_hop_is_counted_where_hops_are_counted(method: str, sent: str) -> None:
    assert fields_of(environ_of(method, HTTP_MAX_FORWARDS="5")) == {"Max-Forwards": sent}
