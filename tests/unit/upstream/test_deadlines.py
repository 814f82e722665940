"""Which time-out it was."""

from __future__ import annotations

import functools
import socket
import time
from math import inf
from typing import Any

import gevent
import pytest

from tests.scripted import OK, Peer, body, pause
from tests.unit.upstream.talks import Upstream, block, get, post, read, talking
from wsgiproxy.config import schema
from wsgiproxy.errors import (
    AttemptTimeout,
    ConnectTimeout,
    ExchangeTimeout,
    FirstByteTimeout,
    ProxyError,
    ReadTimeout,
    Retry,
)
from wsgiproxy.transport.thread import ThreadDriver
from wsgiproxy.upstream.connector import Connector
from wsgiproxy.upstream.deadlines import overdue
from wsgiproxy.upstream.http import HttpUpstream
from wsgiproxy.upstream.messages import UpstreamRequest


@pytest.mark.parametrize(
    ("head_by", "ends_by", "expected"),
    [
        (inf, inf, ConnectTimeout),
        (0.0, inf, AttemptTimeout),
        (inf, 0.0, ExchangeTimeout),
        (0.0, 0.0, ExchangeTimeout),
    ],
)
def test_the_widest_time_that_has_run_out_is_told(head_by: float, ends_by: float, expected: type[ProxyError]) -> None:
    request, now = get(), time.monotonic()
    request.head_by, request.ends_by = now + head_by, now + ends_by
    error = overdue(request, ConnectTimeout("no connection in time"), False)
    assert type(error) is expected
    assert "no connection in time" in str(error)


@pytest.mark.parametrize(("sent", "retry"), [(False, Retry.ALWAYS), (True, Retry.IDEMPOTENT)])
def test_an_attempt_that_sent_nothing_may_always_be_repeated(sent: bool, retry: Retry) -> None:
    request = get()
    request.head_by = 0.0
    assert overdue(request, ConnectTimeout("late"), sent).retry is retry


# --- over the wire ----------------------------------------------------------------------------------------------------


def bounded(request: UpstreamRequest, key: str, seconds: float) -> UpstreamRequest:
    """The request with ``head_by`` or ``ends_by`` so many seconds from now."""
    setattr(request, key, time.monotonic() + seconds)
    return request


def error_of(talk: Upstream, request: UpstreamRequest) -> ProxyError:
    with pytest.raises(ProxyError) as caught:
        talk.send(request)
    assert talk.idle_connections() == 0
    return caught.value


EITHER = pytest.mark.parametrize(("key", "kind"), [("head_by", AttemptTimeout), ("ends_by", ExchangeTimeout)])
DRIPS = [step for byte in OK for step in (bytes([byte]), pause(0.02))]


@EITHER
@pytest.mark.parametrize("steps", [[], DRIPS])
def test_the_head_must_be_there_by_then_whether_the_backend_is_silent_or_drips(
    key: str, kind: type[ProxyError], steps: list[Any]
) -> None:
    with talking([Peer.head, *steps]) as talk:
        began = time.monotonic()
        error = error_of(talk, bounded(get(), key, 0.1))
        assert time.monotonic() - began >= 0.1
    assert type(error) is kind
    assert (error.status, error.retry) == (504, kind.retry)


@EITHER
def test_a_backend_that_takes_no_bytes_ends_the_attempt_by_then(key: str, kind: type[ProxyError]) -> None:
    with talking([Peer.head, lambda peer: gevent.sleep(1)]) as talk:
        assert type(error_of(talk, bounded(post(b"x" * 20_000_000), key, 0.1))) is kind


@EITHER
def test_a_connection_must_be_made_by_then(key: str, kind: type[ProxyError]) -> None:
    def dial(deadline: float) -> Any:
        gevent.sleep(deadline - time.monotonic())
        raise ConnectTimeout("no connection in time")

    with talking(connect=0.1) as talk:
        talk.connector._dial = dial
        error = error_of(talk, bounded(get(), key, 0.05))
        assert type(error) is kind
        assert error.retry is (Retry.ALWAYS if key == "head_by" else Retry.NEVER)
        assert type(error_of(talk, bounded(get(), key, 20))) is ConnectTimeout, "a shorter wait keeps its own name"


@pytest.mark.parametrize("key", ["head_by", "ends_by"])
def test_a_thread_of_a_blocking_host_does_not_wait_longer_either(key: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        connect = functools.partial(ThreadDriver().connect_tcp, *silent.getsockname())
        upstream = HttpUpstream("backend.example", Connector("http://silent", connect))
        with pytest.raises(AttemptTimeout if key == "head_by" else ExchangeTimeout):
            upstream.send(bounded(get(), key, 0.1))
        request = get(timeouts=schema.Timeouts(first_byte=0.1))
        with pytest.raises(FirstByteTimeout):
            upstream.send(request)


def test_the_next_answer_after_an_interim_one_is_awaited_as_the_first() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    with talking([Peer.head, hints, pause(0.2), OK], [Peer.head, hints], read=0.05, first_byte=1.0) as talk:
        assert read(talk.send(get())) == b"ok"
        talk.connector.close()
        talk.configure(block(first_byte=0.1))
        assert type(error_of(talk, get())) is FirstByteTimeout


def test_a_body_may_come_when_the_head_was_long_due_and_be_late_by_a_time_of_its_own() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
    with talking([Peer.head, head, *[pause(0.03), b"x"] * 9], read=0.15) as talk:
        response = talk.send(bounded(get(), "head_by", 0.1))
        with pytest.raises(ReadTimeout) as caught:
            read(response)
    assert type(caught.value) is ReadTimeout


def test_not_even_a_backend_that_never_pauses_may_go_on_after_the_end() -> None:
    def flood(peer: Peer) -> None:
        while not peer.closed:
            peer.sock.sendall(b"x" * 65536)

    with talking([Peer.head, b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", flood]) as talk:
        response = talk.send(bounded(get(), "ends_by", 0.1))
        with pytest.raises(ExchangeTimeout):
            for _ in response.body:
                gevent.sleep(0)


def swallow(peer: Peer) -> None:
    while not peer.closed:
        peer.closed = not peer.sock.recv(65536)


def test_an_upload_ends_with_the_exchange_even_where_the_backend_takes_all_of_it() -> None:
    with talking([Peer.head, swallow]) as talk:
        endless = post(*[b"x", lambda: gevent.sleep(0.01)] * 1000, chunked=True)
        assert type(error_of(talk, bounded(endless, "ends_by", 0.1))) is ExchangeTimeout


def test_the_time_that_a_client_takes_for_its_body_is_not_the_attempts() -> None:
    with talking([Peer.head, body(4), OK], [Peer.head]) as talk:
        slow = post(b"ab", lambda: gevent.sleep(0.3), b"cd")
        assert read(talk.send(bounded(slow, "head_by", 0.2))) == b"ok"
        talk.connector.close()
        slow = post(b"ab", lambda: gevent.sleep(0.1), b"cd")
        assert type(error_of(talk, bounded(slow, "head_by", 0.1))) is AttemptTimeout


def test_a_long_upload_goes_on_beside_an_early_answer_when_the_head_was_long_due() -> None:
    early = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    size = 20_000_000
    script = [Peer.head, body(3), early, pause(0.2), body(size + 1), b"2\r\nok\r\n0\r\n\r\n"]
    with talking(script, duplex=True) as talk:
        wsgi_input = type("Input", (), {"interrupt": lambda self: None})()
        wait = functools.partial(gevent.sleep, 0.02)
        request = post(b"ab", wait, b"c", wait, b"d", b"x" * size, environ={"wsgi.input": wsgi_input})
        assert read(talk.send(bounded(request, "head_by", 0.1))) == b"ok"


def test_an_answer_that_came_in_time_counts_where_the_upload_beside_it_did_not_end() -> None:
    with talking([Peer.head, OK, lambda peer: gevent.sleep(0.5)]) as talk:
        assert read(talk.send(bounded(post(b"x" * 20_000_000), "head_by", 0.1))) == b"ok"
