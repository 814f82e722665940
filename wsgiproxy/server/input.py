"""``wsgi.input``: the request body as PEP 3333 wants to read it, and piece by piece as a proxy does.

Whatever is asked, nothing beyond the body is read: the next request on the connection stays untouched. A client that
asked for 100 (Continue) is answered at the first read (RFC 9110 10.1.1), so an application that refuses a body never
costs its upload.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from wsgiproxy.errors import ContentTooLargeError
from wsgiproxy.http1.body import BodyReader


class RequestInput:
    """The body of one request; an empty one has no reader."""

    __slots__ = ("_before_read", "_limit", "_pending", "_reader")

    def __init__(
        self, reader: BodyReader | None = None, limit: int | None = None, before_read: Callable[[], None] | None = None
    ) -> None:
        """``limit`` is the largest body in bytes; ``before_read`` is called once, before the first read."""
        self._reader = reader
        self._limit = limit
        self._before_read = before_read
        self._pending = b""  # received, and not yet asked for

    def read_some(self) -> bytes:
        """The next piece as soon as any is there; ``b""`` at the end. ``ContentTooLargeError`` over the limit."""
        if self._pending:
            piece, self._pending = self._pending, b""
            return piece
        reader = self._reader
        if reader is None:
            return b""
        if self._before_read is not None:
            before_read, self._before_read = self._before_read, None
            before_read()
        piece = reader.read_some()
        if self._limit is not None and reader.received > self._limit:
            raise ContentTooLargeError(f"the request body is longer than {self._limit} bytes")
        return piece

    def read(self, size: int = -1) -> bytes:
        """``size`` bytes, fewer only at the end; all that is left for a negative size."""
        pieces: list[bytes] = []
        left = size
        while left and (piece := self.read_some()):
            if 0 <= left < len(piece):
                piece, self._pending = piece[:left], piece[left:]
            pieces.append(piece)
            left -= len(piece) if left > 0 else 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def readline(self, size: int = -1) -> bytes:
        """The next line, its line feed included, at most ``size`` bytes of it."""
        pieces: list[bytes] = []
        left = size
        while left and (piece := self.read_some()):
            end = piece.find(b"\n") + 1 or len(piece)
            if 0 <= left < end:
                end = left
            piece, self._pending = piece[:end], piece[end:]
            pieces.append(piece)
            left -= len(piece) if left > 0 else 0
            if piece.endswith(b"\n"):
                break
        return b"".join(pieces)

    def readlines(self, hint: int = -1) -> list[bytes]:
        """The lines that are left; about ``hint`` bytes of them where it is positive."""
        lines: list[bytes] = []
        total = 0
        for line in self:
            lines.append(line)
            total += len(line)
            if 0 < hint <= total:
                break
        return lines

    def __iter__(self) -> Iterator[bytes]:
        while line := self.readline():
            yield line
