"""``wsgi.input``: the request body as PEP 3333 wants to read it, and piece by piece as a proxy does.

Whatever is asked, nothing beyond the body is read: the next request on the connection stays untouched. A client that
asked for 100 (Continue) is answered at the first read (RFC 9110 10.1.1), so an application that refuses a body never
costs its upload.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from wsgiproxy.errors import ClientError, ContentTooLargeError
from wsgiproxy.http1.body import BodyReader
from wsgiproxy.http1.message import Fields
from wsgiproxy.server.pace import BodySource
from wsgiproxy.transport.splice import Piped

_DRAIN_BYTES = 256 * 1024  # of a body that the application left unread, before another request
_DRAIN_SECONDS = 3.0  # the same; whoever is slower gets a new connection


class RequestInput:
    """The body of one request; an empty one has no reader."""

    __slots__ = ("_before_read", "_limit", "_pending", "_reader", "_source", "_start")

    def __init__(
        self,
        reader: BodyReader | None = None,
        limit: int | None = None,
        before_read: Callable[[], None] | None = None,
        source: BodySource | None = None,
    ) -> None:
        """``limit`` is the largest body in bytes; ``before_read`` is called once, before the first read.

        ``source`` is what ``reader`` receives from.
        """
        self._source = source
        self._reader = reader
        self._limit = limit
        self._before_read = before_read
        self._pending = b""  # received; from _start on not yet asked for
        self._start = 0

    def read_some(self) -> bytes:
        """The next piece as soon as any is there; ``b""`` at the end. ``ContentTooLargeError`` over the limit."""
        return self._some(-1)

    def read_piece(self) -> bytes | Piped:
        """As ``read_some``, for a reader who only sends it on: the bytes may stay in the kernel."""
        reader, source = self._reader, self._source
        if reader is None or source is None or self._before_read is not None or self._start < len(self._pending):
            return self.read_some()
        source.interrupted = False
        piece = reader.read_piece(source.receive_piece)
        self._check_limit(reader)
        return piece

    def end_by(self, instant: float) -> None:
        """Wait for the body to no later than that: ``RequestTimeout`` then."""
        if self._source is not None:
            self._source.over = instant

    def interrupt(self) -> None:
        """Make a ``read_some`` that waits raise ``InterruptedWaitError``; the body can be read on afterwards."""
        if self._source is not None:
            self._source.interrupt()

    def trailers(self) -> Fields:
        """The trailer fields as they came, once the end was read; none where the body was not chunked."""
        return self._reader.trailers() if self._reader is not None else []

    def read(self, size: int | None = -1) -> bytes:
        """``size`` bytes, fewer only at the end; all that is left for a negative size."""
        pieces: list[bytes] = []
        left = -1 if size is None else size
        while left and (piece := self._some(left)):
            pieces.append(piece)
            left -= len(piece) if left > 0 else 0
        return b"".join(pieces)

    def readline(self, size: int | None = -1) -> bytes:
        """The next line, its line feed included, at most ``size`` bytes of it."""
        pieces: list[bytes] = []
        left = -1 if size is None else size
        while left and (piece := self._some(left, b"\n")):
            pieces.append(piece)
            left -= len(piece) if left > 0 else 0
            if piece.endswith(b"\n"):
                break
        return b"".join(pieces)

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        """The lines that are left; about ``hint`` bytes of them where it is positive."""
        lines: list[bytes] = []
        total = 0
        for line in self:
            lines.append(line)
            total += len(line)
            if hint is not None and 0 < hint <= total:
                break
        return lines

    def __iter__(self) -> Iterator[bytes]:
        while line := self.readline():
            yield line

    @property
    def finished(self) -> bool:
        """Whether the last byte of the body was received."""
        return self._reader is None or self._reader.finished

    @property
    def failed(self) -> bool:
        """Whether reading has raised, so that no further request can be found behind this body."""
        return self._reader is not None and self._reader.failed

    def read_away(self) -> bool:
        """Read what the application left of the body, and drop it; false where that is too much, or takes too long."""
        reader = self._reader
        if reader is None or reader.finished:
            return True
        if self._source is not None:
            self._source.over = time.monotonic() + _DRAIN_SECONDS
            self._source.interrupted = False
        limit = reader.received + _DRAIN_BYTES
        try:
            while not reader.finished and reader.received < limit:
                reader.read_some()
        except ClientError:
            return False
        return reader.finished

    def leftover(self) -> bytes:
        """What was received beyond the body; to be asked when that is finished."""
        return self._reader.leftover() if self._reader is not None else b""

    def take_back_continue(self) -> bool:
        """Send no 100 (Continue) any more, since the final head goes out; whether the client still waited for one."""
        waited, self._before_read = self._before_read is not None, None
        return waited

    def _some(self, most: int, mark: bytes = b"") -> bytes:
        """Up to ``most`` bytes (a negative number: any) of what is there, up to ``mark`` where there is one."""
        if self._start == len(self._pending):
            self._pending, self._start = self._receive(), 0
        start, end = self._start, len(self._pending)
        if 0 <= most < end - start:
            end = start + most
        if mark:
            end = self._pending.find(mark, start, end) + 1 or end
        piece = self._pending[start:end]
        if end == len(self._pending):
            self._pending, end = b"", 0
        self._start = end
        return piece

    def _receive(self) -> bytes:
        reader = self._reader
        if reader is None:
            return b""
        if self._before_read is not None:
            before_read, self._before_read = self._before_read, None
            before_read()
        if self._source is not None:
            self._source.interrupted = False
        piece = reader.read_some()
        self._check_limit(reader)
        return piece

    def _check_limit(self, reader: BodyReader) -> None:
        if self._limit is not None and reader.received > self._limit:
            reader.refuse(ContentTooLargeError(f"the request body is longer than {self._limit} bytes"))
