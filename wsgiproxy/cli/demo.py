"""``wsgiproxy demo``: three small backends and a proxy before them, each a process of its own, to look at and to hurt.

Everything that is started here is ended here, by its process id, whatever happens. This module knows the proxy as
anybody does who writes a YAML file and runs the command.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from wsgiproxy.errors import ConfigError

BACKENDS = (("alpha", 0.0), ("beta", 0.0), ("gamma", 0.15))  # names, and seconds that an answer takes
LOAD_INTERVAL = 0.2  # seconds between two requests of our own
START_TIMEOUT = 15.0  # seconds for a process to say that it serves
STOP_TIMEOUT = 5.0  # seconds for a process to end when asked
RESTART_DELAY = 10.0  # seconds that a backend that died stays away
QUIET_INTERVAL = 10.0  # seconds after which the numbers are said again though they have not changed

CONFIG = """\
daemon:
  listeners: ["127.0.0.1:{port}"]
  access_log: {{format: "off"}}
  drain_timeout: 1s
pools:
  demo:
    backends: [{backends}]
    health_check: {{path: /healthz, interval: 1s, timeout: 1s, healthy_threshold: 1, unhealthy_threshold: 2}}
    timeouts: {{connect: 1s, read: 2s}}
routes:
  - {{pool: demo}}
"""

WELCOME = """\
Three backends and a proxy are running. Open {url} or try, in another terminal:

  {curl:<34} ask a few times: the name changes
  {kill:<34} {name} dies; the others take over, and it is back in {delay:.0f} seconds
  {hang:<34} {name} hangs (kill -CONT {pid} wakes it)
  {edit:<34} change weight, balance or routes: it is read again while it runs

Ctrl-C ends it all. Where the requests went:
"""


class Backend:
    """One backend's process: what it has said, and its restarts on the same port."""

    def __init__(self, name: str, delay: float) -> None:
        self.name = name
        self.port = 0
        self.dead_since: float | None = None
        self._delay = delay
        self._answered_before = 0  # by its earlier processes
        self._answered = 0
        self._partial = b""
        self.start()

    @property
    def answered(self) -> int:
        """How many requests it has answered, its earlier lives included."""
        return self._answered_before + self._answered

    def start(self) -> None:
        """Start its process."""
        self._answered_before += self._answered
        self._answered = 0
        self._partial = b""
        self.dead_since = None
        command = [sys.executable, "-m", "wsgiproxy.cli.demo_backend", "--name", self.name]
        command += ["--port", str(self.port), "--delay", str(self._delay)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

    def read(self) -> bool:
        """Take in what it says; False once it will say no more."""
        assert self.process.stdout is not None
        data = self.process.stdout.read(4096)
        *lines, self._partial = (self._partial + (data or b"")).split(b"\n")
        for line in lines:
            word, number = line.split()
            if word == b"port":
                self.port = int(number)
            else:
                self._answered = int(number)
        return bool(data)

    def __str__(self) -> str:
        state = "dead" if self.dead_since is not None else self.process.pid
        return f"{self.name} ({state}) {self.answered}"


class Load(threading.Thread):
    """A trickle of requests of our own; ``answers`` counts them by status, or by what went wrong."""

    def __init__(self, port: int) -> None:
        super().__init__(name="demo-load", daemon=True)
        self.answers: Counter[str] = Counter()
        self._port = port
        self._ended = threading.Event()  # not _stop: a thread has that

    def run(self) -> None:
        """Ask every ``LOAD_INTERVAL`` seconds until told to stop."""
        while not self._ended.wait(LOAD_INTERVAL):
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
            try:
                connection.request("GET", "/load")
                answer = connection.getresponse()
                answer.read()
                self.answers[str(answer.status)] += 1
            except (OSError, http.client.HTTPException) as error:
                self.answers[type(error).__name__] += 1
            finally:
                connection.close()

    def stop(self) -> None:
        """Ask it to end."""
        self._ended.set()


class Demo:
    """The processes of one demo and the loop that watches them."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._backends: list[Backend] = []
        self._proxy: subprocess.Popen[bytes] | None = None
        self._load: Load | None = None
        self._stopping = False

    def stop(self, signum: int, frame: FrameType | None) -> None:
        """A signal handler: end at the next step."""
        self._stopping = True

    def run(self, port: int, seconds: float | None, with_load: bool, folder: Path) -> int:
        """Start it all, watch it until a signal comes or ``seconds`` have passed; an exit code."""
        end = time.monotonic() + seconds if seconds is not None else float("inf")
        for name, delay in BACKENDS:
            self._backends.append(Backend(name, delay))
            self._watch(self._backends[-1])
        self._until(lambda: all(backend.port for backend in self._backends), "the backends did not start")
        if self._stopping:
            return 0
        config = folder / "wsgiproxy.yaml"
        addresses = ", ".join(f'"http://127.0.0.1:{backend.port}"' for backend in self._backends)
        config.write_text(CONFIG.format(port=port, backends=addresses), encoding="utf-8")
        self._proxy = subprocess.Popen([sys.executable, "-m", "wsgiproxy", "run", str(config)])
        self._until(lambda: _accepts(port), "the proxy did not start")
        self._welcome(f"http://127.0.0.1:{port}/", config)
        if with_load:
            self._load = Load(port)
            self._load.start()
        return self._report(end)

    def close(self) -> None:
        """End every process that was started, by its id."""
        if self._load is not None:
            self._load.stop()
        processes = [backend.process for backend in self._backends]
        if self._proxy is not None:
            processes.insert(0, self._proxy)
        for process in processes:
            process.terminate()
            process.send_signal(signal.SIGCONT)  # it may have been stopped by hand, and must be awake to end
        for process in processes:
            try:
                process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
        if self._load is not None:
            self._load.join(STOP_TIMEOUT)
        self._selector.close()

    def _welcome(self, url: str, config: Path) -> None:
        name, pid = self._backends[0].name, self._backends[0].process.pid
        text = WELCOME.format(
            url=url,
            curl=f"curl {url}",
            kill=f"kill -9 {pid}",
            hang=f"kill -STOP {pid}",
            edit=f"$EDITOR {config}",
            name=name,
            pid=pid,
            delay=RESTART_DELAY,
        )
        print(text, flush=True)

    def _watch(self, backend: Backend) -> None:
        assert backend.process.stdout is not None
        self._selector.register(backend.process.stdout, selectors.EVENT_READ, backend)

    def _step(self, timeout: float) -> None:
        """Take in what backends say, and restart those that have been dead for long enough."""
        for key, _ in self._selector.select(timeout):
            backend = key.data
            if not backend.read():
                self._selector.unregister(key.fileobj)
                backend.process.wait()
                backend.dead_since = time.monotonic()
        for backend in self._backends:
            if backend.dead_since is not None and time.monotonic() - backend.dead_since >= RESTART_DELAY:
                backend.start()
                self._watch(backend)

    def _until(self, condition: Any, problem: str) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not condition() and not self._stopping:
            died = self._proxy is not None and self._proxy.poll() is not None
            died = died or any(backend.dead_since is not None for backend in self._backends)
            if died or time.monotonic() > deadline:
                raise ConfigError(problem)
            self._step(0.05)

    def _report(self, end: float) -> int:
        assert self._proxy is not None
        said, said_at, next_at = "", 0.0, time.monotonic()
        while not self._stopping and time.monotonic() < end:
            self._step(0.1)
            if self._proxy.poll() is not None and not self._stopping:  # Ctrl-C reaches the children too
                print(f"the proxy has ended (exit code {self._proxy.returncode})")
                return 1
            now = time.monotonic()
            if now < next_at:
                continue
            next_at = now + 1.0
            line = self._line()
            if line != said or now - said_at >= QUIET_INTERVAL:
                print(time.strftime("%H:%M:%S"), line, flush=True)
                said, said_at = line, now
        return 0

    def _line(self) -> str:
        line = " ".join(f"{backend!s:<24}" for backend in self._backends)
        if self._load is not None and self._load.answers:
            line += " our own: " + ", ".join(f"{count} x {what}" for what, count in sorted(self._load.answers.items()))
        return line.rstrip()


def run(arguments: argparse.Namespace) -> int:
    """Run the demo; ``ConfigError`` where it cannot start."""
    demo = Demo()
    with _signals(demo), tempfile.TemporaryDirectory(prefix="wsgiproxy-demo-") as folder:
        try:
            return demo.run(_free_port(arguments.port), arguments.seconds, arguments.load, Path(folder))
        finally:
            demo.close()
            print("demo ended", flush=True)


@contextlib.contextmanager
def _signals(demo: Demo) -> Iterator[None]:
    """Let SIGINT and SIGTERM end the demo; how they were before, afterwards."""
    before = {signum: signal.signal(signum, demo.stop) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port(wanted: int) -> int:
    """``wanted`` if it is free, else another one, and a word about that."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except (OSError, OverflowError):
            probe.bind(("127.0.0.1", 0))
            print(f"port {wanted} cannot be had, another one is taken", flush=True)
        port: int = probe.getsockname()[1]
    return port
