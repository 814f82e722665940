from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.unit.upstream.apps import ScriptedBody
from wsgiproxy.errors import ClientDisconnectedError
from wsgiproxy.http1.message import Fields, Framing
from wsgiproxy.upstream.app_environ import app_environ
from wsgiproxy.upstream.messages import ClientAddress, UpstreamRequest


def request(fields: Fields | None = None, *, host: str = "shop.example", **more: Any) -> UpstreamRequest:
    return UpstreamRequest("POST", "/api/a%20b?q=1", host, fields or [], **more)


def environ_for(*args: Any, **more: Any) -> dict[str, Any]:
    return app_environ(request(*args, **more))[0]


# --- keys -------------------------------------------------------------------------------------------------------------


def test_the_request_says_method_path_query_and_host() -> None:
    client = {"REQUEST_METHOD": "GET", "SCRIPT_NAME": "/x", "PATH_INFO": "/y", "QUERY_STRING": "z", "HTTP_HOST": "w"}
    environ = environ_for(environ=client, script_name="/api", path_info="/a b", query="q=1")
    assert environ["REQUEST_METHOD"] == "POST"
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"], environ["QUERY_STRING"]) == ("/api", "/a b", "q=1")
    assert environ["HTTP_HOST"] == "shop.example"


def test_a_request_without_a_host_has_none() -> None:
    assert "HTTP_HOST" not in environ_for(host="", environ={"HTTP_HOST": "old.example"})


def test_fields_become_keys_and_repeated_ones_are_joined() -> None:
    environ = environ_for([
        ("Accept", "a"), ("X-Forwarded-For", "192.0.2.1"), ("accept", "b"), ("Cookie", "c=1"), ("Cookie", "d=2"),
        ("Content-Type", "text/plain"),
    ])  # fmt: skip
    assert environ["HTTP_ACCEPT"] == "a,b"
    assert environ["HTTP_X_FORWARDED_FOR"] == "192.0.2.1"
    assert environ["HTTP_COOKIE"] == "c=1; d=2"
    assert environ["CONTENT_TYPE"] == "text/plain"
    assert "HTTP_CONTENT_TYPE" not in environ


def test_nothing_that_was_stripped_comes_back_from_the_clients_environ() -> None:
    client = {
        "HTTP_X_FORWARDED_FOR": "forged", "HTTP_TRANSFER_ENCODING": "chunked", "HTTP_CONNECTION": "close",
        "CONTENT_TYPE": "old/type", "CONTENT_LENGTH": "99", "wsgiproxy.head": object(), "wsgi.file_wrapper": object(),
    }  # fmt: skip
    environ = environ_for(framing=Framing(chunked=True), environ=client)
    assert set(environ) & set(client) == set()


def test_a_field_with_an_underscore_cannot_pass_for_one_with_a_hyphen() -> None:
    environ = environ_for([("X-Forwarded-For", "192.0.2.1"), ("X_Forwarded_For", "forged")])
    assert environ["HTTP_X_FORWARDED_FOR"] == "192.0.2.1"


def test_facts_about_server_and_client_are_kept_and_the_port_is_text() -> None:
    errors = object()
    kept = {
        "SERVER_NAME": "192.0.2.9", "SERVER_PROTOCOL": "HTTP/1.0", "REMOTE_ADDR": "192.0.2.7", "REMOTE_PORT": "5",
        "REMOTE_USER": "ann", "wsgi.url_scheme": "https", "wsgi.errors": errors, "wsgi.multithread": False,
        "SSL_CLIENT_S_DN": "CN=ann",
    }  # fmt: skip
    environ = environ_for(environ={**kept, "SERVER_PORT": 8080})
    assert {key: environ[key] for key in kept} == kept
    assert environ["SERVER_PORT"] == "8080"


def test_a_health_check_has_every_key_that_pep_3333_asks_for_and_no_client() -> None:
    environ = environ_for(path_info="/")
    assert environ["wsgi.version"] == (1, 0)
    assert environ["wsgi.errors"] is sys.stderr
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"], environ["wsgi.url_scheme"]) == ("localhost", "80", "http")
    assert "REMOTE_ADDR" not in environ


def test_the_clients_environ_is_left_alone() -> None:
    client = {"HTTP_HOST": "shop.example", "SERVER_PORT": 80, "wsgi.input": None}
    before = dict(client)
    environ = environ_for([("X-A", "1")], environ=client)
    environ["shop.seen"] = True
    assert client == before


def test_a_length_is_told_where_it_is_known_and_the_input_ends_by_itself_anyway() -> None:
    assert environ_for(framing=Framing(length=5), body=ScriptedBody())["CONTENT_LENGTH"] == "5"
    chunked = environ_for(framing=Framing(chunked=True), body=ScriptedBody(), environ={"CONTENT_LENGTH": "3"})
    assert "CONTENT_LENGTH" not in chunked
    assert chunked["wsgi.input_terminated"] is True


# --- wsgi.input -------------------------------------------------------------------------------------------------------


def input_of(*pieces: bytes | Exception) -> Any:
    return environ_for(body=ScriptedBody(*pieces))["wsgi.input"]


def test_no_body_reads_as_empty() -> None:
    source = environ_for()["wsgi.input"]
    assert (source.read(), source.read(5), source.readline(), list(source)) == (b"", b"", b"", [])


def test_the_client_is_the_one_that_is_believed() -> None:
    peer = {"REMOTE_ADDR": "10.0.0.1", "REMOTE_PORT": "1", "wsgi.url_scheme": "http", "HTTPS": "on"}
    assert client_of(environ_for(environ=peer)) == ("10.0.0.1", "1", "http", "on")
    believed = environ_for(environ=peer, client=ClientAddress("192.0.2.1", 1234), scheme="https")
    assert client_of(believed) == ("192.0.2.1", "1234", "https", "on")
    assert client_of(environ_for(environ=peer, client=ClientAddress("192.0.2.1"), scheme="http")) == (
        "192.0.2.1", None, "http", None,
    )  # fmt: skip


def client_of(environ: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(environ.get(key) for key in ("REMOTE_ADDR", "REMOTE_PORT", "wsgi.url_scheme", "HTTPS"))


def test_what_joins_the_server_to_the_proxy_is_kept_from_the_application() -> None:
    keys = {"wsgiproxy.upgrade": True, "HTTP_UPGRADE": "websocket", "wsgi.early_hints": print}
    environ = environ_for(environ=keys, upgrade="websocket")
    assert not environ.keys() & keys.keys()


def test_early_hints_go_to_the_client_where_it_takes_them() -> None:
    hints: list[Fields] = []
    environ = environ_for(on_early_hints=hints.append)
    environ["wsgi.early_hints"]([("Link", "</a.css>")])
    assert hints == [[("Link", "</a.css>")]]


def test_read_returns_what_was_asked_for_across_pieces() -> None:
    source = input_of(b"ab", b"cdefg", b"h")
    assert [source.read(3), source.read(0), source.read(3), source.read(9), source.read(9)] == [
        b"abc", b"", b"def", b"gh", b"",
    ]  # fmt: skip


@pytest.mark.parametrize("size", [(), (-1,), (None,)])
def test_read_without_a_size_returns_all(size: tuple[Any, ...]) -> None:
    pieces = [b"x" * 70_000, b"y", b"z" * 9_000]
    assert input_of(*pieces).read(*size) == b"".join(pieces)


def test_lines_are_found_across_pieces() -> None:
    assert list(input_of(b"on", b"e\ntwo\nth", b"ree")) == [b"one\n", b"two\n", b"three"]
    assert input_of(b"one\ntwo\n").readlines() == [b"one\n", b"two\n"]
    source = input_of(b"hello\nworld")
    assert [source.readline(2), source.readline(), source.readline(-1)] == [b"he", b"llo\n", b"world"]


def test_a_body_is_not_asked_again_after_its_end() -> None:
    body = ScriptedBody(b"all")
    source = environ_for(body=body)["wsgi.input"]
    assert [source.read(), source.read(), source.read(1)] == [b"all", b"", b""]
    assert body.asked == 2


def test_nothing_is_read_before_the_application_asks() -> None:
    body = ScriptedBody(b"all")
    environ_for(body=body)
    assert body.asked == 0


def test_a_failure_of_the_client_is_raised_kept_and_raised_again() -> None:
    gone = ClientDisconnectedError("gone")
    body = ScriptedBody(b"half", gone, b"ghost")
    environ, raw = app_environ(request(body=body))
    for _ in range(2):
        with pytest.raises(ClientDisconnectedError) as caught:
            environ["wsgi.input"].read(10)
        assert caught.value is gone
    assert raw.failure is gone
    assert body.asked == 2
