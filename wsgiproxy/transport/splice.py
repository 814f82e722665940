"""Bytes that move from socket to socket through a pipe and never leave the kernel (splice(2)).

The rule of the room: a pipe holds the bytes of one piece, from when they were received to when they were sent; one that
still holds some after that is closed, never used again. Nothing here waits, and nothing has to work: where a piece
cannot be had this way the caller receives it by the copying path, which also finds out why. This module must not know
HTTP or configuration.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os

WORTH = 64 * 1024  # bytes that must be expected before it is worth the two more system calls of a new pipe
_SIZES = (1024 * 1024, 256 * 1024)  # bytes of a pipe: most of pipe(7)'s pipe-max-size, and what a poorer user may get
_MOST_OPEN = 256  # pipes at once; each has two descriptors
_MOST_IDLE = 32  # pipes that are kept between two pieces
# splice(2) is not to be had here at all: an old kernel, a sandbox, a descriptor of a kind that cannot.
_UNABLE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM})
_NOT_NOW = frozenset({errno.EAGAIN, errno.ENOMEM})

_splice = getattr(os, "splice", None)
_FLAGS = 0 if _splice is None else os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK


class Piped:
    """A piece that waits in a pipe; ``len`` is the number of bytes that are in it still: none once it was sent.

    Whoever drops it drops them, and the pipe.
    """

    __slots__ = ("_held", "_pool", "_read_end", "_write_end")

    def __init__(self, pool: PipePool, read_end: int, write_end: int) -> None:
        self._pool: PipePool | None = pool
        self._read_end = read_end
        self._write_end = write_end
        self._held = 0

    def __repr__(self) -> str:
        return f"<Piped {self._held} bytes, fd {self._read_end}>"

    def __len__(self) -> int:
        return self._held

    def __bytes__(self) -> bytes:
        """Take all of it out: for whoever cannot send it as it is."""
        pieces = []
        while self._held:
            pieces.append(os.read(self._read_end, self._held))
            self._count(len(pieces[-1]))
        self.close()
        return b"".join(pieces)

    def __del__(self) -> None:
        self.close()

    def fill(self, descriptor: int, size: int) -> None:
        """Take up to ``size`` bytes from a socket, none at its end; ``OSError`` as recv(2) has it."""
        if _splice is not None:
            self._held = _splice(descriptor, self._write_end, size, flags=_FLAGS)

    def pour(self, descriptor: int) -> None:
        """Give a socket as much as it takes; ``OSError`` as send(2) has it."""
        if _splice is not None and self._held:
            self._count(_splice(self._read_end, descriptor, self._held, flags=_FLAGS))

    def close(self) -> None:
        """Give the pipe back; with bytes in it, close it. Idempotent."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.take_back(self._read_end, self._write_end, self._held == 0)

    def _count(self, taken: int) -> None:
        if not taken:
            raise OSError(errno.EIO, "a pipe has lost its bytes")
        self._held -= taken


class PipePool:
    """The pipes of one driver, made when they are needed."""

    def __init__(self) -> None:
        self._idle: list[tuple[int, int]] = []
        self._open = 0
        self.able = _splice is not None  # false once the kernel has said that it cannot

    def __repr__(self) -> str:
        return f"<PipePool {self._open} open, {len(self._idle)} idle{'' if self.able else ', unable'}>"

    def __del__(self) -> None:
        self.close()

    def receive(self, descriptor: int, size: int) -> Piped | None:
        """Up to ``size`` bytes that a socket has; None where there are none, or it cannot be done: then receive them.

        ``OSError`` where the connection failed, which the kernel says only once.
        """
        ends = self._take()
        if ends is None:
            return None
        piece = Piped(self, *ends)
        try:
            piece.fill(descriptor, size)
        except OSError as error:
            if error.errno not in _NOT_NOW and not self.is_unable(error):
                raise
        finally:
            if not len(piece):
                piece.close()  # here, for an error that somebody keeps must not keep a pipe
        return piece if len(piece) else None

    def is_unable(self, error: OSError) -> bool:
        """Whether ``error`` says that there is no splicing here; then none is tried again."""
        if error.errno in _UNABLE:
            self.able = False
            return True
        return False

    def take_back(self, read_end: int, write_end: int, empty: bool) -> None:
        """A pipe whose piece is over; only an empty one is kept."""
        if empty and len(self._idle) < _MOST_IDLE:
            self._idle.append((read_end, write_end))
            return
        self._open -= 1
        os.close(read_end)
        os.close(write_end)

    def close(self) -> None:
        """Close the idle pipes."""
        while self._idle:
            self._open -= 1
            for end in self._idle.pop():
                os.close(end)

    def _take(self) -> tuple[int, int] | None:
        if self._idle:
            return self._idle.pop()
        if not self.able or self._open >= _MOST_OPEN:
            return None
        try:
            ends = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:  # no descriptor is left: not a reason to fail where none is needed
            return None
        self._open += 1
        for size in _SIZES:
            with contextlib.suppress(OSError):  # more than this user may have (pipe(7), pipe-user-pages-soft)
                if fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, size) >= size:
                    return ends
        self.take_back(*ends, False)
        return None
