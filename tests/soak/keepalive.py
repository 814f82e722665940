"""Backends that close idle connections: no request may fail for it, whether or not it may be sent twice."""

from __future__ import annotations

import argparse
import time

from tests.soak.pausing import ask_and_pause, start_closing_backend, start_gunicorn, start_pools
from tests.soak.stage import Stage

PAUSES = (1.5, 2.5)  # seconds; gunicorn closes after 2
PAUSING_CLIENTS = 500  # at one request in two seconds each
HURRIED_CLIENTS = 40
SHORT_PAUSES = (0.0, 0.04)  # seconds; the backend closes within 0.03 after an answer


def run(stage: Stage, options: argparse.Namespace) -> list[str]:
    """Each kind of backend in turn; what did not hold."""
    start, count = stage.start, options.requests
    threads = ("--threads", "32", "--worker-connections", "2000")
    kinds = {
        "gunicorn gthread, pauses around 2 s": (
            lambda: start_gunicorn(start, "gthread", *threads), PAUSING_CLIENTS, count, PAUSES,
        ),
        "gunicorn gevent, pauses around 2 s": (
            lambda: start_gunicorn(start, "gevent"), PAUSING_CLIENTS, count // 2, PAUSES,
        ),
        "gunicorn sync": (lambda: start_gunicorn(start, "sync"), HURRIED_CLIENTS, count // 10, SHORT_PAUSES),
        "closes at random": (lambda: start_closing_backend(start, 1), HURRIED_CLIENTS, count, SHORT_PAUSES),
    }  # fmt: skip
    failures = []
    for kind, (start_backend, clients, requests, pauses) in kinds.items():
        folder = stage.folder / kind.replace(" ", "-")
        folder.mkdir()
        daemon = start_pools(start, folder, start_backend(), clients)
        begin = time.monotonic()
        tally = ask_and_pause(daemon.port, clients, requests // clients, pauses)
        print(f"keepalive, {kind}: {tally}, in {time.monotonic() - begin:.0f} s", flush=True)
        failures += [f"keepalive, {kind}: {times} times {problem}" for problem, times in tally.failed.items()]
        daemon.process.stop()
    return failures
