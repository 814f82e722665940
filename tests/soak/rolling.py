"""gunicorn backends restarted one after the other, again and again, under wrk's load: not one failed request."""

from __future__ import annotations

import argparse
import shutil
import time

from tests.functional.rolling import Gunicorn, Site
from tests.functional.scene import start_daemon
from tests.functional.wrk import Wrk
from tests.soak.stage import Stage

BACKENDS = 4
CONNECTIONS = 64


def run(stage: Stage, options: argparse.Namespace) -> list[str]:
    """Rounds of restarts for so many seconds; what did not hold."""
    program = shutil.which("wrk")
    if program is None:
        return ["wrk is not installed: apt-get install wrk"]
    site = Site([Gunicorn(stage.start, CONNECTIONS) for _ in range(BACKENDS)], stage.folder)
    daemon = start_daemon(stage.start, stage.folder, site.config())
    wrk = Wrk(stage.start, program, daemon.port, CONNECTIONS)
    restarts, end = 0, time.monotonic() + options.seconds
    while time.monotonic() < end:
        site.restart_all(daemon)
        restarts += BACKENDS
    result = wrk.finish()
    daemon.process.stop()
    books = site.books()
    print(f"rolling: {restarts} restarts; {result}; {books.retried} took more than one attempt", flush=True)
    failures = [f"{count} {kind} errors" for kind, count in result.errors.items()]
    failures += books.bad[:10]
    failures += [line for line in daemon.process.output().splitlines() if "Traceback" in line]
    if books.good < result.requests or books.cut > CONNECTIONS:
        failures.append(f"the log has {books.good} whole answers and {books.cut} that were cut")
    return [f"rolling: {failure}" for failure in failures]
