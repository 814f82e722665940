from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.event
import pytest

from tests.loopback import serving, wait_for
from tests.unit.server.gated import Gate, ask, environ_app
from wsgiproxy.config import schema
from wsgiproxy.transport.stream import InterruptedWaitError

SHORT = schema.ClientTimeouts(header=0.3, body=0.3, keep_alive=0.3, write=0.3)
LONG = b"x" * 300_000


class TestWaits:
    """A client is never waited for without an end; each of these costs a fraction of a second."""

    def test_an_idle_connection_is_closed_without_a_word(self) -> None:
        with serving(environ_app, timeouts=SHORT) as running:
            fresh, used = running.client(), running.client()
            assert used.get().status == 200
            started = time.monotonic()
            assert fresh.rest() == used.rest() == b""
            assert time.monotonic() - started < 1

    @pytest.mark.parametrize("step", [1, 1000])
    def test_a_head_that_does_not_end_is_refused_however_slowly_it_grows(self, step: int) -> None:
        with serving(environ_app, timeouts=SHORT) as running:
            client = running.client()
            started = time.monotonic()
            client.send(b"GET / HTTP/1.1\r\n")
            with pytest.raises(AssertionError):  # one header byte after the other until an answer is there
                while time.monotonic() - started < 2:
                    client.send(b"X" * step if step == 1 else b"")
                    assert client.is_silent(0.02)
            assert 0.3 <= time.monotonic() - started < 1
            assert client.rest().startswith(b"HTTP/1.1 408 Request Timeout\r\n")

    @pytest.mark.parametrize("framing", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
    def test_a_body_that_does_not_come_is_refused(self, framing: bytes) -> None:
        def app(environ: dict[str, Any], _: Callable[..., Any]) -> list[bytes]:
            return [environ["wsgi.input"].read()]

        with serving(app, timeouts=SHORT) as running:
            client = running.client()
            client.send(b"POST / HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\n3")
            assert client.answer().status == 408
            assert client.is_closed()

    def test_a_client_that_does_not_read_is_cut(self) -> None:
        gate = Gate(size=50_000_000)
        gate.opened.set()
        with serving(gate, timeouts=SHORT) as running:
            client = ask(running)
            wait_for(lambda: running.server.connections == 1)
            wait_for(lambda: running.server.connections == 0)
            with pytest.raises(ConnectionResetError):  # what it did not take is not left with the kernel
                client.rest()

    def test_a_client_that_reads_slowly_is_not_cut(self) -> None:
        gate = Gate(size=24_000_000)
        gate.opened.set()
        with serving(gate, timeouts=schema.ClientTimeouts(write=1.0)) as running:
            client = ask(running)
            client.read_to(b"\r\n\r\n")
            for _ in range(10):
                client.read_exactly(2_400_000)
                gevent.sleep(0.12)
            assert client.get("/open").status == 200

    def test_a_client_may_be_idle_for_no_time_and_still_ask_once(self) -> None:
        with serving(environ_app, timeouts=schema.ClientTimeouts(keep_alive=0.0)) as running:
            client = running.client()
            gevent.sleep(0.3)
            assert client.get()["connection"] == "close"
            assert client.is_closed()

    @pytest.mark.parametrize("rest", [b"", b"\r\n"])
    def test_a_line_end_behind_a_body_is_no_request(self, rest: bytes) -> None:
        with serving(environ_app, timeouts=schema.ClientTimeouts(header=0.2, keep_alive=0.6)) as running:
            client = running.client()
            client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx" + rest)
            assert client.answer().status == 200
            started = time.monotonic()
            assert client.rest() == b""
            assert 0.5 <= time.monotonic() - started < 1.5

    @pytest.mark.parametrize("step", [1, 20])
    def test_a_body_that_comes_too_slowly_is_refused(self, step: int) -> None:
        def app(environ: dict[str, Any], _: Callable[..., Any]) -> list[bytes]:
            return [environ["wsgi.input"].read()]

        limits = schema.Limits(min_rate=10_000)
        with serving(app, timeouts=schema.ClientTimeouts(body=0.5), limits=limits) as running:
            client = running.client()
            client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n")
            started = time.monotonic()
            while time.monotonic() - started < 3 and client.is_silent(0.02):
                client.send(b"x" * step)
            assert 0.4 <= time.monotonic() - started < 1.5
            assert client.answer().status == 408

    def test_what_is_left_of_a_body_is_not_waited_for_long(self) -> None:
        with serving(environ_app) as running:
            client = running.client()
            client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\nx")
            assert client.answer().status == 200
            started = time.monotonic()
            assert client.is_closed()
            assert 2 <= time.monotonic() - started < 5


class TestInterrupt:
    """A wait for the body can be ended, and the body read on."""

    @pytest.mark.parametrize("framing", ["Content-Length: 6", "Transfer-Encoding: chunked"])
    def test_an_interrupted_body_is_not_spoilt(self, framing: str) -> None:
        seen: list[Any] = []

        def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
            body = environ["wsgi.input"]
            body.interrupt()  # while nobody waits: nothing
            while len(seen) < 3:
                gevent.spawn_later(0.02, body.interrupt)
                try:
                    body.read_some()
                except InterruptedWaitError:
                    seen.append("interrupted")
            client.send(b"abcdef" if "Length" in framing else b"6\r\nabcdef\r\n0\r\n\r\n")
            seen.append(body.read())
            body.interrupt()
            start_response("200 OK", [])
            return [b"ok"]

        with serving(app) as running:
            client = running.client()
            client.send(f"POST / HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n".encode())
            assert client.answer().body == b"ok"
            assert seen == ["interrupted"] * 3 + [b"abcdef"]
            seen[:] = [0, 0, 0]
            client.send(f"POST / HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n".encode())
            assert client.answer().status == 200


def app_of(body: Any) -> Callable[..., Any]:
    def app(_: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        start_response("200 OK", [])
        return body

    return app


def test_the_whole_answer_may_have_a_time_limit() -> None:
    def drip() -> Iterator[bytes]:
        while True:
            yield LONG * 10

    timeouts = schema.ClientTimeouts(response=0.5)
    with serving(app_of(drip()), timeouts=timeouts) as running:
        client = running.client()
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        started = time.monotonic()
        with pytest.raises((EOFError, ConnectionResetError)):
            while time.monotonic() - started < 4:
                client.read_exactly(100_000)
                gevent.sleep(0.01)
        assert 0.4 <= time.monotonic() - started < 2


def test_a_client_that_takes_an_answer_too_slowly_is_cut() -> None:
    timeouts, limits = schema.ClientTimeouts(write=0.5), schema.Limits(min_rate=60_000_000)
    with serving(app_of([LONG * 100]), timeouts=timeouts, limits=limits) as running:
        client = running.client()
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        client.read_to(b"\r\n\r\n")
        started = time.monotonic()
        while running.server.connections and time.monotonic() - started < 4:
            client.read_exactly(200_000)  # now and then, so that no single wait is too long
            gevent.sleep(0.05)
        assert 0.8 <= time.monotonic() - started < 2


class Ending:
    """A body without an end, of which the client must have all by then."""

    def __init__(self, ends_by: float) -> None:
        self.ends_by = ends_by

    def __iter__(self) -> Iterator[bytes]:
        while True:
            yield LONG * 10


@pytest.mark.parametrize("timeouts", [schema.ClientTimeouts(), schema.ClientTimeouts(response=20.0)])
def test_a_body_may_say_itself_when_the_client_is_cut(timeouts: schema.ClientTimeouts) -> None:
    body = Ending(time.monotonic() + 0.3)
    with serving(app_of(body), timeouts=timeouts) as running:
        client = running.client()
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        client.read_to(b"\r\n\r\n")
        while running.server.connections and time.monotonic() < body.ends_by + 4:
            gevent.sleep(0.01)  # it reads nothing
        assert body.ends_by <= time.monotonic() < body.ends_by + 2
