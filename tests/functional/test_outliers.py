"""Backends that fail real requests: kept from harm, and the clients from theirs; no health check is configured."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Start
from tests.functional.scene import FRONT, Backend, Load, start_daemon


class Hostile:
    """A server that resets, or hangs up on, every connection once a request has come; ``asked`` counts those."""

    def __init__(self, reset: bool) -> None:
        self.asked = 0
        self._reset = reset
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with sock:
                sock.settimeout(10)
                if not sock.recv(65536):
                    continue
                self.asked += 1
                if self._reset:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(15)


@pytest.fixture(params=[True, False], ids=["reset", "hang-up"])
def hostile(request: pytest.FixtureRequest) -> Iterator[Hostile]:
    server = Hostile(request.param)
    yield server
    server.close()


def test_a_backend_that_fails_every_request_is_asked_five_times_and_no_client_sees_it(
    start: Start, tmp_path: Path, hostile: Hostile
) -> None:
    good = [Backend(start, name) for name in "abcd"]
    backends = ", ".join(f"'{backend.address}'" for backend in (*good, hostile))
    pool = f"{{backends: [{backends}], outliers: {{base_ejection_time: 60s}}}}"
    daemon = start_daemon(start, tmp_path, f"{FRONT}pools: {{web: {pool}}}\nroutes: [{{pool: web}}]\n")
    with Load(daemon.port, clients=4) as load:
        daemon.wait_for_line(f"{hostile.address} is ejected for 60 s: 5 failures in a row")
        load.wait_for_more(500)
        assert load.wrong == load.failed == []
    assert 5 <= hostile.asked <= 5 + 4  # those that were under way when it was ejected


def test_a_backend_that_was_ejected_is_tried_again_and_stays_where_it_has_recovered(
    start: Start, tmp_path: Path
) -> None:
    a, b = Backend(start, "a"), Backend(start, "b")
    pool = f"{{backends: ['{a.address}', '{b.address}'], outliers: {{base_ejection_time: 300ms}}}}"
    daemon = start_daemon(start, tmp_path, f"{FRONT}pools: {{web: {pool}}}\nroutes: [{{pool: web}}]\n")
    with Load(daemon.port, clients=4) as load:
        load.wait_for_more(50)
        a.kill()
        daemon.wait_for_line(f"{a.address} is ejected for 0.3 s")
        mark = daemon.mark
        a.restart()
        daemon.wait_for_line(f"{a.address} is no longer ejected", mark)
        before = load.names.count("a")
        load.wait_for_more(200)
        assert load.names.count("a") > before
        assert load.wrong == load.failed == []


def test_a_backend_that_fails_too_large_a_share_of_requests_is_ejected(start: Start, tmp_path: Path) -> None:
    a, b = Backend(start, "a"), Backend(start, "b")
    outliers = "{failure_percent: 40, minimum_requests: 20, base_ejection_time: 60s}"
    pool = f"{{backends: ['{a.address}', '{b.address}'], outliers: {outliers}}}"
    daemon = start_daemon(start, tmp_path, f"{FRONT}pools: {{web: {pool}}}\nroutes: [{{pool: web}}]\n")
    error = "/raw?HTTP/1.1%20503%20No%0D%0AContent-Length:%200%0D%0A%0D%0A"
    for target in [*["/fine"] * 20, *[error] * 9] * 2:  # each backend gets half of each
        daemon.ask(target)
    assert "is ejected" not in daemon.process.output()
    for _ in range(40):
        daemon.ask(error)
    line = daemon.wait_for_line("is ejected for 60 s: ")
    assert re.search(r"is ejected for 60 s: \d+ of \d+ attempts failed in 10 s", line)
    ejected, left = (a, b) if f"{a.address} is ejected" in line else (b, a)
    before = len(ejected.requests())
    for _ in range(10):
        daemon.ask("/fine")
    assert len(ejected.requests()) == before
    assert "GET /fine" in left.requests()
    assert daemon.process.output().count("is ejected") == 1, "the last one is never ejected"
