"""What the shared numbers cost: ``python -m tests.bench.scoreboard``, in nanoseconds, compiled and in pure Python.

A change is one number of one request up or down; a sum is over as many rows as there are workers: of one backend (is it
full?), or of each backend of a pool at once (which has the fewest?). With ``--busy N``, N processes change numbers of
all backends meanwhile, each in its own row, as workers do.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import timeit
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.unit.scoreboard import hammer
from wsgiproxy.scoreboard import cells
from wsgiproxy.scoreboard.board import Sums
from wsgiproxy.scoreboard.layout import make_layout
from wsgiproxy.scoreboard.rows import claim
from wsgiproxy.scoreboard.segment import create_memory
from wsgiproxy.scoreboard.verdicts import Verdict, read_verdict, write_verdict

WORKERS = (1, 4, 16)
BACKENDS = (10, 100, 1000)
ROUNDS = 7
ROOT = Path(__file__).resolve().parents[2]

Costs = dict[str, float]


def _rows(busy: int) -> list[int]:
    """The numbers of workers where one at least is not busy."""
    return [workers for workers in WORKERS if workers > busy]


def cost(call: Callable[[], object]) -> float:
    """Nanoseconds a call, the median of some rounds of 20 ms; the loop's own and the lambda's included."""
    timer = timeit.Timer(call)
    number, seconds = timer.autorange()
    number = max(1, int(number * 0.02 / seconds))
    return statistics.median(timer.repeat(ROUNDS, number)) / number * 1e9


def measure(busy: int) -> Costs:
    """All costs in this interpreter."""
    costs: Costs = {}
    for workers in _rows(busy):
        for backends in BACKENDS:
            with ExitStack() as stack:
                segment = stack.enter_context(create_memory(make_layout(workers, backends)))
                for _ in range(busy):
                    stack.callback(hammer.end, hammer.start(segment, "roam", 0))
                rows = [claim(segment) for _ in range(workers - busy)]
                in_flight = Sums(segment, "in_flight", range(backends))
                if not costs:
                    cell = rows[0].cell("in_flight", 3)
                    add = segment.cells.add
                    costs["change"] = cost(lambda add=add, cell=cell: add(cell, 1))  # type: ignore[misc]
                    costs["change by name"] = cost(lambda row=rows[0]: row.change("in_flight", 3, 1))  # type: ignore[misc]
                    costs["latency"] = cost(lambda row=rows[0]: row.note_latency(0.0123))  # type: ignore[misc]
                    write_verdict(segment, 0, Verdict())
                    costs["changes looked at"] = cost(lambda segment=segment: segment.changes)  # type: ignore[misc]
                    costs["verdict"] = cost(lambda segment=segment: read_verdict(segment, 0))  # type: ignore[misc]
                costs[f"one {workers} {backends}"] = cost(lambda sums=in_flight: sums.one(3))  # type: ignore[misc]
                costs[f"all {workers} {backends}"] = cost(in_flight.all)
    return costs


def in_another(pure: bool, busy: int) -> tuple[bool, Costs]:
    """Whether the compiled form was in use in a fresh interpreter, and the costs there."""
    command = [sys.executable, "-m", "tests.bench.scoreboard", "--json", "--busy", str(busy)]
    env = os.environ | {"WSGIPROXY_PURE": "1" if pure else ""}
    done = subprocess.run(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, check=True, timeout=600)
    compiled, costs = json.loads(done.stdout)
    return compiled, costs


def main() -> None:
    """Print the tables of the README."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--busy", type=int, default=0, help="processes that write meanwhile")
    parser.add_argument("--json", action="store_true", help="this interpreter's costs only")
    asked = parser.parse_args()
    if asked.json:
        print(json.dumps([cells.Cells is not cells.WordCells, measure(asked.busy)]))
        return
    compiled, fast = in_another(False, asked.busy)
    _, slow = in_another(True, asked.busy)
    if not compiled:
        print("nothing was compiled here: both columns are pure Python")
    print("| ns | compiled | pure |\n|---|---|---|")
    for name in fast:
        if not name.startswith(("one ", "all ")):
            print(f"| {name} | {fast[name]:,.0f} | {slow[name]:,.0f} |")
    print("\n| workers | backends | one, compiled | one, pure | all, compiled | all, pure |\n|---|---|---|---|---|---|")
    for workers in _rows(asked.busy):
        for backends in BACKENDS:
            keys = (f"one {workers} {backends}", f"all {workers} {backends}")
            row = " | ".join(f"{costs[key]:,.0f}" for key in keys for costs in (fast, slow))
            print(f"| {workers} | {backends:,} | {row} |")


if __name__ == "__main__":
    main()
