from __future__ import annotations

from pathlib import Path

import pytest

from tests.loopback import serving, wait_for
from tests.unit.server.gated import Gate, ask, environ_app
from wsgiproxy.config import schema


class TestLimits:
    """How many connections there may be, of all and of one client."""

    def test_more_than_there_may_be_wait_their_turn(self, gate: Gate) -> None:
        with serving(gate, limits=schema.Limits(connections=2)) as running:
            busy = [ask(running), ask(running)]
            waiting = [ask(running, "/open") for _ in range(4)]
            wait_for(lambda: gate.inside == 2)
            assert all(client.is_silent(0.05) for client in waiting)
            assert running.server.connections == 2
            gate.opened.set()
            for client in busy:
                assert client.answer().status == 200
                client.sock.close()
            for client in waiting:
                assert client.answer().status == 200
                client.sock.close()
            wait_for(lambda: running.server.connections == 0)
            assert ask(running).answer().status == 200

    def test_idle_connections_count(self) -> None:
        limits, timeouts = schema.Limits(connections=1), schema.ClientTimeouts(keep_alive=0.4)
        with serving(environ_app, limits=limits, timeouts=timeouts) as running:
            idle = running.client()
            assert idle.get().status == 200
            waiting = ask(running)
            assert waiting.is_silent(0.1)
            assert waiting.answer().status == 200
            assert idle.is_closed()

    def test_a_full_server_stops_as_any_other(self, gate: Gate) -> None:
        with serving(gate, limits=schema.Limits(connections=1)) as running:
            busy, waiting = ask(running), ask(running)
            wait_for(lambda: gate.inside == 1)
            running.server.stop_accepting()
            gate.opened.set()
            assert busy.answer().status == 200
            assert waiting.is_closed()
            busy.sock.close()
            wait_for(lambda: running.server.connections == 0)

    def test_one_client_may_have_so_many_and_is_told(self, caplog: pytest.LogCaptureFixture) -> None:
        with serving(environ_app, limits=schema.Limits(connections_per_client=2)) as running:
            kept = [running.client(), running.client()]
            assert [client.get().status for client in kept] == [200, 200]
            for _ in range(10):
                assert running.client().rest().startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
            assert running.server.connections == 2
            assert len(caplog.records) == 1
            other = running.client(source="127.0.0.2")
            assert other.get().status == 200
            kept[0].sock.close()
            wait_for(lambda: running.server.connections == 2)
            assert running.client().get().status == 200

    def test_clients_of_a_unix_socket_are_not_told_apart(self, tmp_path: Path) -> None:
        limits = schema.Limits(connections_per_client=1)
        with serving(environ_app, address=f"unix:{tmp_path}/s.sock", limits=limits) as running:
            assert [running.client().get().status for _ in range(3)] == [200] * 3
