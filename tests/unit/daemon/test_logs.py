"""The access log's writer: batches, rotation, and a log that cannot be written."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import pytest

from wsgiproxy.daemon import logs
from wsgiproxy.daemon.logs import AccessLogWriter

Make = Callable[[Path], AccessLogWriter]


@pytest.fixture(name="make")
def fixture_make() -> Iterator[Make]:
    writers: list[AccessLogWriter] = []

    def make(path: Path) -> AccessLogWriter:
        writers.append(AccessLogWriter(str(path)))
        return writers[-1]

    yield make
    for writer in writers:
        writer.close()


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        gevent.sleep(0.01)


def full_batch(writer: AccessLogWriter, line: str) -> int:
    """Give the writer enough lines that it writes at once; how many that were."""
    count = logs.BATCH_BYTES // (len(line) + 1) + 1
    for _ in range(count):
        writer(line)
    return count


def test_lines_wait_for_company_and_are_written_within_the_interval(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    writer = make(path)
    writer("one")
    writer("two")
    assert path.read_text() == ""
    wait_for(lambda: path.read_text() == "one\ntwo\n", logs.FLUSH_INTERVAL + 5)


def test_a_full_batch_is_written_at_once(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "FLUSH_INTERVAL", 3600.0)
    path = tmp_path / "access.log"
    count = full_batch(make(path), "x" * 99)
    wait_for(lambda: path.stat().st_size == count * 100)


def test_closing_writes_what_is_pending(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    writer = make(path)
    writer("last words")
    writer.close()
    assert path.read_text() == "last words\n"
    writer.close()


def test_an_existing_file_is_appended_to(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_text("old\n")
    writer = make(path)
    writer("new")
    writer.close()
    assert path.read_text() == "old\nnew\n"


def test_reopening_after_a_rename_loses_nothing_and_starts_the_new_file(make: Make, tmp_path: Path) -> None:
    path, rotated = tmp_path / "access.log", tmp_path / "access.log.1"
    writer = make(path)
    writer("before")
    path.rename(rotated)
    writer.reopen()
    wait_for(path.exists)
    writer("after")
    writer.close()
    assert rotated.read_text() == "before\n"
    assert path.read_text() == "after\n"


def test_a_line_that_is_no_text_in_utf_8_does_not_stop_the_log(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    writer = make(path)
    writer("caf\xe9 \udc80")
    writer.close()
    assert path.read_bytes() == b"caf\xc3\xa9 \\udc80\n"


def test_a_full_disk_is_spoken_of_once_and_stops_nothing(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "access.log"
    path.symlink_to("/dev/full")
    writer = make(path)
    lost = full_batch(writer, "x" * 99)
    wait_for(lambda: repr(writer) == f"<AccessLogWriter {path}, 0 pending, {lost} lost>")
    lost += full_batch(writer, "y" * 99)
    wait_for(lambda: repr(writer) == f"<AccessLogWriter {path}, 0 pending, {lost} lost>")
    assert [record.getMessage() for record in caplog.records] == [
        f"access log {path}: no space left on device; lines are dropped until it can be written again"
    ]


def test_a_log_that_could_not_be_opened_recovers_by_itself(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "later" / "access.log"
    writer = make(path)
    lost = full_batch(writer, "x" * 99)
    wait_for(lambda: f"{lost} lost" in repr(writer))
    path.parent.mkdir()
    writer("after")
    writer.close()
    assert path.read_text() == "after\n"
    assert [record.getMessage() for record in caplog.records] == [
        f"access log {path}: no such file or directory; lines are dropped until it can be written again",
        f"access log {path}: written again; {lost} lines were lost",
    ]


def test_after_half_a_line_the_next_one_starts_on_its_own(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "access.log"
    writer = make(path)
    real = logs._write_all

    def fill_up(fd: int, data: bytes) -> tuple[int, OSError | None]:
        monkeypatch.setattr(logs, "_write_all", real)
        return real(fd, data[:2])[0], OSError(28, "No space left on device")

    monkeypatch.setattr(logs, "_write_all", fill_up)
    writer("torn")
    wait_for(lambda: "1 lost" in repr(writer))
    writer("whole")
    writer.close()
    assert path.read_text() == "to\nwhole\n"


def test_a_log_slower_than_the_traffic_is_bounded_and_holds_nobody_up(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stuck = threading.Event()
    monkeypatch.setattr(logs, "MAX_PENDING_BYTES", 2 * logs.BATCH_BYTES)
    real = logs._write_all

    def write_slowly(fd: int, data: bytes) -> tuple[int, OSError | None]:
        stuck.wait(30)
        return real(fd, data)

    monkeypatch.setattr(logs, "_write_all", write_slowly)
    path = tmp_path / "access.log"
    writer = make(path)
    total = sum(full_batch(writer, "x" * 99) for _ in range(5))
    lost = int(repr(writer).split()[-2])
    assert 0 < lost < total
    stuck.set()
    wait_for(lambda: "0 pending, 0 lost" in repr(writer))
    assert path.read_text().count("\n") == total - lost
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]


def test_a_non_blocking_descriptor_is_waited_for() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    data = b"x" * 1_000_000  # more than a pipe holds
    received = bytearray()

    def read_all() -> None:
        while len(received) < len(data):
            received.extend(os.read(reader, 65536))

    thread = threading.Thread(target=read_all)
    thread.start()
    try:
        assert logs._write_all(writer, data) == (len(data), None)
        thread.join(30)
        assert bytes(received) == data
    finally:
        os.close(reader)
        os.close(writer)
