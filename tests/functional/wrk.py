"""A running wrk, which asks a mix of requests (mixed.lua) until it is told to stop, and then says how it went."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import Start

SCRIPT = Path(__file__).with_name("mixed.lua")
MARK = "RESULT "  # how mixed.lua begins the line with the result
LONGEST = 3600  # seconds after which it ends by itself


@dataclass(frozen=True)
class Result:
    """What came of it: whole answers, latencies in milliseconds, and what went wrong by kind, empty where nothing did.

    ``errors``: connections that failed at ``connect``, ``read`` or ``write``, answers that took over 10 s
    (``timeout``), and those that were no 200 (``status``).
    """

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    errors: dict[str, int]

    def __str__(self) -> str:
        failed = ", ".join(f"{count} {kind} errors" for kind, count in self.errors.items()) or "none failed"
        return (
            f"{self.requests} requests in {self.seconds:.0f} s, p50 {self.p50_ms:.1f} ms, p99 {self.p99_ms:.1f} ms, "
            f"at most {self.max_ms:.0f} ms: {failed}"
        )


class Wrk:
    """wrk with one thread and so many kept connections, each of which asks again as soon as it is answered."""

    def __init__(self, start: Start, program: str, port: int, connections: int) -> None:
        argv = [program, "-t", "1", "-c", str(connections), "-d", f"{LONGEST}s", "--timeout", "10s", "--latency"]
        self._process = start([*argv, "-s", SCRIPT, f"http://127.0.0.1:{port}/"], name="wrk")

    def finish(self) -> Result:
        """Stop it; how it went."""
        status = self._process.stop(signal.SIGINT)
        assert status == 0, self._process.output()
        line = self._process.wait_for_line(MARK)
        facts = json.loads(line.removeprefix(MARK))
        facts["errors"] = {kind: count for kind, count in facts["errors"].items() if count}
        return Result(**facts)
