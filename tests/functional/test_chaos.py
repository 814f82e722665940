"""Backends killed, stopped and restarted under load: every answer that comes is a right one."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Start
from tests.functional.scene import Backend, Daemon, Load, addresses, start_daemon

CONFIG = """\
daemon:
  listeners: ["127.0.0.1:0"]
  access_log: {{path: {log}, format: json}}
pools:
  web:
    backends: {backends}
    health_check: {{path: /healthz, interval: 200ms, timeout: 500ms, healthy_threshold: 1, unhealthy_threshold: 2}}
    timeouts: {{connect: 1s, read: 1s, write: 1s}}
routes: [{{pool: web}}]
"""

Scene = tuple[Daemon, list[Backend]]


@pytest.fixture(name="scene")
def fixture_scene(start: Start, tmp_path: Path) -> Scene:
    backends = [Backend(start, name) for name in "abc"]
    daemon = start_daemon(start, tmp_path, CONFIG.format(log=tmp_path / "access.log", backends=addresses(backends)))
    for backend in backends:
        daemon.wait_for_line(f"pool web: {backend.address} is healthy")
    return daemon, backends


def retried(daemon: Daemon, spans: list[tuple[float, float]]) -> list[dict[str, Any]]:
    """End the daemon; what its log says of requests that were begun within these times and needed another attempt."""
    assert daemon.process.stop() == 0
    lines = (daemon.config.parent / "access.log").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert len(records) > 100
    return [
        record
        for record in records
        if record["attempts"] > 1 and any(start < record["time"] - record["seconds"] < end for start, end in spans)
    ]


def test_a_killed_backend_costs_no_get_and_comes_back(scene: Scene) -> None:
    daemon, (a, b, _) = scene
    out_of_rotation = []
    with Load(daemon.port) as load:
        load.wait_for_more()
        for victim in (a, b):
            mark = daemon.mark
            victim.kill()
            daemon.wait_for_line(f"pool web: {victim.address} is unhealthy", mark)
            out_at = time.time()
            load.wait_for_more()
            out_of_rotation.append((out_at, time.time()))
            victim.restart()
            daemon.wait_for_line(f"pool web: {victim.address} is healthy", mark)
            load.wait_for_answers_of(victim.name)
    print(load.report())
    assert load.wrong == load.failed == []
    assert set(load.names) == {"a", "b", "c"}
    assert retried(daemon, out_of_rotation) == [], "it was still asked after it had been found unhealthy"
    assert "Traceback" not in daemon.process.output()


def test_a_hung_backend_leaves_rotation_and_comes_back(scene: Scene) -> None:
    daemon, (_, b, _) = scene
    with Load(daemon.port) as load:
        load.wait_for_more()
        mark = daemon.mark
        b.process.send_signal(signal.SIGSTOP)
        daemon.wait_for_line(f"pool web: {b.address} is unhealthy", mark)
        out_at = time.time()
        load.wait_for_more()
        out_of_rotation = (out_at, time.time())
        b.process.send_signal(signal.SIGCONT)
        daemon.wait_for_line(f"pool web: {b.address} is healthy", mark)
        load.wait_for_answers_of("b")
    print(load.report())
    assert load.wrong == []
    assert set(load.failed) <= {"502", "503", "504"}
    assert retried(daemon, [out_of_rotation]) == [], "it was still asked after it had been found unhealthy"


def test_one_killed_one_hung_and_all_back_at_once(scene: Scene) -> None:
    daemon, (a, b, _) = scene
    with Load(daemon.port) as load:
        load.wait_for_more()
        mark = daemon.mark
        a.kill()
        b.process.send_signal(signal.SIGSTOP)
        for backend in (a, b):
            daemon.wait_for_line(f"pool web: {backend.address} is unhealthy", mark)
        load.wait_for_more()
        b.process.send_signal(signal.SIGCONT)
        a.restart()
        for backend in (a, b):
            daemon.wait_for_line(f"pool web: {backend.address} is healthy", mark)
            load.wait_for_answers_of(backend.name)
    print(load.report())
    assert load.wrong == []
    assert set(load.failed) <= {"502", "503", "504"}
    assert "Traceback" not in daemon.process.output()


def test_a_pool_that_is_dead_says_so_at_once_and_serves_again(scene: Scene) -> None:
    daemon, backends = scene
    mark = daemon.mark
    for backend in backends:
        backend.kill()
    for backend in backends:
        daemon.wait_for_line(f"pool web: {backend.address} is unhealthy", mark)
    started = time.monotonic()
    answer = daemon.ask("/")
    assert (answer.status, answer.field("Retry-After")) == (503, "1")
    assert time.monotonic() - started < 1
    backends[2].restart()
    daemon.wait_for_line(f"pool web: {backends[2].address} is healthy", mark)
    assert daemon.ask("/").json()["name"] == "c"


def test_wrk_sees_no_error_while_a_backend_is_killed_and_restarted(
    scene: Scene, start: Start, need: Callable[[str], str]
) -> None:
    daemon, (a, *_) = scene
    wrk = start([need("wrk"), "-t1", "-c16", "-d3s", f"http://127.0.0.1:{daemon.port}/"], name="wrk")
    wrk.wait_for_line("Running 3s test")
    a.wait_for_request("GET /")
    mark = daemon.mark
    a.kill()
    daemon.wait_for_line(f"pool web: {a.address} is unhealthy", mark)
    a.restart()
    daemon.wait_for_line(f"pool web: {a.address} is healthy", mark)
    assert wrk.wait(20) == 0
    done = re.search(r"(\d+) requests in", wrk.output())
    assert done is not None and int(done[1]) > 100
    assert "Socket errors" not in wrk.output() and "Non-2xx" not in wrk.output()
