"""``wsgiproxy demo``, with its real processes: it moves, it ends by itself or when told, and leaves nothing."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys

import pytest

from tests.conftest import Start
from tests.processes import Process, free_port, wait_until

COMMAND = [sys.executable, "-m", "wsgiproxy", "demo"]
TOTALS = r"alpha \((\d+|dead)\) (\d+) +beta \(\d+\) (\d+) +gamma \(\d+\) (\d+)"


def totals(demo: Process) -> list[int]:
    """How many requests each backend has answered, as last printed."""
    found = re.findall(TOTALS, demo.output())
    return [int(number) for number in found[-1][1:]] if found else [0, 0, 0]


def test_it_prints_where_requests_went_and_ends_by_itself(start: Start) -> None:
    demo = start([*COMMAND, "--port", str(free_port()), "--seconds", "5"], name="demo")
    assert demo.wait(40) == 0
    assert sum(totals(demo)) > 0
    assert demo.output().endswith("demo ended\n")
    assert not demo.family_alive()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_all_its_children(start: Start, number: signal.Signals) -> None:
    demo = start([*COMMAND, "--port", str(free_port()), "--no-load"], name="demo")
    demo.wait_for_line("Where the requests went", 30)
    config = re.search(r"\$EDITOR (\S+)", demo.output())
    assert config is not None and os.path.exists(config[1])
    demo.send_signal(number)
    assert demo.wait(20) == 0
    assert not demo.family_alive()
    assert not os.path.exists(os.path.dirname(config[1]))
    assert "Traceback" not in demo.output()


def test_a_port_that_is_taken_is_replaced_and_that_is_said(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        demo = start([*COMMAND, "--port", str(port), "--no-load"], name="demo")
        demo.wait_for_line(f"port {port} cannot be had", 30)
        other = re.search(r"Open http://127\.0\.0\.1:(\d+)/", demo.wait_for_line("Open http://", 30))
        assert other is not None and int(other[1]) != port
        with socket.create_connection(("127.0.0.1", int(other[1])), timeout=10):
            pass
        assert demo.stop(timeout=20) == 0


def test_a_killed_backend_is_survived(start: Start) -> None:
    demo = start([*COMMAND, "--port", str(free_port())], name="demo")
    victim = re.search(r"kill -9 (\d+)", demo.wait_for_line("kill -9", 30))
    assert victim is not None
    os.kill(int(victim[1]), signal.SIGKILL)
    demo.wait_for_line("alpha (dead)", 20)
    before = totals(demo)
    wait_until(lambda: totals(demo)[1] > before[1] + 2, 20, "beta to take over")
    assert demo.stop(timeout=20) == 0
    assert not demo.family_alive()


def test_backends_do_not_outlive_a_demo_that_is_killed(start: Start) -> None:
    command = [sys.executable, "-m", "wsgiproxy.cli.demo_backend", "--name", "alpha"]
    backend = start(command, name="backend")  # its standard input is at its end from the start
    assert backend.wait(20) == 0
    assert backend.output().startswith("port ")
