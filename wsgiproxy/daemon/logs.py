"""The daemon's two logs: what went wrong (standard error), and one line per exchange (a file or standard output).

Serving never waits for a log and never stops because of one: lines are collected here and written in batches by a
thread of gevent's pool, and what cannot be written is dropped, counted and spoken of once. This module must not know
what is in a line.
"""

from __future__ import annotations

import logging
import os
import select
import sys
import time

import gevent
import gevent.event

log = logging.getLogger("wsgiproxy")

BATCH_BYTES = 64 * 1024  # this much is written at once (nginx buffer=64k)
FLUSH_INTERVAL = 1.0  # seconds that a line may wait for company (nginx flush=1s)
MAX_PENDING_BYTES = 8 * 1024 * 1024  # over this the log is slower than the traffic: lines are dropped
CLOSE_TIMEOUT = 2.0  # seconds that the end may wait for a log that does not take its last lines

STANDARD_OUTPUT = "-"


def configure_error_log() -> None:
    """Send everything that is logged, by us and by applications of this process, to standard error, a line each."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler])


class AccessLogWriter:
    """A sink of finished text lines without their newline: call it with one.

    ``path`` is a file's path, or ``-`` for standard output. A file that cannot be opened or written is tried again
    with every batch. One greenlet owns the descriptor and the order of the lines.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self._lines: list[str] = []
        self._pending = 0
        self._lost = 0
        self._failing = False
        self._torn = False  # the last write stopped in the middle of a line
        self._reopening = False
        self._closing = False
        self._wake = gevent.event.Event()
        self._open()
        self._task = gevent.spawn(self._run)

    def __repr__(self) -> str:
        return f"<AccessLogWriter {self._path}, {self._pending} pending, {self._lost} lost>"

    def __call__(self, line: str) -> None:
        """Take one line; never waits, never raises."""
        if self._pending >= MAX_PENDING_BYTES:
            self._lost += 1
            self._complain("it takes lines more slowly than they come")
            return
        self._lines.append(line)
        self._pending += len(line) + 1
        if self._pending >= BATCH_BYTES:
            self._wake.set()

    def reopen(self) -> None:
        """Write what is pending to the old file, then open the path anew: for rotation, which renames the old one."""
        self._reopening = True
        self._wake.set()

    def close(self) -> None:
        """Write what is pending and close; waits at most ``CLOSE_TIMEOUT`` seconds. Idempotent."""
        self._closing = True
        self._wake.set()
        self._task.join(CLOSE_TIMEOUT)
        self._task.kill()

    def _run(self) -> None:
        try:
            while not self._closing:
                self._wake.wait(FLUSH_INTERVAL)
                self._wake.clear()
                self._flush()
                if self._reopening:
                    self._reopening = False
                    self._close()
                    self._open()
            self._flush()
        finally:
            self._close()

    def _flush(self) -> None:
        lines = self._lines
        if not lines or (self._fd < 0 and not self._open()):
            self._drop(lines)
            return
        self._lines = []
        size = self._pending
        data = b"\n" * self._torn + "\n".join(lines).encode(errors="backslashreplace") + b"\n"
        # A native thread: a disk, and even more a pipe, may keep its writer waiting.
        written, problem = gevent.get_hub().threadpool.apply(_write_all, (self._fd, data))
        self._pending -= size
        if problem is not None:
            self._torn = self._torn or written > 0
            self._lost += data.count(b"\n", written)
            self._complain(str(problem.strerror))
            return
        self._torn = False
        if self._failing and self._pending < BATCH_BYTES:  # not yet while the next batch is already full
            log.warning("access log %s: written again; %d lines were lost", self._name, self._lost)
            self._failing = False
            self._lost = 0

    def _drop(self, lines: list[str]) -> None:
        self._lost += len(lines)
        self._lines = []
        self._pending = 0

    def _open(self) -> bool:
        if self._path == STANDARD_OUTPUT:
            self._fd = 1
            return True
        try:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as problem:
            self._complain(str(problem.strerror))
            return False
        self._torn = False
        return True

    def _close(self) -> None:
        if self._fd > 2:
            os.close(self._fd)
        self._fd = -1

    def _complain(self, problem: str) -> None:
        """Say what is wrong with the log: once, until it can be written again."""
        if not self._failing:
            self._failing = True
            log.error("access log %s: %s; lines are dropped until it can be written again", self._name, problem.lower())

    @property
    def _name(self) -> str:
        return "on standard output" if self._path == STANDARD_OUTPUT else self._path


def _write_all(fd: int, data: bytes) -> tuple[int, OSError | None]:
    """Write ``data`` to a descriptor, waiting if need be: how many bytes were taken, and what stopped them."""
    written = 0
    while written < len(data):
        try:
            written += os.write(fd, data[written:])
        except BlockingIOError:  # whoever shares our standard output made it non-blocking
            writable = select.poll()
            writable.register(fd, select.POLLOUT)
            writable.poll()
        except OSError as problem:
            return written, problem
    return written, None
