"""Says when a file changed: by looking at it, again and again, whenever its owner asks.

Looking works where notifications do not (network mounts, bind mounts, symlink swaps), and costs one ``stat``. This
module has no clock of its own to sleep on, no thread, and does not know what is in the file.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable

RACY_SECONDS = 3.0  # two writes within one tick of a file system's clock look alike; FAT's tick is 2 s

_Signature = tuple[int, int, int, int, int]


class Watcher:
    """One file, symlinks followed. Make it before the file is first read, or a change in between is missed.

    ``interval`` is how many seconds its owner should let pass between two looks; ``wall_clock`` gives the time of day
    that files are stamped with.
    """

    def __init__(
        self, path: str | os.PathLike[str], interval: float = 1.0, wall_clock: Callable[[], float] = time.time
    ) -> None:
        self.path = os.fspath(path)
        self.interval = interval
        self._wall_clock = wall_clock
        self._signature = self._look()
        self._content = self._digest()
        self._candidate: _Signature | None = None

    def changed(self) -> bool:
        """Look once; whether the file has other contents than when this last said so (or than at the start).

        A change is told at the second look that finds the file the same again, so that a file is not read while it is
        being written. A file that is gone or cannot be read has not changed: it may be about to be replaced. Contents
        that are the same again (a ``touch``) are no change.
        """
        signature = self._look()
        if signature is None:
            self._candidate = None
            return False
        if signature == self._signature:
            if not self._is_racy(signature):
                self._candidate = None
                return False
        elif signature != self._candidate:
            self._candidate = signature
            return False
        content = self._digest()
        if content is None:
            return False
        self._signature, self._candidate = signature, None
        is_new = content != self._content
        self._content = content
        return is_new

    def _is_racy(self, signature: _Signature) -> bool:
        """Whether the file was stamped so lately that a further write may have left no trace in its stamps."""
        modified = max(signature[3], signature[4]) / 1e9
        return modified > self._wall_clock() - RACY_SECONDS

    def _look(self) -> _Signature | None:
        """What ``stat`` says about the file, None where there is none."""
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def _digest(self) -> bytes | None:
        """A hash of the contents, None where they cannot be read."""
        try:
            with open(self.path, "rb") as stream:
                return hashlib.file_digest(stream, "sha256").digest()
        except OSError:
            return None
