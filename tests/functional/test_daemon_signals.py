"""How a daemon is told to end, or to open its log anew, and what it leaves behind: nothing."""

from __future__ import annotations

import http.client
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import Start
from tests.functional.scene import (
    Answer,
    Backend,
    Daemon,
    Load,
    connected,
    get,
    read_to_end,
    read_until,
    start_daemon,
    wait_for_refusal,
)
from tests.processes import wait_until

CONFIG = """\
daemon:
  listeners: ["127.0.0.1:0", "unix:{folder}/front.sock"]
  access_log: {{path: {folder}/access.log}}
  drain_timeout: {drain}
pools:
  web: {{backends: ["{address}"]}}
routes: [{{pool: web}}]
"""

Scene = tuple[Daemon, Backend]


def begin(start: Start, folder: Path, drain: str = "20s") -> Scene:
    """A daemon, and the one backend behind it."""
    backend = Backend(start, "a")
    return start_daemon(start, folder, CONFIG.format(folder=folder, drain=drain, address=backend.address)), backend


@pytest.fixture(name="threads")
def fixture_threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as threads:
        yield threads


def hold(scene: Scene, threads: ThreadPoolExecutor) -> Future[Answer]:
    """A request that is under way."""
    asked = threads.submit(scene[0].ask, "/hold/it")
    scene[1].wait_for_request("GET /hold/it")
    return asked


def assert_nothing_is_left(daemon: Daemon) -> None:
    folder = daemon.config.parent
    assert not daemon.process.family_alive()
    assert {path.name for path in folder.iterdir() if path.suffix != ".log"} == {"wsgiproxy.yaml"}
    output = daemon.process.output()
    assert "Traceback" not in output
    assert "stopped, connections that were cut: " in output


def test_sigterm_finishes_what_is_under_way(start: Start, tmp_path: Path, threads: ThreadPoolExecutor) -> None:
    daemon, backend = scene = begin(start, tmp_path)
    with connected(daemon.port) as idle, connected(daemon.port) as streamed:
        idle.sendall(get("/"))
        read_until(idle, b"}")
        streamed.sendall(get("/stepped/s/2"))
        data = read_until(streamed, b"\r\n\r\n")
        under_way = hold(scene, threads)
        daemon.process.send_signal(signal.SIGTERM)
        daemon.wait_for_line("draining for at most 20 s")
        wait_for_refusal(daemon.port)
        assert read_to_end(idle) == b"", "an idle connection is closed at once"
        backend.go("it")
        assert under_way.result().status == 200
        assert under_way.result().field("Connection") == "close"
        assert daemon.process.returncode is None
        backend.go("s")
        backend.go("s")
        assert b"piece 1" in read_to_end(streamed, data)
    assert daemon.process.wait() == 0
    daemon.wait_for_line("stopped, connections that were cut: 0")
    assert_nothing_is_left(daemon)


def test_a_load_is_drained_without_a_failed_request(start: Start, tmp_path: Path) -> None:
    daemon, _ = begin(start, tmp_path)
    with Load(daemon.port) as load:
        load.wait_for_more()
        assert daemon.process.stop() == 0
    # Once nobody listens any more, and where a kept connection was closed between two requests, clients must ask again.
    assert set(load.failed) <= {"ConnectionRefusedError", "RemoteDisconnected", "ConnectionResetError"}
    assert load.wrong == []


@pytest.mark.parametrize(
    "signals",
    [
        (signal.SIGINT,),
        (signal.SIGQUIT,),
        (signal.SIGTERM, signal.SIGTERM),
        (signal.SIGTERM, signal.SIGINT),
    ],
    ids=lambda signals: "+".join(number.name for number in signals),
)
def test_these_end_it_at_once(
    start: Start, tmp_path: Path, threads: ThreadPoolExecutor, signals: tuple[signal.Signals, ...]
) -> None:
    daemon, backend = scene = begin(start, tmp_path)
    under_way = hold(scene, threads)
    for number in signals[:-1]:
        daemon.process.send_signal(number)
        daemon.wait_for_line("draining")
    assert daemon.process.stop(signals[-1], timeout=4) == 0
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        under_way.result()
    backend.wait_for_cancelled("GET /hold/it")
    daemon.wait_for_line("stopped, connections that were cut: 1")
    assert_nothing_is_left(daemon)


def test_draining_ends_at_its_timeout(start: Start, tmp_path: Path, threads: ThreadPoolExecutor) -> None:
    daemon, backend = scene = begin(start, tmp_path, drain="500ms")
    under_way = hold(scene, threads)
    assert daemon.process.stop(timeout=5) == 0
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        under_way.result()
    backend.wait_for_cancelled("GET /hold/it")
    assert_nothing_is_left(daemon)


def test_sigusr1_opens_the_access_log_anew(start: Start, tmp_path: Path) -> None:
    daemon, _ = begin(start, tmp_path)
    current, rotated = tmp_path / "access.log", tmp_path / "access.log.1"
    daemon.ask("/before")
    current.rename(rotated)
    daemon.process.send_signal(signal.SIGUSR1)
    wait_until(current.exists, what="a new access log")
    daemon.ask("/after")
    assert daemon.process.stop() == 0
    assert ["GET /before" in rotated.read_text(), "GET /after" in rotated.read_text()] == [True, False]
    assert ["GET /before" in current.read_text(), "GET /after" in current.read_text()] == [False, True]


def test_unix_sockets_serve_on_both_sides(start: Start, tmp_path: Path) -> None:
    backend = Backend(start, "u", f"unix:{tmp_path}/back.sock")
    text = CONFIG.format(folder=tmp_path, drain="1s", address=backend.address)
    daemon = start_daemon(start, tmp_path, text)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(f"{tmp_path}/front.sock")
        client.sendall(get("/over/sockets", "Connection: close"))
        assert b'"target": "/over/sockets"' in read_to_end(client)
    assert daemon.process.stop() == 0
    assert not (tmp_path / "front.sock").exists()


def test_a_socket_file_that_a_killed_daemon_left_is_replaced(start: Start, tmp_path: Path) -> None:
    daemon, _ = begin(start, tmp_path)
    daemon.process.stop(signal.SIGKILL)
    assert (tmp_path / "front.sock").exists()
    again = Daemon(start, daemon.config)
    assert again.ask("/").status == 200
    assert again.process.stop() == 0
    assert_nothing_is_left(again)
