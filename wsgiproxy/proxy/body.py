"""The client's body on its way to a backend: read in pieces, held to its route's limit, its beginning kept for a retry.

What a small body costs in waiting is paid before a backend is asked: a slow client holds no backend up.
"""

from __future__ import annotations

import time
from math import inf
from typing import Any

from wsgiproxy.errors import ClientDisconnectedError, ContentTooLargeError, ExchangeTimeout, RequestTimeout
from wsgiproxy.http1.message import Fields, Framing
from wsgiproxy.transport.splice import Piped
from wsgiproxy.upstream.messages import RequestBody

_READ = 16 * 1024  # bytes asked of a foreign wsgi.input, which waits for all of them
_REPLAY = 64 * 1024  # bytes kept of a body, unless the pool says otherwise

_monotonic = time.monotonic


def body_of(environ: dict[str, Any], framing: Framing, limit: float = inf, keep: int = _REPLAY) -> ReplayableBody:
    """The body of a request with that framing, of which ``keep`` bytes are kept to be sent again.

    ``ContentTooLargeError`` if its known length is over ``limit`` bytes.
    """
    if framing.length is not None and framing.length > limit:
        raise _too_large(limit)
    source = environ["wsgi.input"]
    if not hasattr(source, "read_some"):
        source = HostInput(source, framing)
    return ReplayableBody(source, framing.length, limit, keep)


class HostInput:
    """A foreign ``wsgi.input`` as pieces: never read past the body, in reads small enough not to hold it back."""

    __slots__ = ("_left", "_source")

    def __init__(self, source: Any, framing: Framing) -> None:
        self._source = source
        self._left = framing.length  # None: the host ends the input where the body ends

    def read_some(self) -> bytes:
        """The next piece; ``b""`` at the end; ``ClientDisconnectedError`` where it ends early."""
        size = _READ if self._left is None else min(_READ, self._left)
        try:
            piece = b"".join([self._source.read(size)]) if size else b""  # bytes, of whatever kind the host's are
        except (OSError, EOFError) as error:  # whatever the host makes of a client that has gone
            raise ClientDisconnectedError(f"the request body could not be read: {error}") from error
        if self._left is not None:
            if size and not piece:
                raise ClientDisconnectedError(f"the request body ended {self._left} bytes early")
            self._left -= len(piece)
        return piece

    read_piece = read_some

    def end_by(self, instant: float) -> None:
        """Nothing: how long it waits is the host's to say."""

    def interrupt(self) -> None:
        """Nothing: a host's input cannot be interrupted."""

    def trailers(self) -> Fields:
        """None: no host tells of them."""
        return []


class ReplayableBody:
    """A body whose beginning is kept, so that it can be sent again as long as that is all that was read of it.

    Kept are the first piece, whatever its size, and more up to ``keep`` bytes in all; nothing where that is 0.
    """

    __slots__ = ("_ends_by", "_keep", "_kept", "_length", "_limit", "_next", "_size", "_source", "can_rewind")

    def __init__(self, source: RequestBody, length: int | None = None, limit: float = inf, keep: int = _REPLAY) -> None:
        """``length`` is what was announced, None for a chunked body; ``limit`` the most that is taken, in bytes."""
        self._keep = keep
        self._source = source
        self._length = length
        self._limit = limit
        self._ends_by = inf
        self._kept: list[bytes] = []
        self._next = 0  # which kept piece comes next
        self._size = 0  # bytes read from the source
        self.can_rewind = True  # every byte that was read is still here

    def prefetch(self) -> None:
        """Read the beginning of a body of known length: all of a small one. To be called before anything is read."""
        if self._length is None:
            return
        wanted = min(self._length, self._keep)
        pieces = []
        while self._size < wanted and (piece := self._read()):
            pieces.append(piece)
        self._kept = [b"".join(pieces)] if len(pieces) > 1 else pieces

    @property
    def is_here(self) -> bool:
        """Whether all of it has been read, and kept."""
        return self._length is not None and self._size >= self._length and self.can_rewind

    def rewind(self) -> None:
        """Begin again."""
        self._next = 0

    def read_some(self) -> bytes:
        """The next piece; ``b""`` at the end; ``ContentTooLargeError`` over the limit."""
        if self._next < len(self._kept):
            self._next += 1
            return self._kept[self._next - 1]
        piece = self._read()
        if self._size > self._keep and (self._kept or not self._keep):
            if piece:
                self._forget()
        elif piece and self.can_rewind:
            self._kept.append(piece)
            self._next += 1
        return piece

    def read_piece(self) -> bytes | Piped:
        """As ``read_some``; behind the beginning, which is kept, the bytes may stay in the kernel."""
        if self._next < len(self._kept) or self._size < self._keep:
            return self.read_some()
        try:
            piece = self._source.read_piece()
        except RequestTimeout as error:
            self._check_end(error)
            raise
        self._count(len(piece))
        if len(piece):
            self._forget()
        return piece

    def end_by(self, instant: float) -> None:
        """Wait for no piece beyond an instant of ``time.monotonic()``, where the host can: ``ExchangeTimeout`` then."""
        self._ends_by = instant
        self._source.end_by(instant)

    def interrupt(self) -> None:
        """Make a ``read_some`` that waits raise ``InterruptedWaitError``, where the host can."""
        self._source.interrupt()

    def trailers(self) -> Fields:
        """The trailer fields as they came, once the end was read."""
        return self._source.trailers()

    def _read(self) -> bytes:
        try:
            piece = self._source.read_some()
        except RequestTimeout as error:
            self._check_end(error)
            raise
        self._count(len(piece))
        return piece

    def _check_end(self, error: RequestTimeout) -> None:
        """A client that is late by the exchange's time is not late by the listener's."""
        if _monotonic() >= self._ends_by:
            raise ExchangeTimeout("the request's body had not ended when the exchange's time was over") from error

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > self._limit:
            raise _too_large(self._limit)

    def _forget(self) -> None:
        """It has become too much to keep."""
        self.can_rewind = False
        self._kept.clear()
        self._next = 0


def _too_large(limit: float) -> ContentTooLargeError:
    return ContentTooLargeError(f"the request body is longer than {limit:.0f} bytes")
