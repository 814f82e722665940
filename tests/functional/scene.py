"""What a functional test sets up: backends and a daemon as real processes, and clients that talk to them.

``Backend`` and ``Daemon`` are handles of running processes (``tests.processes``); a daemon listens on a port that the
kernel chose and says. Clients check what they are given: an answer is read to its announced end. This module must not
know what a test is about.
"""

from __future__ import annotations

import http.client
import itertools
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conftest import Start
from tests.processes import accepts, wait_until

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "tests" / "functional" / "backends.py"
TIMEOUT = 15.0  # seconds that a client waits for anything
LOAD_SECONDS = 60.0  # after which a load ends by itself
LOGGED = 'daemon:\n  listeners: ["127.0.0.1:0"]\n  access_log: {path: "%s", format: json}\n'
FRONT = 'daemon:\n  listeners: ["127.0.0.1:0"]\n  access_log: {format: "off"}\n'


@dataclass
class Answer:
    """One answer, read to its end."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    def field(self, name: str) -> str | None:
        """The value of a header field; None where there is none."""
        return next((value for key, value in self.fields if key.lower() == name.lower()), None)


def ask(port: int, target: str, method: str = "GET", body: Any = None, headers: dict[str, str] | None = None) -> Answer:
    """One request on a connection of its own. ``http.client.HTTPException`` or ``OSError`` where that is cut."""
    with kept(port) as connection:
        return ask_on(connection, target, method, body, headers)


def kept(port: int) -> AbstractContextManager[http.client.HTTPConnection]:
    """A connection for several requests, opened by the first one."""
    return closing(http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT))


def ask_on(
    connection: http.client.HTTPConnection,
    target: str,
    method: str = "GET",
    body: Any = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    """One request on a connection that goes on."""
    connection.request(method, target, body, headers or {})
    response = connection.getresponse()
    return Answer(response.status, response.getheaders(), response.read())


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    """A raw connection to ``port``."""
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as client:
        yield client


def get(target: str, *lines: str) -> bytes:
    """The bytes of a GET request."""
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: a.example", *lines, "", ""]).encode()


def read_until(client: socket.socket, mark: bytes, data: bytes = b"") -> bytes:
    """What comes, after ``data``, until ``mark`` has come; ``AssertionError`` where the end comes first."""
    while mark not in data:
        piece = client.recv(65536)
        assert piece, f"the connection ended before {mark!r}: {data!r}"
        data += piece
    return data


def read_to_end(client: socket.socket, data: bytes = b"") -> bytes:
    """What comes, after ``data``, until the other side closes."""
    while piece := client.recv(65536):
        data += piece
    return data


def run_command(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """``wsgiproxy WORDS``, to its end."""
    command = [sys.executable, "-m", "wsgiproxy", *map(str, words)]
    return subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=30)


class Backend:
    """A running backend program, see ``tests.functional.backends``."""

    def __init__(self, start: Start, name: str, address: str = "127.0.0.1:0", delay: float = 0.0) -> None:
        self._start = start
        self._delay = delay
        self.name = name
        self._launch(address)

    def _launch(self, address: str) -> None:
        self.process = self._start([sys.executable, PROGRAM, self.name, address, str(self._delay)], name=self.name)
        line = self.process.wait_for_line("listening on ")
        self.address = line.removeprefix("listening on ")
        self.port = 0 if self.address.startswith("unix:") else int(self.address.rpartition(":")[2])

    def restart(self) -> None:
        """Start it again where it was."""
        self._launch(f"127.0.0.1:{self.port}")

    def kill(self) -> None:
        """SIGKILL."""
        self.process.stop(signal.SIGKILL)

    def stats(self) -> dict[str, Any]:
        """What it has seen, see ``backends.Books``."""
        return dict(ask(self.port, "/control/stats").json())

    def requests(self) -> list[str]:
        """The requests that it has seen, ``METHOD target`` each."""
        return list(self.stats()["requests"])

    def go(self, key: str) -> None:
        """One step more for the request that waits for ``key``."""
        ask(self.port, f"/control/go/{key}")

    def wait_for_request(self, line: str) -> None:
        """Wait until it has seen a request."""
        wait_until(lambda: line in self.requests(), what=f"{self.name} to see {line}")

    def wait_for_cancelled(self, line: str) -> None:
        """Wait until it has found a request's connection closed before the end of the answer."""
        wait_until(lambda: line in self.stats()["cancelled"], what=f"{self.name} to find {line} cancelled")


class Daemon:
    """A running ``wsgiproxy run``."""

    def __init__(self, start: Start, config: Path) -> None:
        self.config = config
        self.process = start([sys.executable, "-m", "wsgiproxy", "run", config], name="daemon", cwd=ROOT)
        line = self.process.wait_for_line("listening on ")
        ports = re.findall(r"https?://127\.0\.0\.1:(\d+)", line)
        self.port = int(ports[0]) if ports else 0

    @property
    def mark(self) -> int:
        """Where its output ends at this moment."""
        return len(self.process.output())

    def wait_for_line(self, text: str, after: int = 0) -> str:
        """Wait until it has said ``text``, after a mark."""
        return self.process.wait_for_line(text, after=after)

    def ask(self, target: str, method: str = "GET", body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """One request on a connection of its own."""
        return ask(self.port, target, method, body, headers)

    def reload(self, text: str) -> None:
        """Write the file, send SIGHUP, and wait until the new table is in place."""
        mark = self.mark
        self.config.write_text(text)
        self.process.send_signal(signal.SIGHUP)
        self.wait_for_line("reloaded ", mark)

    def descriptors(self) -> int:
        """How many file descriptors it holds."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def memory(self, key: str) -> int:
        """``VmRSS`` or ``VmHWM`` (its highest value so far) in bytes (proc(5))."""
        found = re.search(rf"^{key}:\s+(\d+) kB$", Path(f"/proc/{self.process.pid}/status").read_text(), re.M)
        assert found is not None
        return int(found[1]) * 1024


def start_daemon(start: Start, folder: Path, text: str) -> Daemon:
    """A daemon that serves ``text``, written to a file in ``folder``."""
    config = folder / "wsgiproxy.yaml"
    config.write_text(text)
    return Daemon(start, config)


def log_record(daemon: Daemon, target: str) -> dict[str, Any]:
    """What ``access.log``, beside the daemon's file, says of a request."""

    def find() -> dict[str, Any]:
        lines = (daemon.config.parent / "access.log").read_text().splitlines()
        found = next((record for record in map(json.loads, lines) if record["target"] == target), {})
        if not found:
            daemon.process.send_signal(signal.SIGUSR1)  # it writes what it keeps before it opens the file anew
        return found

    return wait_until(find, what=f"{target} in the access log")


def wait_for_refusal(port: int) -> None:
    """Wait until nobody listens on ``port``."""
    wait_until(lambda: not accepts(port), what=f"port {port} to be closed")


@dataclass
class Load:
    """Clients, each a thread with a kept connection, that ask for targets of their own and check each answer.

    ``names`` tells in order which backend answered; ``wrong`` and ``failed`` say what should not have happened.
    """

    port: int
    clients: int = 8
    names: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    _ending: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Load:
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(self.clients)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def wait_for_more(self, count: int = 200) -> None:
        """Wait until so many more answers have come."""
        enough = len(self.names) + count
        wait_until(lambda: len(self.names) >= enough, 20, f"{count} more answers; failed: {self.failed[-3:]}")

    def wait_for_answers_of(self, name: str) -> None:
        """Wait until a backend answers from now on."""
        start = len(self.names)
        wait_until(lambda: name in self.names[start:], 20, f"answers of {name}; lately: {Counter(self.names[-99:])}")

    def report(self) -> str:
        """How it went, in a line."""
        return f"{len(self.names)} answers {dict(Counter(self.names))}, failed: {dict(Counter(self.failed))}"

    def _run(self, client: int) -> None:
        end = time.monotonic() + LOAD_SECONDS
        with kept(self.port) as connection:
            for number in itertools.count():
                if self._ending.is_set() or time.monotonic() > end:
                    return
                self._ask_one(connection, f"/load/{client}/{number}")

    def _ask_one(self, connection: http.client.HTTPConnection, target: str) -> None:
        try:
            answer = ask_on(connection, target)
        except (OSError, http.client.HTTPException) as error:
            self.failed.append(type(error).__name__)
            connection.close()
            return
        if answer.status != 200:
            self.failed.append(str(answer.status))
        elif answer.json()["target"] != target:
            self.wrong.append(f"{target}: {answer.body!r}")
        else:
            self.names.append(answer.json()["name"])


def addresses(backends: Sequence[Backend]) -> str:
    """A YAML list of their addresses."""
    return json.dumps([backend.address for backend in backends])
