"""What the proxies are asked to do, and how wrk measures it. A new work is one line in ``WORKS``."""

from __future__ import annotations

import http.client
import json
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench.machine import cpu_seconds, path_of
from tests.bench.peers import LARGE_BYTES, SMALL_ANSWER, Running, large_answer

SCRIPT = Path(__file__).with_name("request.lua")
MARK = "RESULT "  # how request.lua begins the line with the result


@dataclass(frozen=True)
class Work:
    """One kind of load. ``metric`` is ``requests/s`` or ``MB/s`` (a million bytes); ``answer`` gives the whole body."""

    name: str
    path: str
    connections: int
    metric: str
    about: str
    answer: Callable[[], bytes]
    script: Path = SCRIPT


@dataclass(frozen=True)
class Sample:
    """One run of wrk: ``rate`` in the work's metric, latencies in milliseconds, ``busy`` cores of CPU time used."""

    rate: float
    p50_ms: float
    p99_ms: float
    busy: float
    errors: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        """The sample as JSON takes it."""
        return asdict(self)


WORKS = (
    Work(
        "small",
        "/",
        64,
        "requests/s",
        "64 keep-alive connections, a browser's 12 header fields, an answer of 120 bytes",
        lambda: SMALL_ANSWER,
    ),
    Work(
        "large",
        "/large",
        8,
        "MB/s",
        f"8 keep-alive connections, answers of {LARGE_BYTES // 1_000_000} MB",
        large_answer,
    ),
)


def check_answer(work: Work, target: Running) -> list[str]:
    """Ask once and compare the answer byte by byte: a fast wrong answer is no result."""
    connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=30)
    try:
        connection.request("GET", work.path)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        return [f"no answer: {error!r}"]
    finally:
        connection.close()
    if answer.status != 200:
        return [f"status {answer.status} instead of 200"]
    return [] if body == work.answer() else [f"a wrong body of {len(body)} bytes"]


def measure(work: Work, target: Running, seconds: int, cores: tuple[int, ...]) -> Sample:
    """Drive ``target`` with wrk, running on ``cores``, for so many seconds."""
    errors = check_answer(work, target)
    argv = ["taskset", "-c", ",".join(map(str, cores)), path_of("wrk"), "--latency", "--timeout", "10s"]
    argv += ["-t", str(len(cores)), "-c", str(work.connections), "-d", f"{seconds}s", "-s", str(work.script)]
    before = cpu_seconds(target.process.pid)
    done = subprocess.run(
        [*argv, f"http://127.0.0.1:{target.port}{work.path}"],
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=False,
    )
    used = cpu_seconds(target.process.pid) - before
    line = next((line for line in done.stdout.splitlines() if line.startswith(MARK)), "")
    if done.returncode or not line:
        return Sample(0, 0, 0, 0, (*errors, f"wrk failed ({done.returncode}): {done.stderr.strip() or done.stdout}"))
    result = json.loads(line.removeprefix(MARK))
    kinds = ("connect", "read", "write", "status", "timeout")
    errors += [f"{result[kind]} {kind} errors" for kind in kinds if result[kind]]
    if not result["requests"]:
        errors.append("not one answer")
    amount = result["requests"] if work.metric == "requests/s" else result["bytes"] / 1e6
    duration = result["seconds"]
    return Sample(amount / duration, result["p50_ms"], result["p99_ms"], used / duration, tuple(errors))
