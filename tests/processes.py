"""Real processes and real ports for tests: start, wait for a condition, stop by process id.

Nothing here sleeps for luck: every wait asks for a condition until a deadline and says what it waited for when the
deadline passes. Everything that is started runs in a session of its own, so that its children can be found and ended
with it. This module must not know what the processes do.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar

T = TypeVar("T")

POLL_INTERVAL = 0.02  # seconds between two looks at a condition
OUTPUT_TAIL = 8000  # characters of a process's output that an error shows


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port of ``host`` that nobody listens on at this moment."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def accepts(port: int, host: str = "127.0.0.1") -> bool:
    """Whether somebody accepts TCP connections on ``host:port``."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_until(predicate: Callable[[], T], timeout: float = 10.0, what: str = "the condition") -> T:
    """What ``predicate`` returns, as soon as that is true; ``AssertionError`` after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"waited {timeout:g} s for {what}; last seen: {value!r}")
        time.sleep(POLL_INTERVAL)


def _state_and_session(stat: Path) -> tuple[str, int]:
    """The state letter and the session id of a process (proc(5), /proc/pid/stat); ``("", 0)`` if it is gone."""
    try:
        fields = stat.read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return "", 0
    return fields[0], int(fields[3])


class Process:
    """A program that runs beside the test; a context manager that leaves nothing of it behind.

    Standard output and standard error go to the file ``log`` together. ``env`` is added to this process's environment;
    ``cores`` are the CPUs that it may run on (all of ours by default).
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        log: Path,
        *,
        name: str = "",
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        cores: Iterable[int] | None = None,
    ) -> None:
        self.argv = [str(part) for part in argv]
        self.name = name or Path(self.argv[0]).name
        self.log = log
        pinned = sorted(cores) if cores is not None else None
        command = self.argv if pinned is None else ["taskset", "-c", ",".join(map(str, pinned)), *self.argv]
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
                cwd=cwd,
                start_new_session=True,
            )
        self.pid = self._popen.pid  # taskset execs the program: the same id

    def __repr__(self) -> str:
        return f"<Process {self.name} pid={self.pid} returncode={self.returncode}>"

    @property
    def returncode(self) -> int | None:
        """The exit status, minus the signal's number where one ended it, None while it runs."""
        return self._popen.poll()

    def output(self) -> str:
        """Everything that it has printed so far."""
        return self.log.read_text(errors="replace")

    def wait_for_port(self, port: int, timeout: float = 10.0, host: str = "127.0.0.1") -> None:
        """Wait until ``host:port`` accepts connections."""
        self._wait(lambda: accepts(port, host), timeout, f"{self.name} to listen on {host}:{port}")

    def wait_for_line(self, text: str, timeout: float = 10.0, after: int = 0) -> str:
        """Wait until ``text`` stands in a whole line of the output, from its character ``after`` on; that line."""

        def line_with_text() -> str:
            lines = self.output()[after:].splitlines(keepends=True)
            return next((line for line in lines if text in line and line.endswith("\n")), "")

        return self._wait(line_with_text, timeout, f"{self.name} to print {text!r}").rstrip("\n")

    def wait(self, timeout: float = 10.0) -> int:
        """Wait for its own end; the exit status."""
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(self._with_output(f"{self.name} still runs after {timeout:g} s")) from None

    def send_signal(self, number: int) -> None:
        """Send it a signal (``SIGHUP``, ``SIGSTOP``, ...), not to its children."""
        self._popen.send_signal(number)

    def stop(self, number: int = signal.SIGTERM, timeout: float = 10.0) -> int:
        """Ask it to end by a signal and wait; the exit status. It may have ended before."""
        self.send_signal(number)
        return self.wait(timeout)

    def family_alive(self) -> bool:
        """Whether it or any child that stayed in its session still runs."""
        self._popen.poll()
        return any(
            session == self.pid and state != "Z"  # an orphan that init has not reaped yet runs no more
            for state, session in map(_state_and_session, Path("/proc").glob("[0-9]*/stat"))
        )

    def kill(self) -> None:
        """End it and its children at once. Idempotent."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()

    def _wait(self, predicate: Callable[[], T], timeout: float, what: str) -> T:
        def met_or_ended() -> T | None:
            met = predicate()
            if not met and self.returncode is not None:
                met = predicate()  # once more: it may have happened just before the end
                if not met:
                    raise AssertionError(f"it ended with status {self.returncode}")
            return met

        try:
            met = wait_until(met_or_ended, timeout, what)
        except AssertionError as error:
            raise AssertionError(self._with_output(f"waiting for {what}: {error}")) from None
        assert met is not None
        return met

    def _with_output(self, message: str) -> str:
        return f"{message}\n--- output of {self.name} ({self.log}):\n{self.output()[-OUTPUT_TAIL:]}"

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()
