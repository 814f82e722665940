"""Who writes which row: a process claims one, writes it alone, and what a dead one has left is cleared.

The rule of the room: a row belongs to one process, told from a later one of the same number by when it started. Rows
are claimed and cleared under the segment's lock, and written without any. All processes must see one another's numbers
(share a pid namespace): whom nobody can see is dead.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from wsgiproxy.errors import ScoreboardError
from wsgiproxy.scoreboard.histogram import bucket_of
from wsgiproxy.scoreboard.layout import (
    BUCKETS,
    CELLS,
    COUNTERS,
    H_ROWS_USED,
    R_PID,
    R_STARTED,
    CellKind,
    Counter,
)
from wsgiproxy.scoreboard.segment import Segment


class Owner(NamedTuple):
    """Whose a row is: a process's number, and when it started, in clock ticks since the machine did (proc(5))."""

    row: int
    pid: int
    started: int

    @property
    def alive(self) -> bool:
        """Whether that very process still runs; also where that is hidden from this user (hidepid, proc(5))."""
        since = started(self.pid)
        if since < 0:
            try:
                os.kill(self.pid, 0)
            except PermissionError:
                return True
            except ProcessLookupError:
                return False
        return since == self.started


def started(pid: int) -> int:
    """When a process started, in clock ticks since the machine did; -1 for one that is gone, or waits to be reaped."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return -1
    return -1 if fields[0] in {b"Z", b"X"} else int(fields[19])


class Row:
    """The row of this process, and of no child that it forks: one of these is for one process.

    Where every nanosecond counts, keep ``cell(...)`` and call ``cells.add`` of the segment with it. Two threads may
    write the same number (see ``cells``).
    """

    __slots__ = ("_cells", "_columns", "_counters", "_histogram", "number", "segment")

    def __init__(self, segment: Segment, number: int) -> None:
        """Use ``claim``."""
        layout = segment.layout
        self.segment = segment
        self.number = number
        self._cells = segment.cells
        offset = layout.row_words * number
        self._columns = {kind: layout.column(kind) + offset for kind in CELLS}
        self._counters = {name: layout.counter(name) + offset for name in COUNTERS}
        self._histogram = layout.histogram + offset

    def __repr__(self) -> str:
        return f"<Row {self.number} of {self.segment!r}>"

    def cell(self, kind: CellKind, slot: int) -> int:
        """Which word counts that, for this process."""
        self.segment.layout.check_slot(slot)
        return self._columns[kind] + slot

    def change(self, kind: CellKind, slot: int, by: int) -> None:
        """Add to a cell."""
        self._cells.add(self.cell(kind, slot), by)

    def count(self, name: Counter, by: int = 1) -> None:
        """Add to a counter."""
        self._cells.add(self._counters[name], by)

    def note_latency(self, seconds: float) -> None:
        """Count an answer that took so long."""
        microseconds = int(seconds * 1e6)
        self._cells.add(self._histogram + bucket_of(microseconds), 1)
        self._cells.add(self._counters["latency_us"], microseconds)

    def carry_over(self, to: Row, slots: Mapping[int, int]) -> None:
        """Move this process's numbers to its row of another segment, and leave this one.

        ``slots`` says which slot there is which one here; what is in other slots is forgotten. No other thread may
        write either row meanwhile.
        """
        for name in COUNTERS:
            to.count(name, self._cells.load(self._counters[name]))
        for bucket in range(BUCKETS):
            to._cells.add(to._histogram + bucket, self._cells.load(self._histogram + bucket))
        for kind in CELLS:
            for old, new in slots.items():
                to.change(kind, new, self._cells.load(self.cell(kind, old)))
        self.leave()

    def leave(self) -> None:
        """Clear the row and let others have it; to be used no more."""
        with self.segment.lock():
            _clear(self.segment, self.number)


def claim(segment: Segment) -> Row:
    """A row for this process, all zeros; rows of dead processes only where no other is free.

    ``ScoreboardError`` where there is none. Whoever claims two must move from one to the other (``carry_over``).
    """
    own = os.getpid()
    with segment.lock():
        taken = {owner.row for owner in owners(segment)}
        if len(taken) == segment.layout.rows:
            taken -= {owner.row for owner in _clear_dead(segment)}
        number = next((row for row in range(segment.layout.rows) if row not in taken), -1)
        if number < 0:
            raise ScoreboardError(f"all {segment.layout.rows} rows of the scoreboard belong to living processes")
        first = segment.layout.row(number)
        segment.cells.store(first + R_STARTED, started(own))
        segment.cells.store(first + R_PID, own)
        if number >= segment.cells.load(H_ROWS_USED):
            segment.cells.store(H_ROWS_USED, number + 1)
    return Row(segment, number)


def owners(segment: Segment) -> list[Owner]:
    """Whose rows are in use."""
    found = []
    for row in range(segment.cells.load(H_ROWS_USED)):
        first = segment.layout.row(row)
        pid = segment.cells.load(first + R_PID)
        if pid:
            found.append(Owner(row, pid, segment.cells.load(first + R_STARTED)))
    return found


def clear_dead(segment: Segment) -> list[Owner]:
    """Clear the rows of processes that are gone; whose these were. For the master, or who checks for all of a host."""
    with segment.lock():
        return _clear_dead(segment)


def _clear_dead(segment: Segment) -> list[Owner]:
    dead = [owner for owner in owners(segment) if not owner.alive]
    for owner in dead:
        _clear(segment, owner.row)
    return dead


def _clear(segment: Segment, number: int) -> None:
    """The owner last: while it stands there, nobody else gets the row."""
    first = segment.layout.row(number)
    segment.cells.clear(first + R_PID + 1, segment.layout.row_words - 1)
    segment.cells.store(first + R_PID, 0)
