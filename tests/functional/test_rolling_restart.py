"""Backends are restarted one after the other: no client may notice. tests/soak is the long run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.conftest import Start
from tests.functional.rolling import Gunicorn, Site
from tests.functional.scene import start_daemon
from tests.functional.wrk import Wrk

CONNECTIONS = 16


def test_a_rolling_restart_of_gunicorns_fails_no_request(
    start: Start, tmp_path: Path, need: Callable[[str], str]
) -> None:
    program = need("wrk")
    site = Site([Gunicorn(start, CONNECTIONS) for _ in range(3)], tmp_path)
    daemon = start_daemon(start, tmp_path, site.config())
    wrk = Wrk(start, program, daemon.port, CONNECTIONS)
    site.restart_all(daemon)
    result = wrk.finish()
    assert result.errors == {}
    assert daemon.process.stop() == 0  # and all is in the log
    assert "Traceback" not in daemon.process.output()
    books = site.books()
    assert result.requests <= books.good
    assert books.bad == [] and books.cut <= CONNECTIONS, "only what was under way when wrk ended may be cut"
