from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import gevent.event
import pytest

from tests.loopback import serving, wait_for
from tests.unit.server.gated import Gate, ask, environ_app
from wsgiproxy.errors import ProxyError


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
        running.server.call_later(0.05, lambda: calls.append(time.monotonic()))
        assert calls == []
        wait_for(lambda: calls)
        gevent.sleep(0.1)
    assert len(calls) == 1
