"""Health checks of a real daemon: who waits for the first one, who asks to be drained, bodies, ports, and TLS."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests import certificates
from tests.conftest import Start
from tests.functional.scene import FRONT, Daemon, start_daemon
from tests.processes import wait_until

Answer = tuple[int, dict[str, str], bytes]
UP: Answer = (200, {}, b"status: up")


class Server:
    """A backend that answers ``/healthz`` as ``check`` says, once ``gate`` is open, and all else with its name."""

    def __init__(self, name: str, tls: ssl.SSLContext | None = None) -> None:
        self.name = name
        self.check = UP
        self.checks = self.requests = 0
        self.gate = threading.Event()
        self.gate.set()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.port = self._http.server_port
        self.address = f"http://127.0.0.1:{self.port}"
        if tls is not None:
            self.address = f"https://localhost:{self.port}"
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer: Answer = (200, {}, server.name.encode())
                if self.path == "/healthz":
                    server.checks += 1
                    server.gate.wait(10)
                    answer = server.check
                else:
                    server.requests += 1
                status, fields, body = answer
                self.send_response(status)
                for name, value in {**fields, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                with contextlib.suppress(OSError):  # who asked may have read enough
                    self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        return Handler

    def close(self) -> None:
        """Answer nobody any more."""
        self.gate.set()
        self._http.shutdown()
        self._thread.join(10)
        self._http.server_close()


@pytest.fixture(name="serve")
def fixture_serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def serve(name: str, tls: ssl.SSLContext | None = None) -> Server:
        servers.append(Server(name, tls))
        return servers[-1]

    yield serve
    for server in servers:
        server.close()


def config(*servers: Server, **check: Any) -> str:
    """A pool of these servers, checked every 20 ms, where one result decides."""
    health_check = {"path": "/healthz", "interval": "20ms", "healthy_threshold": 1, "unhealthy_threshold": 1, **check}
    pool = {"backends": [server.address for server in servers], "health_check": health_check}
    return f"{FRONT}pools: {{web: {json.dumps(pool)}}}\nroutes: [{{pool: web}}]\n"


def takers(daemon: Daemon, count: int = 12) -> set[str]:
    """Who answers so many requests."""
    answers = [daemon.ask("/") for _ in range(count)]
    assert {answer.status for answer in answers} == {200}
    return {answer.body.decode() for answer in answers}


def test_a_backend_that_a_reload_adds_gets_no_work_before_its_first_good_check(
    start: Start, tmp_path: Path, serve: Callable[..., Server]
) -> None:
    a, b = serve("a"), serve("b")
    daemon = start_daemon(start, tmp_path, config(a, interval="60s", timeout="10s"))
    daemon.wait_for_line(f"{a.address} is healthy (1 good check)")
    b.gate.clear()
    daemon.reload(config(a, b, interval="60s", timeout="10s"))
    wait_until(lambda: b.checks == 1, what="b to be checked")
    assert takers(daemon) == {"a"}
    assert b.requests == 0
    b.gate.set()
    daemon.wait_for_line(f"{b.address} is healthy (1 good check)")
    assert takers(daemon) == {"a", "b"}
    assert a.checks == b.checks == 1  # the reload has left a what it knew


def test_a_backend_that_is_said_to_be_healthy_works_at_once(
    start: Start, tmp_path: Path, serve: Callable[..., Server]
) -> None:
    a, b = serve("a"), serve("b")
    for server in (a, b):
        server.gate.clear()
    daemon = start_daemon(start, tmp_path, config(a, initial="healthy", timeout="10s"))
    assert takers(daemon) == {"a"}
    daemon.reload(config(a, b, initial="healthy", timeout="10s"))
    assert takers(daemon) == {"a", "b"}


def test_at_the_start_those_work_that_are_not_checked_yet(
    start: Start, tmp_path: Path, serve: Callable[..., Server]
) -> None:
    a = serve("a")
    a.gate.clear()
    daemon = start_daemon(start, tmp_path, config(a, timeout="10s"))
    assert takers(daemon) == {"a"}
    assert "is healthy" not in daemon.process.output()


@pytest.mark.parametrize(
    ("answer", "option", "reason"),
    [
        ((503, {"X-Maintenance": "drain"}, b""), {}, "status 503 with X-Maintenance: drain"),
        ((404, {}, b"no such page"), {"drain_on_404": True}, "status 404"),
    ],
)
def test_a_backend_may_ask_to_be_drained_and_comes_back(
    start: Start, tmp_path: Path, serve: Callable[..., Server], answer: Answer, option: dict[str, bool], reason: str
) -> None:
    a, b = serve("a"), serve("b")
    daemon = start_daemon(start, tmp_path, config(a, b, unhealthy_threshold=1000, **option))
    for server in (a, b):
        daemon.wait_for_line(f"{server.address} is healthy")
    a.check = answer
    daemon.wait_for_line(f"{a.address} is draining: {reason} (1 drain check)")
    assert takers(daemon) == {"b"}
    seen, mark = a.checks, daemon.mark
    wait_until(lambda: a.checks > seen + 2, what="a to be checked on")
    a.check = UP
    daemon.wait_for_line(f"{a.address} is healthy (1 good check)", mark)
    assert takers(daemon) == {"a", "b"}
    assert daemon.process.output().count("is draining") == 1
    assert daemon.process.output().count(f"{a.address} is healthy") == 2


def test_a_body_must_say_what_it_should_within_its_first_64_kib(
    start: Start, tmp_path: Path, serve: Callable[..., Server]
) -> None:
    a, b = serve("a"), serve("b")
    daemon = start_daemon(start, tmp_path, config(a, b, expected_body="^status: (up|ready)", interval_unhealthy="10ms"))
    for server in (a, b):
        daemon.wait_for_line(f"{server.address} is healthy")
    a.check = (200, {}, b"status: down")
    daemon.wait_for_line(f"{a.address} is unhealthy: the first 12 bytes of the body do not match expected_body (1 bad")
    assert takers(daemon) == {"b"}
    a.check = UP
    mark = daemon.mark
    daemon.wait_for_line(f"{a.address} is healthy", mark)
    a.check = (200, {}, b"x" * 1_000_000 + b"\nstatus: up")
    daemon.wait_for_line(f"{a.address} is unhealthy: the first 65536 bytes of the body do not match", mark)


def test_another_port_may_say_how_a_backend_is(start: Start, tmp_path: Path, serve: Callable[..., Server]) -> None:
    a, sidecar = serve("a"), serve("sidecar")
    sidecar.check = (500, {}, b"")
    daemon = start_daemon(start, tmp_path, config(a, port=sidecar.port))
    daemon.wait_for_line(f"{a.address} is unhealthy: status 500")
    sidecar.check = UP
    daemon.wait_for_line(f"{a.address} is healthy")
    assert takers(daemon) == {"a"}
    assert (a.checks, sidecar.requests) == (0, 0)


def test_checks_of_https_backends_speak_tls_and_verify_as_requests_do(
    start: Start, tmp_path: Path, need: Callable[[str], str], serve: Callable[..., Server]
) -> None:
    need("openssl")
    folders = [tmp_path / name for name in ("right", "wrong")]
    for folder in folders:
        folder.mkdir()
    right, wrong = map(certificates.Authority, folders)
    leaf = right.issue("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(leaf.certificate, leaf.key)
    server, sidecar = serve("a", context), serve("sidecar", context)
    check = {"path": "/healthz", "expected_body": "up", "interval": "20ms"}
    pools = {}
    for name, authority in (("right", right), ("wrong", wrong)):
        secure = {"backends": [server.address], "tls": {"ca": str(authority.certificate)}}
        pools[name] = {**secure, "health_check": check}
        pools[f"{name}-tcp"] = {**secure, "health_check": {"kind": "tcp", "interval": "20ms"}}
        pools[f"{name}-port"] = {**secure, "health_check": {**check, "port": sidecar.port}}
    daemon = start_daemon(start, tmp_path, f"{FRONT}pools: {json.dumps(pools)}\nroutes: [{{pool: right}}]\n")
    for more in ("", "-tcp", "-port"):
        daemon.wait_for_line(f"pool right{more}: {server.address} is healthy (1 good check)")
        daemon.wait_for_line(f"pool wrong{more}: {server.address} is unhealthy: tls_error: ")
    assert sidecar.checks > 0
    assert takers(daemon) == {"a"}
