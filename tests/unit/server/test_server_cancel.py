from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gevent
import gevent.event

from tests.loopback import Client, Serving, serving, wait_for
from tests.unit.server.gated import Gate, ask, environ_app
from wsgiproxy.errors import ProxyError


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


class TestTunnels:
    """After a 101 the connection is the application's."""

    REQUEST = b"GET /t HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"

    class Echo:
        def __init__(self) -> None:
            self.errors: list[ProxyError] = []
            self.closed = 0

        def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
            environ["wsgiproxy.on_cancel"](self.errors.append)
            start_response("101 Switching Protocols", [("Upgrade", "echo")])
            return self

        def run_tunnel(self, client: Any, early: bytes) -> None:
            data = early
            while data:
                client.send_all(data, 5.0)
                data = client.recv(100, time.monotonic() + 30)

        def close(self) -> None:
            self.closed += 1

    def open(self, running: Serving) -> Client:
        client = running.client()
        client.send(self.REQUEST + b"early")
        assert client.read_to(b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
        assert client.read_exactly(5) == b"early"
        return client

    def test_bytes_go_both_ways_until_it_ends(self) -> None:
        echo = self.Echo()
        with serving(echo) as running:
            client = self.open(running)
            for word in (b"one", b"GET / HTTP/1.1\r\n\r\n"):
                client.send(word)
                assert client.read_exactly(len(word)) == word
            client.sock.shutdown(1)
            gevent.sleep(0.6)  # a hang-up would be noticed by now
            assert client.is_closed()
            wait_for(lambda: running.server.connections == 0)
        assert (echo.errors, echo.closed) == ([], 1)

    def test_a_drain_lets_it_go_on_and_then_cuts_it(self) -> None:
        echo = self.Echo()
        with serving(echo) as running:
            client = self.open(running)
            drain = gevent.spawn(running.server.drain, 1.2)
            gevent.sleep(0.8)
            client.send(b"still")
            assert client.read_exactly(5) == b"still"
            assert drain.get() is False
            assert client.is_closed()
        assert echo.closed == 1

    def test_a_half_close_before_the_answer_is_the_tunnels_affair(self) -> None:
        errors: list[ProxyError] = []
        over = gevent.event.Event()

        class Talking:
            def run_tunnel(self, client: Any, early: bytes) -> None:
                environ["wsgiproxy.on_cancel"](errors.append)
                client.send_all(early, 5.0)
                over.wait()

        def app(given: dict[str, Any], start_response: Callable[..., Any]) -> Any:
            environ.update(given)
            gevent.sleep(0.1)  # the hang-up is seen now, and its grace ends within the tunnel
            start_response("101 Switching Protocols", [("Upgrade", "echo")])
            return Talking()

        environ: dict[str, Any] = {}
        with serving(app) as running:
            client = running.client()
            client.send(self.REQUEST + b"early")
            client.sock.shutdown(1)
            assert client.read_to(b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
            gevent.sleep(0.6)  # a hang-up would be noticed by now
            assert errors == []
            running.server._connections.copy().pop().cut()
            assert [str(error) for error in errors] == ["the server has stopped"]
            over.set()
