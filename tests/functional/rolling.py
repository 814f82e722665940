"""Restart gunicorn backends one after the other while clients ask, as it is done on a day of releases."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import Start
from tests.functional.scene import ROOT, Daemon, ask
from tests.processes import free_port, wait_until

CLIENT_GONE = 499  # the status in the log
QUIET_LOOKS = 5  # at a backend without work, in a row, before it counts as idle


class Gunicorn:
    """A running gunicorn of one worker with ``tests.functional.restartable_app``."""

    def __init__(self, start: Start, threads: int) -> None:
        self._start = start
        self._threads = str(threads)
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.launch()

    def launch(self) -> None:
        """Start it on its port."""
        argv = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{self.port}", "--worker-class", "gthread"]
        argv += ["--threads", self._threads, "--keep-alive", "2", "--worker-tmp-dir", "/dev/shm"]
        self.process = self._start([*argv, "tests.functional.restartable_app:app"], name="gunicorn", cwd=ROOT)
        self.process.wait_for_port(self.port, 30)

    def stop(self) -> None:
        """SIGTERM, and wait for its end."""
        self.process.stop(timeout=40)

    def books(self) -> dict[str, int]:
        """What it says of itself, see ``restartable_app``."""
        return dict(ask(self.port, "/control/books").json())

    def wait_until_idle(self) -> None:
        """Wait until it has nothing under way, and nothing comes either: a request may still be on its way to it."""
        last: list[dict[str, int]] = []

        def idle() -> bool:
            last.append(self.books())
            lately = last[-QUIET_LOOKS:]
            return len(lately) == QUIET_LOOKS and lately[0]["in_flight"] == 0 and lately.count(lately[0]) == QUIET_LOOKS

        wait_until(idle, 20, f"{self.address} to be idle")

    def wait_for_work(self) -> None:
        """Wait until it answers clients."""
        wait_until(lambda: self.books()["answered"] > 0, 20, f"{self.address} to get work")


@dataclass(frozen=True)
class Books:
    """What an access log tells: whole answers, exchanges whose client hung up, those that took more than one attempt.

    ``bad`` are the lines of those that failed by somebody else's fault.
    """

    good: int
    cut: int
    retried: int
    bad: list[str]


@dataclass(frozen=True)
class Site:
    """Where a rolling restart takes place; ``more`` are further keys of the pool."""

    backends: Sequence[Gunicorn]
    folder: Path
    more: str = ""

    @property
    def log(self) -> Path:
        """The access log."""
        return self.folder / "access.log"

    def config(self, drained: Gunicorn | None = None) -> str:
        """The YAML while one is drained."""
        states = {backend: "drain" if backend is drained else "ready" for backend in self.backends}
        backends = "\n".join(
            f"      - {{address: '{one.address}', admin_state: {state}}}" for one, state in states.items()
        )
        return f"""
daemon:
  listeners: ["127.0.0.1:0"]
  access_log: {{format: json, path: {self.log}}}
pools:
  web:
    backends:
{backends}
    health_check: {{path: /healthz, interval: 100ms, healthy_threshold: 1, unhealthy_threshold: 1}}
    {self.more}
routes:
  - {{pool: web}}
"""

    def restart_all(self, daemon: Daemon) -> None:
        """Drain, restart, check, next."""
        for backend in self.backends:
            daemon.reload(self.config(drained=backend))
            backend.wait_until_idle()
            mark = daemon.mark
            backend.stop()
            daemon.wait_for_line(f"{backend.address} is unhealthy", mark)
            backend.launch()
            daemon.wait_for_line(f"{backend.address} is healthy", mark)
            daemon.reload(self.config())
            backend.wait_for_work()

    def books(self) -> Books:
        """What the access log tells; whole once the daemon has ended."""
        good, cut, retried, bad = 0, 0, 0, []
        for line in self.log.read_text().splitlines():
            record = json.loads(line)
            retried += record["attempts"] > 1
            if (record["status"], record["reason"]) == (200, "done"):
                good += 1
            elif record["status"] == CLIENT_GONE:
                cut += 1
            else:
                bad.append(line)
        return Books(good, cut, retried, bad)
