"""A process that writes a segment whose descriptor it was given: ``python -m tests.unit.scoreboard.hammer``.

``WHAT FD NUMBER``: ``count`` makes so many turns and then waits, with its row as it is, for the end of its input;
``hold`` has so many in flight at slot 0 and counts on until it is killed, ``roam`` counts in all slots in turn;
``judge`` writes verdicts until then, whose numbers belong together.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from subprocess import PIPE, Popen

from wsgiproxy.scoreboard.rows import Row, claim
from wsgiproxy.scoreboard.segment import Segment, attach
from wsgiproxy.scoreboard.verdicts import Verdict, write_verdict

ROOT = Path(__file__).resolve().parents[3]


def start(segment: Segment, what: str, number: int) -> Popen[str]:
    """Run one that is given ``segment``; it has begun when this returns."""
    command = [sys.executable, "-m", "tests.unit.scoreboard.hammer", what, str(segment.fd), str(number)]
    process = Popen(command, cwd=ROOT, stdin=PIPE, stdout=PIPE, text=True, pass_fds=[segment.fd])
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def end(process: Popen[str]) -> None:
    """Kill it, and close what leads there."""
    process.kill()
    with process:
        process.wait()


def turn(row: Row, slot: int) -> None:
    """One request, as a pool counts it."""
    row.change("in_flight", slot, 1)
    row.change("requests", slot, 1)
    row.count("requests")
    row.note_latency(0.001 * slot)
    row.change("in_flight", slot, -1)


def told(number: int) -> Verdict:
    """A verdict that is whole if all its numbers are made of one."""
    return Verdict("healthy" if number % 2 else "unhealthy", "ready", float(number), number * 2.0, number * 3)


def main(what: str, fd: int, number: int) -> None:
    """Do what the module says."""
    with attach(fd) as segment:
        if what == "judge":
            print("begun", flush=True)
            for count in itertools.count(1):
                write_verdict(segment, 0, told(count))
        row = claim(segment)
        if what == "roam":
            print("begun", flush=True)
            for count in itertools.count():
                turn(row, count % segment.layout.slots)
        if what == "hold":
            row.change("in_flight", 0, number)
            print("begun", flush=True)
            while True:
                turn(row, 1)
        print("begun", flush=True)
        for count in range(number):
            turn(row, count % segment.layout.slots)
        print("done", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
