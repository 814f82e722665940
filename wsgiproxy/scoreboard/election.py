"""One of many processes does what must be done once for all of them: where no master says who, a lock on a file does.

The rule of the room: who is elected stays so until it leaves or ends, however it ends; then the next that asks is. It
is a record lock (fcntl(2)): it belongs to the process, so that a child which is forked does not keep it when its parent
is gone. It would be lost if this process opened and closed the file elsewhere, so nobody else may open it, and there
may be one ``Election`` of a path in a process.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from wsgiproxy.scoreboard.segment import open_private


class Election:
    """Whether this process is the one; asked now and then, for each answer may be another."""

    __slots__ = ("_fd", "_pid", "path")

    def __init__(self, path: Path) -> None:
        """``path`` is made (mode 0600) and stays. ``PermissionError`` where it is not this user's alone."""
        self.path = path
        self._fd = open_private(path, os.O_RDWR | os.O_CREAT)
        self._pid = 0  # who was elected, of this process and those that it was forked from

    def __repr__(self) -> str:
        return f"<Election {self.path}: {'won' if self._pid == os.getpid() else 'not won'} by {os.getpid()}>"

    def won(self) -> bool:
        """Whether this process is elected, now or before. Never waits."""
        own = os.getpid()
        if self._pid == own:
            return True
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # fcntl(2): EAGAIN or EACCES
            return False
        self._pid = own
        return True

    def leave(self) -> None:
        """Let another one be elected. Idempotent; the election is over for this object."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._pid = 0
