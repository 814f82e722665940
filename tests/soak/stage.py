"""What a long run stands on: processes that end with it, latencies of a well-behaved client, failures in words."""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.functional.scene import ask_on, kept
from tests.processes import Process

PAUSE = 0.005  # seconds between two requests of a well-behaved client


class Stage:
    """A folder, and processes that are killed when ``stack`` ends."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self._count = 0

    def start(
        self,
        argv: Sequence[str | Path],
        *,
        name: str = "",
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Process:
        """Start a program, as ``tests.conftest.Start``."""
        self._count += 1
        log = self.folder / f"process-{self._count}.log"
        return self._stack.enter_context(Process(argv, log, name=name, env=env, cwd=cwd))


class Others:
    """Four well-behaved clients, each one request after the other; how long each answer took, in seconds."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.latencies: list[float] = []
        self.failures: list[str] = []
        self._ending = threading.Event()

    def p99_ms(self) -> float:
        """The 99th percentile in milliseconds."""
        ordered = sorted(self.latencies)
        return ordered[int(len(ordered) * 0.99)] * 1000 if ordered else 0.0

    def _run(self) -> None:
        with kept(self._port) as connection:
            while not self._ending.wait(PAUSE):
                begin = time.monotonic()
                try:
                    status = ask_on(connection, "/others").status
                except (OSError, http.client.HTTPException) as error:
                    self.failures.append(repr(error))
                    connection.close()
                    continue
                self.latencies.append(time.monotonic() - begin)
                if status != 200:
                    self.failures.append(str(status))

    @classmethod
    @contextlib.contextmanager
    def asking(cls, port: int) -> Iterator[Others]:
        """Ask until the block ends."""
        others = cls(port)
        threads = [threading.Thread(target=others._run) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            yield others
        finally:
            others._ending.set()
            for thread in threads:
                thread.join()
