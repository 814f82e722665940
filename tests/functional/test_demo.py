"""``wsgiproxy demo`` as a newcomer meets it: an address to open, counts, and an end that leaves nothing."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections import Counter

import pytest

from tests.conftest import Start
from tests.functional.scene import ROOT, ask, wait_for_refusal
from tests.processes import Process, free_port, wait_until


def start_demo(start: Start, *arguments: str) -> tuple[Process, int]:
    """A running demo, and the port that it names."""
    command = [sys.executable, "-m", "wsgiproxy", "demo", "--port", str(free_port()), *arguments]
    demo = start(command, name="demo", cwd=ROOT)
    address = re.search(r"Open http://127\.0\.0\.1:(\d+)/", demo.wait_for_line("Open http://", 30))
    assert address is not None
    return demo, int(address[1])


def assert_gone(demo: Process, port: int) -> None:
    assert demo.output().endswith("demo ended\n")
    assert "Traceback" not in demo.output()
    assert not demo.family_alive()
    wait_for_refusal(port)


def test_the_address_that_it_prints_is_served_by_three_backends_and_counted(start: Start) -> None:
    demo, port = start_demo(start, "--seconds", "3", "--no-load")
    wait_until(lambda: demo.output().count(" is healthy ") == 3, what="three healthy backends")
    names = Counter(ask(port, "/").body.split()[0].decode() for _ in range(9))
    assert names == {"alpha": 3, "beta": 3, "gamma": 3}
    assert demo.wait(20) == 0
    assert re.search(r"alpha \(\d+\) 3 +beta \(\d+\) 3 +gamma \(\d+\) 3", demo.output())
    assert_gone(demo, port)


@pytest.mark.parametrize("to_all", [False, True], ids=["SIGINT to itself", "Ctrl-C, which reaches its children too"])
def test_ctrl_c_ends_it_cleanly(start: Start, to_all: bool) -> None:
    demo, port = start_demo(start)
    demo.wait_for_line("our own: ", 20)
    if to_all:
        os.killpg(demo.pid, signal.SIGINT)
    else:
        demo.send_signal(signal.SIGINT)
    assert demo.wait(20) == 0
    assert_gone(demo, port)
