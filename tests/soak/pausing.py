"""Clients that ask through a proxy, pause and ask again, each through a pool of its own, and check what they are told.

Since no two clients share a connection to the backend, each one's pauses are how long its connection is idle. One in
eleven requests is a POST: where a backend closes while that is under way no proxy may send it again (RFC 9110 9.2.2).
"""

from __future__ import annotations

import http.client
import random
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import Start
from tests.functional.scene import FRONT, ROOT, Answer, Daemon, ask_on, kept, start_daemon
from tests.processes import free_port

METHODS = ("GET", "GET", "GET", "GET", "PUT", "PUT", "DELETE", "HEAD", "OPTIONS")  # as often as they are here
POSTS = 0.1  # as many POSTs more, as a share of the others
BODY = b"x" * 300
STACK = 256 * 1024  # bytes of a client's thread


@dataclass
class Tally:
    """What the clients have seen: how many requests, and what was no good answer."""

    asked: int = 0
    posts: int = 0  # of them
    failed: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, method: str, problem: str) -> None:
        """One more request; ``problem`` is empty for a good answer."""
        with self.lock:
            self.asked += 1
            self.posts += method == "POST"
            self.failed.update([f"{method}: {problem}"] if problem else [])

    def __str__(self) -> str:
        return f"{self.asked} requests, {self.posts} of them POSTs, failed: {dict(self.failed) or 'none'}"


def start_gunicorn(start: Start, worker: str, *more: str) -> str:
    """gunicorn with its default of two seconds for idle connections; its address."""
    port = free_port()
    command = ["-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--worker-class", worker, "--keep-alive", "2", *more]
    app = ["--worker-tmp-dir", "/dev/shm", "--backlog", "1024", "tests.functional.backends:app"]
    start([sys.executable, *command, *app], name=f"gunicorn {worker}", cwd=ROOT).wait_for_port(port)
    return f"http://127.0.0.1:{port}"


def start_closing_backend(start: Start, seed: int) -> str:
    """The backend that closes at random; its address."""
    program = ROOT / "tests" / "soak" / "closing_backend.py"
    line = start([sys.executable, program, str(seed)], name="closing backend").wait_for_line("listening on ")
    return f"http://127.0.0.1:{line.removeprefix('listening on ')}"


def start_pools(start: Start, folder: Path, address: str, count: int) -> Daemon:
    """A daemon with so many pools, each of that one backend; ``/3/...`` is for the third."""
    pools = "".join(f"  p{number}: {{backends: ['{address}']}}\n" for number in range(count))
    routes = "".join(f"  - {{match: {{path: /{number}}}, pool: p{number}}}\n" for number in range(count))
    return start_daemon(start, folder, f"{FRONT}pools:\n{pools}routes:\n{routes}")


def ask_and_pause(port: int, clients: int, requests: int, pauses: tuple[float, float]) -> Tally:
    """So many clients, each with so many requests that may be repeated and some that may not."""
    tally = Tally()
    usual = threading.stack_size(STACK)
    try:
        threads = [threading.Thread(target=_run, args=(port, n, requests, pauses, tally)) for n in range(clients)]
        for thread in threads:
            thread.start()
    finally:
        threading.stack_size(usual)
    for thread in threads:
        thread.join()
    return tally


def _run(port: int, number: int, requests: int, pauses: tuple[float, float], tally: Tally) -> None:
    chance = random.Random(number)
    with kept(port) as connection:
        for count in range(1, requests + 1):
            methods = [chance.choice(METHODS)] + (["POST"] if chance.random() < POSTS else [])
            for method in methods:
                time.sleep(chance.uniform(*pauses))
                tally.note(method, _ask(connection, method, f"/{number}/{count}"))


def _ask(connection: http.client.HTTPConnection, method: str, target: str) -> str:
    """What was wrong with the answer; empty for nothing."""
    body = BODY if method in ("PUT", "POST") else None
    try:
        answer = ask_on(connection, target, method, body)
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        return repr(error)
    if answer.status != 200:
        return str(answer.status)
    if method != "HEAD" and _seen(answer) != (method, target, len(body or b"")):
        return f"the answer to another request: {answer.body!r}"
    return ""


def _seen(answer: Answer) -> tuple[str, str, int]:
    """What the backend says that it was asked."""
    if answer.body.startswith(b"{"):
        facts = answer.json()
        return facts["REQUEST_METHOD"], facts["target"], facts["size"]
    method, target, size = answer.body.decode().split(" ")
    return method, target, int(size)
