"""gunicorn as a backend, which closes idle connections after 2 seconds: no client may notice."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from tests.conftest import Start
from tests.functional.scene import FRONT, ROOT, Answer, ask, start_daemon
from tests.processes import free_port

CLIENTS = 40
IDLE_SECONDS = (1.85, 1.95, 2.05)  # from when a connection fell idle to when the first client asks again
SPREAD_SECONDS = 0.2  # between the first client and the last


def test_connections_that_gunicorn_closes_around_their_reuse_cost_no_request(start: Start, tmp_path: Path) -> None:
    port = free_port()
    command = ["-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--worker-class", "gthread", "--threads", str(CLIENTS)]
    app = ["--keep-alive", "2", "--worker-tmp-dir", "/dev/shm", "tests.functional.backends:app"]
    gunicorn = start([sys.executable, *command, *app], name="gunicorn", cwd=ROOT)
    gunicorn.wait_for_port(port)
    text = f"{FRONT}pools: {{web: {{backends: ['http://127.0.0.1:{port}']}}}}\nroutes: [{{pool: web}}]\n"
    daemon = start_daemon(start, tmp_path, text)
    barrier = threading.Barrier(CLIENTS)
    answers: list[Answer] = []

    def client(number: int) -> None:
        for seconds in (0.0, *IDLE_SECONDS):
            barrier.wait(30)  # all at once, so that as many connections are open as there are clients
            time.sleep(seconds + number * SPREAD_SECONDS / CLIENTS)
            answers.append(ask(daemon.port, f"/{number}"))
            assert answers[-1].json()["target"] == f"/{number}"

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [answer.status for answer in answers] == [200] * CLIENTS * (1 + len(IDLE_SECONDS))
    daemon.wait_for_line("closes idle connections: none is used after ")
