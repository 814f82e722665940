"""Memory that processes share, by its descriptor or by a file, and what is refused."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.scoreboard.hammer import ROOT
from wsgiproxy.errors import ScoreboardError
from wsgiproxy.scoreboard import layout as places
from wsgiproxy.scoreboard.layout import make_layout
from wsgiproxy.scoreboard.segment import attach, attach_file, create_memory, replace_file, share_file

SMALL = make_layout(2, 5)


def test_who_is_given_the_descriptor_has_the_same_words() -> None:
    with create_memory(SMALL, 4) as segment:
        segment.cells.store(places.H_CHANGES, 12)
        with attach(os.dup(segment.fd)) as other:
            assert repr(other) == repr(segment)
            assert (other.generation, other.layout, other.changes) == (4, SMALL, 12)
            other.retire(5)
        assert segment.successor == 5


def test_a_descriptor_reaches_exactly_the_children_that_are_given_it() -> None:
    code = (
        "import sys; from wsgiproxy.scoreboard.segment import attach\n"
        "with attach(int(sys.argv[1])) as segment: segment.retire(segment.generation + 1)"
    )
    with create_memory(SMALL) as segment:
        command = [sys.executable, "-c", code, str(segment.fd)]
        done = subprocess.run(command, cwd=ROOT, pass_fds=[segment.fd], check=False, timeout=30)
        assert (done.returncode, segment.successor) == (0, 2)
        left = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=30)
        assert "ScoreboardError" in left.stderr


def test_nobody_can_take_words_away_from_under_the_others() -> None:
    with create_memory(SMALL) as segment:
        for size in (0, SMALL.size * 2):
            with pytest.raises(PermissionError):
                os.truncate(segment.fd, size)


def test_another_version_is_refused_and_says_so() -> None:
    with create_memory(SMALL) as segment:
        segment.cells.store(places.H_VERSION, 2)
        other = os.dup(segment.fd)
        with pytest.raises(ScoreboardError, match="layout version 2, this wsgiproxy reads version 1"):
            attach(other)
        os.close(other)  # it is still the caller's


@pytest.mark.parametrize("size", [0, 8, SMALL.size - 8, SMALL.size + 8, SMALL.size + 3])
def test_another_size_is_refused_and_says_so(tmp_path: Path, size: int) -> None:
    path = tmp_path / "board"
    share_file(path, SMALL).close()
    os.truncate(path, size)
    with pytest.raises(ScoreboardError, match=f"{size} bytes"):
        attach_file(path)


def test_what_is_no_memory_is_refused() -> None:
    reader, writer = os.pipe()
    for fd in (reader, 9999):
        with pytest.raises(ScoreboardError):
            attach(fd)
    os.close(reader)
    os.close(writer)


def test_after_close_nothing_is_open_and_nothing_can_be_read() -> None:
    before = os.listdir("/proc/self/fd")
    segment = create_memory(SMALL)
    segment.close()
    segment.close()
    assert os.listdir("/proc/self/fd") == before
    with pytest.raises(ValueError, match="released"):
        segment.cells.load(0)


def test_refusals_leave_nothing_open(tmp_path: Path) -> None:
    path = tmp_path / "board"
    path.write_bytes(b"x" * 5000)
    path.chmod(0o600)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(ScoreboardError, match="no scoreboard of wsgiproxy"):
        attach_file(path)
    assert os.listdir("/proc/self/fd") == before


def test_who_shares_a_file_gets_the_same_words_and_it_is_theirs_alone(tmp_path: Path) -> None:
    path = tmp_path / "board"
    with share_file(path, SMALL) as first, share_file(path, make_layout(9, 9)) as second:
        first.retire(3)
        assert (second.successor, second.layout, first.instead_of, second.instead_of) == (3, SMALL, "", "")
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}
    assert path.stat().st_size == SMALL.size
    assert path.stat().st_blocks * 512 >= SMALL.size, "a full disk would end who writes it"


def test_a_file_that_cannot_be_read_is_replaced_for_good_reasons_only(tmp_path: Path) -> None:
    path = tmp_path / "board"
    with share_file(path, SMALL) as old:
        old.cells.store(places.H_BOOT, 1)
        with share_file(path, SMALL) as new:
            assert "before this machine was started" in new.instead_of
            old.retire(3)
            assert new.successor == 0, "those that have the old one keep it"
    path.chmod(0o644)
    with pytest.raises(PermissionError, match="mode 0600"):
        share_file(path, SMALL)


def test_a_link_in_the_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "board").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        share_file(tmp_path / "board", SMALL)
    assert not (tmp_path / "elsewhere").exists()


def test_what_was_left_half_made_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "board.new").write_bytes(b"half")
    share_file(tmp_path / "board", SMALL).close()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["board", "board.lock"]


def test_processes_that_begin_at_once_share_one_file(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from wsgiproxy.scoreboard import layout, rows, segment\n"
        "shared = segment.share_file(Path(sys.argv[1]), layout.make_layout(16, 5))\n"
        "row = rows.claim(shared); row.change('requests', 2, 7); print(row.number, flush=True); sys.stdin.read()"
    )
    path = tmp_path / "board"
    command = [sys.executable, "-c", code, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    processes = [subprocess.Popen(command, cwd=ROOT, text=True, **pipes) for _ in range(6)]  # type: ignore[call-overload]
    try:
        numbers = [process.stdout.readline() for process in processes]
        assert sorted(map(int, numbers)) == list(range(6))
        with attach_file(path) as segment:
            layout = segment.layout
            assert segment.cells.sum_one(layout.column("requests") + 2, layout.row_words, layout.rows) == 42
    finally:
        for process in processes:
            process.kill()
            with process:
                process.wait()


def test_a_larger_file_takes_the_place_of_one_that_others_still_have(tmp_path: Path) -> None:
    path = tmp_path / "board"
    with share_file(path, SMALL) as old, replace_file(path, make_layout(2, 50), old.generation + 1) as new:
        old.retire(new.generation)
        with attach_file(path) as found:
            assert (found.generation, found.layout.slots, old.successor) == (2, 50, 2)
