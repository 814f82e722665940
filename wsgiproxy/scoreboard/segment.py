"""The memory itself: made, handed on, found again, and refused where it is not what it must be.

Either it has no name and is handed to children that are exec'ed by its descriptor (a daemon's), or it is a file that
its owner alone may open (a pre-forking host's workers, which have nobody to hand them anything). Both have all their
bytes from the beginning, for a word that finds no room on the disk when it is written would be a SIGBUS.

When it gets too small, the control process makes another of the next generation, twice as large; the memory of a
segment never moves. It carries over names and verdicts, hands the new one on (a file: puts it in the old one's place),
and only then names it in the old one's ``successor``. Each process that sees that claims a row of the new segment,
carries its own numbers over under its locks, in one go with the numbers of the slots that its backends use, and leaves
its row of the old one; until nobody has a row there, who wants a sum adds that of the old one. Then it is closed.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from wsgiproxy.errors import ScoreboardError
from wsgiproxy.scoreboard.cells import Cells
from wsgiproxy.scoreboard.layout import (
    H_CHANGES,
    H_MAGIC,
    H_SUCCESSOR,
    HEADER_WORDS,
    WORD,
    Layout,
    read_header,
)


def boot() -> int:
    """63 bits that say which start of this machine its monotonic clock counts from (random(4))."""
    return int(Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")[:16], 16) >> 1


class Segment:
    """One shared segment in this process; a context manager that closes it.

    ``cells`` are its words, ``fd`` its descriptor, which belongs to it and is not inherited unless told so
    (``pass_fds`` of ``subprocess``, ``os.set_inheritable``). ``instead_of`` says why a file was made anew.
    """

    __slots__ = ("_mapping", "cells", "fd", "generation", "instead_of", "layout")

    def __init__(self, fd: int, mapping: mmap.mmap, layout: Layout, generation: int) -> None:
        self.fd = fd
        self._mapping = mapping
        self.cells = Cells(mapping)
        self.layout = layout
        self.generation = generation
        self.instead_of = ""

    def __repr__(self) -> str:
        layout = self.layout
        return f"<Segment generation {self.generation}: {layout.rows} rows, {layout.slots} slots, {layout.size} bytes>"

    def __enter__(self) -> Segment:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the memory; others keep it. Idempotent. Its cells are a ``ValueError`` from now on."""
        if self.fd >= 0:
            self.cells.release()
            self._mapping.close()
            os.close(self.fd)
            self.fd = -1

    @property
    def successor(self) -> int:
        """The generation of the segment that takes the place of this one; 0 while there is none."""
        return self.cells.load(H_SUCCESSOR)

    def retire(self, successor: int) -> None:
        """Tell everybody that a segment of that generation is there to be moved to."""
        self.cells.store(H_SUCCESSOR, successor)

    @property
    def changes(self) -> int:
        """Grows with each verdict."""
        return self.cells.load(H_CHANGES)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes out while rows are claimed or cleared; never on a request's path.

        A record lock (fcntl(2)): it belongs to the process, so it keeps forked children out, too, and ends with it.
        """
        fcntl.lockf(self.fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self.fd, fcntl.LOCK_UN)


def create_memory(layout: Layout, generation: int = 1) -> Segment:
    """A new segment without a name, all zeros but for its header; nobody can change its size. ``OSError``."""
    fd = os.memfd_create("wsgiproxy-scoreboard", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        segment = _prepare(fd, layout, generation)
    except BaseException:
        os.close(fd)
        raise
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return segment


def attach(fd: int) -> Segment:
    """The segment behind a descriptor, which belongs to it from now on, unless it is refused: ``ScoreboardError``."""
    try:
        size = os.fstat(fd).st_size
        if size < HEADER_WORDS * WORD:
            raise ScoreboardError(f"{size} bytes are too few for a scoreboard")
        mapping = mmap.mmap(fd, size)
    except (OSError, ValueError) as error:
        raise ScoreboardError(f"descriptor {fd} is no scoreboard: {error}") from error
    header = Cells(mapping)
    try:
        words = [header.load(index) for index in range(HEADER_WORDS)]
        layout, generation = read_header(words, size, boot())
    except BaseException:
        header.release()
        mapping.close()
        raise
    header.release()
    os.set_inheritable(fd, False)
    return Segment(fd, mapping, layout, generation)


def share_file(path: Path, layout: Layout) -> Segment:
    """The segment in the file ``path``, made with ``layout`` where there is none that can be read.

    Any number of processes may ask at once, all get the same. ``PermissionError`` where the file is not this user's
    alone, another ``OSError`` where it cannot be made. The name should hold ``layout.VERSION`` where two versions of
    wsgiproxy may be at work at once: each would replace the other's.
    """
    with _locked(path):
        why = ""
        try:
            return attach_file(path)
        except FileNotFoundError:
            pass
        except ScoreboardError as error:
            why = str(error)
        segment = _create_file(path, layout, 1)
        segment.instead_of = why
        return segment


def replace_file(path: Path, layout: Layout, generation: int) -> Segment:
    """A new segment in the place of the one in the file ``path``, which stays as it is for those who have it open."""
    with _locked(path):
        return _create_file(path, layout, generation)


def attach_file(path: Path) -> Segment:
    """The segment in a file; ``ScoreboardError`` if it is refused, ``FileNotFoundError`` where there is none."""
    fd = open_private(path, os.O_RDWR)
    try:
        return attach(fd)
    except BaseException:
        os.close(fd)
        raise


def open_private(path: Path, flags: int) -> int:
    """A descriptor of a file that is this user's alone; ``PermissionError`` for any other."""
    fd = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        os.close(fd)
        raise PermissionError(f"{path} must be a file that only user {os.geteuid()} may read and write (mode 0600)")
    return fd


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep out others that would make the same file; the file beside it that this is done with stays."""
    fd = open_private(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _create_file(path: Path, layout: Layout, generation: int) -> Segment:
    new = path.with_name(f"{path.name}.new")  # what is found there was left by one that was killed
    new.unlink(missing_ok=True)
    fd = open_private(new, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        segment = _prepare(fd, layout, generation)
        new.rename(path)
    except BaseException:
        new.unlink(missing_ok=True)
        os.close(fd)
        raise
    return segment


def _prepare(fd: int, layout: Layout, generation: int) -> Segment:
    """Give an empty file its bytes and its header."""
    os.posix_fallocate(fd, 0, layout.size)
    segment = Segment(fd, mmap.mmap(fd, layout.size), layout, generation)
    for place, word in layout.header(generation, boot()).items():
        segment.cells.store(place, word)
    assert segment.cells.load(H_MAGIC)
    return segment
