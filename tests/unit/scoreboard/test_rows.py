"""One process, one row; what a killed one has left is cleared."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.unit.scoreboard import hammer
from wsgiproxy.errors import ScoreboardError
from wsgiproxy.scoreboard.board import Sums, carry_names_over, counter_sums, give_slots, latency_sums, moves
from wsgiproxy.scoreboard.histogram import bucket_of
from wsgiproxy.scoreboard.layout import CELLS, CellKind, make_layout
from wsgiproxy.scoreboard.rows import Owner, claim, clear_dead, owners, started
from wsgiproxy.scoreboard.segment import Segment, create_memory

SLOTS = range(5)


@pytest.fixture
def segment() -> Iterator[Segment]:
    """Four rows of five slots."""
    with create_memory(make_layout(4, len(SLOTS))) as made:
        yield made


def sums(segment: Segment, kind: CellKind) -> list[int]:
    """Of each slot."""
    return list(Sums(segment, kind, SLOTS).all())


def test_a_row_is_its_owners_and_its_numbers_are_where_they_belong(segment: Segment) -> None:
    first, second = claim(segment), claim(segment)
    assert [(owner.row, owner.pid, owner.alive) for owner in owners(segment)] == [
        (0, os.getpid(), True),
        (1, os.getpid(), True),
    ]
    for number, kind in enumerate(CELLS):
        first.change(kind, number, 3)
        second.change(kind, number, 4)
        segment.cells.add(second.cell(kind, 0), 100)
    for number, kind in enumerate(CELLS):
        wanted = [0] * len(SLOTS)
        wanted[number] = 7
        wanted[0] += 100
        assert sums(segment, kind) == wanted
    first.count("bytes_in", 5)
    second.note_latency(0.25)
    counters = counter_sums(segment)
    assert {name: count for name, count in counters.items() if count} == {"bytes_in": 5, "latency_us": 250_000}
    assert latency_sums(segment)[bucket_of(250_000)] == sum(latency_sums(segment)) == 1
    with pytest.raises(IndexError):
        first.change("requests", len(SLOTS), 1)


def test_who_leaves_takes_all_numbers_along(segment: Segment) -> None:
    first, second = claim(segment), claim(segment)
    for row in (first, second):
        hammer.turn(row, 1)
    first.leave()
    assert sums(segment, "requests") == [0, 1, 0, 0, 0]
    assert [owner.row for owner in owners(segment)] == [1]
    assert claim(segment).number == 0
    assert counter_sums(segment)["requests"] == sum(latency_sums(segment)) == 1


def test_there_are_so_many_rows_and_no_more(segment: Segment) -> None:
    for _ in range(4):
        claim(segment)
    with pytest.raises(ScoreboardError, match="all 4 rows of the scoreboard belong to living processes"):
        claim(segment)


def test_numbers_go_along_to_a_larger_segment(segment: Segment) -> None:
    old = claim(segment)
    for slot in SLOTS:
        old.change("in_flight", slot, slot + 1)
    hammer.turn(old, 3)
    with create_memory(make_layout(4, 9), 2) as larger:
        new = claim(larger)
        old.carry_over(new, {3: 8, 0: 1})
        assert list(Sums(larger, "in_flight", range(9)).all()) == [0, 1, 0, 0, 0, 0, 0, 0, 4]
        assert counter_sums(larger)["requests"] == sum(latency_sums(larger)) == 1
    assert owners(segment) == []
    assert sums(segment, "in_flight") == [0] * len(SLOTS)


def test_while_some_have_moved_and_others_not_sums_are_of_both() -> None:
    with create_memory(make_layout(2, 3)) as old, create_memory(make_layout(2, 4), 2) as new:
        give_slots(old, ["a", "gone", "b"])
        rows = [claim(old), claim(old)]
        for row in rows:
            row.change("in_flight", 0, 1)
            row.change("in_flight", 2, 10)
        slots = carry_names_over(old, new, ["b", "new", "a"])
        both = Sums(new, "in_flight", slots, old)
        for row in rows:
            assert list(both.all()) == [both.one(place) for place in range(3)] == [20, 0, 2]
            row.carry_over(claim(new), moves(old, new))
        assert list(both.all()) == list(Sums(new, "in_flight", slots).all()) == [20, 0, 2]


def test_a_forked_child_gets_a_row_of_its_own() -> None:
    code = (
        "import os\n"
        "from wsgiproxy.scoreboard import layout, rows, segment\n"
        "shared = segment.create_memory(layout.make_layout(4, 1))\n"
        "first = rows.claim(shared)\n"
        "with shared.lock():\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        rows.claim(shared).change('requests', 0, 1); os._exit(0)\n"
        "    assert os.waitpid(child, os.WNOHANG) == (0, 0)\n"
        "assert os.waitpid(child, 0) == (child, 0)\n"
        "print([(owner.row, owner.pid == child) for owner in rows.clear_dead(shared)])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=hammer.ROOT, capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout == "[(1, True)]\n"


def test_a_process_is_told_from_another_of_its_number(segment: Segment) -> None:
    row = claim(segment)
    row.change("in_flight", 0, 1)
    assert clear_dead(segment) == []
    segment.cells.add(segment.layout.row(row.number) + 1, -1)  # it had started a tick earlier
    assert [owner.pid for owner in clear_dead(segment)] == [os.getpid()]
    assert sums(segment, "in_flight") == [0] * len(SLOTS)


def test_a_process_that_is_hidden_from_this_user_is_not_taken_for_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, signal: int) -> None:
        raise PermissionError(pid, signal)

    gone = Owner(0, 1 << 29, 5)
    assert not gone.alive
    monkeypatch.setattr(os, "kill", refuse)
    assert gone.alive


def test_who_is_gone_or_waits_to_be_reaped_has_not_started() -> None:
    process = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE)
    assert started(process.pid) > 0
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert started(process.pid) == -1
    with process:
        process.wait()
    assert started(process.pid) == -1


def test_sums_over_busy_writers_are_exact_at_rest(segment: Segment) -> None:
    turns = 4_000
    processes = [hammer.start(segment, "count", turns) for _ in range(3)]
    in_flight, requests = Sums(segment, "in_flight", SLOTS), Sums(segment, "requests", SLOTS)
    try:
        before = [0] * len(SLOTS)
        while sum(before) < 3 * turns:
            assert all(0 <= count <= 3 for count in in_flight.all())
            now = list(requests.all())
            assert all(old <= new for old, new in zip(before, now, strict=True))
            assert all(process.poll() is None for process in processes)
            before = now
        assert [process.stdout.readline() for process in processes] == ["done\n"] * 3  # type: ignore[union-attr]
        assert list(requests.all()) == [3 * turns // len(SLOTS)] * len(SLOTS)
        assert [requests.one(place) for place in SLOTS] == list(requests.all())
        assert list(in_flight.all()) == [0] * len(SLOTS)
        assert counter_sums(segment)["requests"] == sum(latency_sums(segment)) == 3 * turns
        assert len({owner.pid for owner in owners(segment)}) == 3
    finally:
        for process in processes:
            hammer.end(process)


def test_what_a_killed_process_had_leaves_the_sums(segment: Segment) -> None:
    mine = claim(segment)
    mine.change("in_flight", 0, 1)
    one, other = hammer.start(segment, "hold", 10), hammer.start(segment, "hold", 100)
    try:
        assert sums(segment, "in_flight")[0] == 111
        one.kill()
        os.waitid(os.P_PID, one.pid, os.WEXITED | os.WNOWAIT)
        assert [owner.pid for owner in clear_dead(segment)] == [one.pid]
        assert sums(segment, "in_flight")[0] == 101
        assert [owner.pid for owner in owners(segment)] == [os.getpid(), other.pid]
        assert clear_dead(segment) == []
    finally:
        hammer.end(one)
        hammer.end(other)


def test_where_all_rows_are_taken_a_dead_process_makes_room(segment: Segment) -> None:
    process = hammer.start(segment, "hold", 10)
    for _ in range(3):
        claim(segment)
    hammer.end(process)
    assert claim(segment).number == 0
    assert sums(segment, "in_flight") == [0] * len(SLOTS)
