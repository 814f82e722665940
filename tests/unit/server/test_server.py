from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import gevent.event
import pytest

from tests.loopback import Client, Serving, serving, wait_for
from wsgiproxy.config import schema
from wsgiproxy.errors import ProxyError

SHORT = schema.ClientTimeouts(header=0.3, body=0.3, keep_alive=0.3, write=0.3)


class Gate:
    """An application that waits to be let through and counts those inside; ``/open`` passes at once."""

    def __init__(self, size: int = 5) -> None:
        self.opened = gevent.event.Event()
        self.inside = 0
        self.size = size

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        self.inside += 1
        if environ["PATH_INFO"] != "/open":
            self.opened.wait()
        self.inside -= 1
        start_response("200 OK", [])
        return [b"x" * self.size]


def environ_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [])
    keys = ("REMOTE_ADDR", "REMOTE_PORT", "SERVER_NAME", "SERVER_PORT")
    return [repr([environ.get(key) for key in keys]).encode()]


def ask(running: Serving, target: str = "/") -> Client:
    client = running.client()
    client.send(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return client


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.opened.set()


def test_both_ends_of_a_tcp_connection_are_in_the_environ() -> None:
    with serving(environ_app) as running:
        client = running.client()
        host, port = client.sock.getsockname()
        assert client.get().body.decode() == repr([host, str(port), "127.0.0.1", str(running.address[1])])


def test_a_unix_socket_has_names_for_what_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with serving(environ_app, address=f"unix:{path}") as running:
        client = running.client()
        for _ in range(2):
            assert client.get().body.decode() == repr(["", None, "localhost", "80"])
        assert repr(running.server) == "<Server on localhost:80, 1 connections>"


def test_many_clients_are_served_at_the_same_time(gate: Gate) -> None:
    with serving(gate) as running:
        clients = [ask(running) for _ in range(200)]
        wait_for(lambda: gate.inside == 200)
        assert running.server.connections == 200
        gate.opened.set()
        assert [client.answer().status for client in clients] == [200] * 200
        for client in clients:
            client.sock.close()
        wait_for(lambda: running.server.connections == 0)


def test_a_drain_without_connections_is_done_at_once() -> None:
    with serving(environ_app) as running:
        assert running.server.drain(5)
        with pytest.raises(ConnectionRefusedError):
            running.client()


def test_a_drain_closes_idle_connections_soon_and_lets_the_others_finish(gate: Gate) -> None:
    with serving(gate) as running:
        fresh, idle, busy = running.client(), running.client(), ask(running)
        assert idle.get("/open")["connection"] is None
        wait_for(lambda: gate.inside == 1 and running.server.connections == 3)
        started = time.monotonic()
        drain = gevent.spawn(running.server.drain, 5)
        assert idle.is_closed()
        assert fresh.is_closed()
        assert 0.4 < time.monotonic() - started < 2
        with pytest.raises(ConnectionRefusedError):
            running.client()
        assert not drain.ready()
        gate.opened.set()
        answer = busy.answer()
        assert (answer.status, answer["connection"], answer.body) == (200, "close", b"x" * 5)
        assert busy.is_closed()
        assert drain.get() is True


def test_the_next_request_of_a_client_that_is_idle_for_a_moment_is_still_answered_in_a_drain() -> None:
    with serving(lambda environ, start_response: start_response("200 OK", []) and [b"ok"]) as running:
        fresh, idle = running.client(), running.client()
        assert idle.get("/")["connection"] is None
        drain = gevent.spawn(running.server.drain, 5)
        wait_for(lambda: running.server.draining)
        assert [client.get("/")["connection"] for client in (fresh, idle)] == ["close", "close"]
        assert drain.get() is True


def test_a_drain_waits_for_a_request_whose_head_is_still_coming(gate: Gate) -> None:
    with serving(gate) as running:
        client = running.client()
        client.send(b"GET /open HTT")
        wait_for(lambda: running.server.connections == 1)
        gevent.sleep(0.01)
        drain = gevent.spawn(running.server.drain, 5)
        assert client.is_silent()
        client.send(b"P/1.1\r\nHost: x\r\n\r\n")
        assert client.answer()["connection"] == "close"
        assert drain.get() is True


def test_a_drain_cuts_what_is_late(gate: Gate) -> None:
    cancelled: list[ProxyError] = []

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        environ["wsgiproxy.on_cancel"](lambda error: (cancelled.append(error), gate.opened.set()))
        return gate(environ, start_response)

    with serving(app) as running:
        client = ask(running)
        wait_for(lambda: gate.inside == 1)
        started = time.monotonic()
        assert running.server.drain(0.2) is False
        assert 0.2 <= time.monotonic() - started < 1
        assert client.is_closed()
        assert [str(error) for error in cancelled] == ["the server has stopped"]
        assert running.server.connections == 0


def test_close_cuts_everything_at_once() -> None:
    gate = Gate(size=50_000_000)
    gate.opened.set()
    with serving(gate) as running:
        idle, busy = running.client(), ask(running)
        assert busy.read_exactly(1000)
        wait_for(lambda: running.server.connections == 2)
        started = time.monotonic()
        running.server.close()
        running.server.close()
        assert time.monotonic() - started < 0.5
        assert running.server.connections == 0
        assert idle.is_closed()
        assert len(busy.rest()) < 50_000_000


def test_nothing_is_accepted_before_the_start_and_after_the_stop() -> None:
    with serving(environ_app) as running:
        client = running.client()
        assert client.get().status == 200
        running.server.stop_accepting()
        running.server.stop_accepting()
        assert client.get().status == 200
        with pytest.raises(ConnectionRefusedError):
            running.client()


def test_a_server_without_descriptors_pauses_says_so_once_and_recovers(caplog: pytest.LogCaptureFixture) -> None:
    with serving(environ_app) as running:
        before = running.client()
        assert before.get().status == 200
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest = os.dup(0)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 2, hard))
        try:
            waiting = [running.client(), running.client()]
            wait_for(lambda: caplog.records, "a word about it")
            busy = time.process_time()
            for _ in range(10):
                assert before.get().status == 200
                gevent.sleep(0.05)
            assert time.process_time() - busy < 0.4
            assert running.server.connections == 1
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for client in waiting:
            assert client.get().status == 200
        assert [record.message for record in caplog.records] == [
            "cannot accept connections for now: Too many open files"
        ]


def test_a_stop_during_the_pause_is_final(caplog: pytest.LogCaptureFixture) -> None:
    with serving(environ_app) as running:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest = os.dup(0)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 1, hard))
        try:
            client = running.client()
            wait_for(lambda: caplog.records, "a word about it")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        running.server.stop_accepting()
        gevent.sleep(0.3)
        assert running.server.connections == 0
        assert client.is_closed()


def test_what_is_called_later_is_called_once() -> None:
    calls: list[float] = []
    with serving(environ_app) as running:
        started = time.monotonic()
        running.server.call_later(0.05, lambda: calls.append(time.monotonic() - started))
        assert calls == []
        wait_for(lambda: calls)
        gevent.sleep(0.1)
    (at,) = calls
    assert at >= 0.045


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
            assert len(client.rest()) < 50_000_000

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


class TestCancel:
    """``wsgiproxy.on_cancel``: how an application hears that its client has gone."""

    @staticmethod
    def leave(how: Callable[[Client], None], before: bytes = b"") -> float:
        """Seconds from the client's leaving to the application's hearing of it."""
        heard = gevent.event.AsyncResult()
        entered = gevent.event.Event()

        def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
            environ["wsgiproxy.on_cancel"](heard.set)
            entered.set()
            raise heard.get()

        with serving(app) as running:
            client = running.client()
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + before)
            entered.wait()
            started = time.monotonic()
            how(client)
            assert str(heard.get(timeout=5)) == "the client closed the connection"
            wait_for(lambda: running.server.connections == 0)
            return time.monotonic() - started

    def test_a_reset_is_heard_of_at_once(self) -> None:
        assert self.leave(lambda client: client.close_with_reset()) < 0.2

    def test_a_close_is_heard_of_after_a_grace(self) -> None:
        assert 0.49 <= self.leave(lambda client: client.sock.close()) < 1

    def test_a_half_close_is_heard_of_after_a_grace(self) -> None:
        assert 0.49 <= self.leave(lambda client: client.sock.shutdown(1)) < 1

    def test_a_client_that_half_closes_still_gets_a_prompt_answer(self, gate: Gate) -> None:
        with serving(gate) as running:
            client = ask(running)
            client.sock.shutdown(1)
            wait_for(lambda: gate.inside == 1)
            gevent.sleep(0.1)
            gate.opened.set()
            assert client.answer().body == b"x" * 5
            assert client.is_closed()

    def test_a_client_that_half_closes_after_several_requests_gets_all_answers(self) -> None:
        with serving(environ_app) as running:
            request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
            assert running.exchange(request * 50).count(b"HTTP/1.1 200 OK") == 50
