"""What a service manager is told."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from wsgiproxy.daemon.notify import Notifier


@pytest.fixture(name="manager", params=["path", "abstract"])
def fixture_manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A manager's socket, and how it is named to what it starts."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10)
        if request.param == "path":
            sock.bind(str(tmp_path / "notify"))
            yield sock, str(tmp_path / "notify")
        else:
            sock.bind(f"\0wsgiproxy-test-{os.getpid()}")
            yield sock, f"@wsgiproxy-test-{os.getpid()}"


def test_each_state_is_told_in_the_managers_words(manager: tuple[socket.socket, str]) -> None:
    sock, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name})
    for tell in (notifier.ready, notifier.reloading, notifier.stopping, notifier.alive):
        tell()
    said = [sock.recv(1000).decode() for _ in range(4)]
    assert [text.partition("\n")[0] for text in said] == ["READY=1", "RELOADING=1", "STOPPING=1", "WATCHDOG=1"]
    key, _, micros = said[1].partition("\n")[2].partition("=")
    assert (key, micros.isdigit()) == ("MONOTONIC_USEC", True)


def test_without_a_manager_nothing_is_said() -> None:
    notifier = Notifier({})
    notifier.ready()
    assert notifier.watchdog_interval == 0


def test_a_manager_that_does_not_listen_is_no_reason_to_stop(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).ready()
    assert caplog.messages == ["the service manager could not be told READY=1: No such file or directory"]


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({"WATCHDOG_USEC": "3000000"}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
    ],
)
def test_it_says_that_it_is_alive_twice_as_often_as_it_must(environ: dict[str, str], interval: float) -> None:
    assert Notifier({"NOTIFY_SOCKET": "@nobody", **environ}).watchdog_interval == interval
