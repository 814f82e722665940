"""What a daemon tells the service manager that started it."""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path

from tests.conftest import Start
from tests.functional.scene import FRONT, ROOT


def test_a_manager_hears_of_each_state_and_that_it_is_alive(start: Start, tmp_path: Path) -> None:
    config = tmp_path / "wsgiproxy.yaml"
    config.write_text(f"{FRONT}routes: [{{respond: {{status: 200}}}}]\n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
        daemon = start([sys.executable, "-m", "wsgiproxy", "run", config], name="daemon", cwd=ROOT, env=env)

        def hear() -> str:
            """The next state; that it is alive is no news."""
            while (said := manager.recv(1000).decode().partition("\n")[0]) == "WATCHDOG=1":
                pass
            return said

        assert hear() == "READY=1"
        assert "listening on" in daemon.output()
        for _ in range(3):
            assert manager.recv(1000) == b"WATCHDOG=1"
        daemon.send_signal(signal.SIGHUP)
        assert [hear(), hear()] == ["RELOADING=1", "READY=1"]
        daemon.send_signal(signal.SIGTERM)
        assert hear() == "STOPPING=1"
        assert daemon.wait(20) == 0
