"""Let one target work for some seconds: wrk for requests, processes of ``load.py`` for what wrk cannot do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tests.bench.machine import path_of

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("request.lua")
MARK = "RESULT "  # how request.lua begins the line with the result
GRACE = 60  # seconds that a load may take over its time before it counts as hung


@dataclass(frozen=True)
class Driven:
    """What came of it: whole answers, bytes of answers (0 where nobody counts them), latencies in milliseconds."""

    answers: int
    received: int
    seconds: float
    p50_ms: float
    p99_ms: float
    errors: tuple[str, ...]


def drive_wrk(
    url: str, connections: int, seconds: int, cores: Sequence[int], settings: Mapping[str, int | str]
) -> Driven:
    """wrk at full speed; ``settings`` are the environment that request.lua reads."""
    argv = ["taskset", "-c", ",".join(map(str, cores)), path_of("wrk"), "--latency", "--timeout", "10s"]
    argv += ["-t", str(len(cores)), "-c", str(connections), "-d", f"{seconds}s", "-s", str(SCRIPT), url]
    changes = {name: str(value) for name, value in settings.items()}
    done = subprocess.run(
        argv, env={**os.environ, **changes}, capture_output=True, text=True, timeout=seconds + GRACE, check=False
    )
    line = next((line for line in done.stdout.splitlines() if line.startswith(MARK)), "")
    if done.returncode or not line:
        return _failed(f"wrk failed ({done.returncode}): {done.stderr.strip() or done.stdout}")
    result = json.loads(line.removeprefix(MARK))
    kinds = ("connect", "read", "write", "status", "timeout")
    errors = [f"{result[kind]} {kind} errors" for kind in kinds if result[kind]]
    latencies = result["p50_ms"], result["p99_ms"]
    return Driven(result["requests"], result["bytes"], result["seconds"], *latencies, tuple(errors))


def drive_load(kind: str, port: int, connections: int, seconds: int, cores: Sequence[int], rate: float) -> Driven:
    """``load.py``, one process on each of ``cores`` with its share of connections and rate; all begin together."""
    share, over = divmod(connections, len(cores))
    children = []
    for number, core in enumerate(cores):
        argv = ["taskset", "-c", str(core), sys.executable, "-m", "tests.bench.load", kind, str(port)]
        argv += [str(share + (number < over)), str(seconds), str(rate / len(cores)), str(number)]
        children.append(subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    try:
        first = [_pipe(child.stdout).readline() for child in children]  # READY; or the result: it could not connect
        for child in children:
            _pipe(child.stdin).write("go\n")
            _pipe(child.stdin).flush()
        rest = [child.communicate(timeout=seconds + GRACE)[0] for child in children]
    except (OSError, subprocess.TimeoutExpired) as error:
        return _failed(f"the load failed: {error!r}")
    finally:
        for child in children:
            child.kill()
            child.wait()
    lines = [line for line in "".join((*first, *rest)).splitlines() if line.startswith("{")]
    if len(lines) < len(children):
        return _failed("the load ended without a result")
    return _merged([json.loads(line) for line in lines])


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def _merged(results: Sequence[dict[str, Any]]) -> Driven:
    took: Counter[int] = Counter()
    for result in results:
        took.update({int(microseconds): count for microseconds, count in result["took"].items()})
    errors = tuple(error for result in results for error in result["errors"])
    answers, seconds = sum(result["answers"] for result in results), max(result["seconds"] for result in results)
    return Driven(answers, 0, seconds, _percentile(took, 50), _percentile(took, 99), errors)


def _percentile(took: Counter[int], percent: int) -> float:
    """The time that so many percent took at the most, in milliseconds; 0 without any."""
    wanted = took.total() * percent / 100
    for microseconds in sorted(took):
        wanted -= took[microseconds]
        if wanted <= 0:
            return microseconds / 1000
    return 0.0


def _failed(error: str) -> Driven:
    return Driven(0, 0, 1, 0, 0, (error,))
