"""Watching a file: every way in which it may change, and the ways in which it only seems to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wsgiproxy.config.watcher import RACY_SECONDS, Watcher

LATER = 4e9  # a time of day at which every file here is old


@pytest.fixture(name="file")
def fixture_file(tmp_path: Path) -> Path:
    file = tmp_path / "wsgiproxy.yaml"
    file.write_text("a: 1\n")
    return file


def watch(file: Path, now: float = LATER) -> Watcher:
    return Watcher(file, wall_clock=lambda: now)


def looks(watcher: Watcher, count: int = 3) -> list[bool]:
    return [watcher.changed() for _ in range(count)]


def test_a_file_that_stays_is_never_changed(file: Path) -> None:
    assert looks(watch(file)) == [False, False, False]


def test_a_change_is_told_once_at_the_second_look_that_agrees(file: Path) -> None:
    watcher = watch(file)
    file.write_text("a: 22\n")
    assert looks(watcher, 4) == [False, True, False, False]


def test_a_file_that_is_still_being_written_is_waited_for(file: Path) -> None:
    watcher = watch(file)
    for size in range(2, 6):
        file.write_text("b" * size * 10)
        assert watcher.changed() is False
    assert looks(watcher) == [True, False, False]


def test_an_editor_that_renames_is_seen(file: Path) -> None:
    watcher = watch(file)
    new = file.with_suffix(".new")
    new.write_text("a: 2\n")
    new.rename(file)
    assert looks(watcher) == [False, True, False]


def test_a_swapped_symlink_is_seen(tmp_path: Path, file: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("a: 2\n")
    link = tmp_path / "link.yaml"
    link.symlink_to(file)
    watcher = watch(link)
    swap = tmp_path / "swap"
    swap.symlink_to(other)
    swap.rename(link)
    assert looks(watcher) == [False, True, False]


def test_a_file_that_vanishes_has_not_changed_until_it_is_back(file: Path) -> None:
    watcher = watch(file)
    file.unlink()
    assert looks(watcher) == [False, False, False]
    file.write_text("a: 2\n")
    assert looks(watcher) == [False, True, False]


def test_the_same_contents_again_are_no_change(file: Path) -> None:
    watcher = watch(file)
    os.utime(file, (1, 1))
    assert looks(watcher) == [False, False, False]
    file.unlink()
    file.write_text("a: 1\n")
    assert looks(watcher) == [False, False, False]


def test_a_change_and_back_is_no_change(file: Path) -> None:
    watcher = watch(file)
    file.write_text("a: 22\n")
    assert watcher.changed() is False
    file.write_text("a: 1\n")
    assert looks(watcher) == [False, False, False]


def test_a_file_that_appears_later_is_a_change(tmp_path: Path) -> None:
    watcher = watch(tmp_path / "later.yaml")
    assert watcher.changed() is False
    (tmp_path / "later.yaml").write_text("")
    assert looks(watcher) == [False, True, False]


def test_a_file_that_became_a_directory_has_not_changed(file: Path) -> None:
    watcher = watch(file)
    file.unlink()
    file.mkdir()
    assert looks(watcher) == [False, False, False]


def test_a_write_that_leaves_no_trace_in_the_stamps_is_found_while_the_file_is_young(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = file.stat()
    monkeypatch.setattr("wsgiproxy.config.watcher.os.stat", lambda path: frozen)
    young = watch(file, now=frozen.st_mtime + RACY_SECONDS - 1)
    old = watch(file, now=frozen.st_mtime + RACY_SECONDS + 1)
    file.write_text("a: 2\n")
    assert looks(young) == [True, False, False]
    assert looks(old) == [False, False, False]


def test_the_interval_is_kept_for_the_owner(file: Path) -> None:
    assert Watcher(file).interval == 1.0
    assert Watcher(file, interval=0.2).interval == 0.2
