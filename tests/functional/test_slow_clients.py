"""slowhttptest against the daemon, in short: others are served, and all comes back. tests/soak is the long run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Start
from tests.functional.scene import FRONT, Backend, start_daemon
from tests.processes import wait_until
from tests.soak.slow import MODES, attack

CONNECTIONS = 200
SECONDS = 4


@pytest.mark.parametrize("mode", MODES)
def test_slow_clients_hold_up_nobody_and_leave_nothing_behind(
    mode: str, start: Start, tmp_path: Path, need: Callable[[str], str]
) -> None:
    program = need("slowhttptest")
    backend = Backend(start, "a")
    text = f"{FRONT}pools: {{web: {{backends: ['{backend.address}']}}}}\nroutes: [{{pool: web}}]\n"
    daemon = start_daemon(start, tmp_path, text)
    daemon.ask("/warm")
    before = daemon.descriptors()
    with attack(program, mode, daemon.port, CONNECTIONS, SECONDS, tmp_path / "slow.log") as process:
        wait_until(lambda: daemon.descriptors() > before + CONNECTIONS // 2, 15, "the slow clients to be there")
        for number in range(50):
            assert daemon.ask(f"/others/{number}").status == 200
        process.wait(60)
    wait_until(lambda: daemon.descriptors() <= before + 3, 15, "the descriptors to come back")
