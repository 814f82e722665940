"""Reading a message body off a byte source, piece by piece, exactly to its end (RFC 9112 sections 6 and 7).

One reader for both sides: the front server reads requests with it, the upstream reads answers. It is given a
``receive`` function instead of a socket, and the two errors to raise, so that it blames the right side. Chunk
extensions are checked, bounded and dropped; trailer fields are checked, bounded and kept for whoever asks for some.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sized
from typing import TypeVar

from wsgiproxy.errors import ProxyError
from wsgiproxy.http1.grammar import BARE_LINE_END, TOKEN, VALUE, parse_trailers
from wsgiproxy.http1.message import Fields, Framing

Received = TypeVar("Received", bound=Sized)  # bytes, or what stands for them

PIECE = 256 * 1024  # bytes asked for at once: few calls for a large body, and still in a core's cache
_CHUNKED_PIECE = 64 * 1024  # the same for a chunked body, whose pieces are cut out of what was received
_MAX_CHUNK_LINE = 4 * 1024  # bytes of one chunk's size line, extensions included
_MAX_EXTENSIONS = 16 * 1024  # bytes of all chunk extensions of one body (the class of CVE-2023-39326)
_MAX_TRAILER_BYTES = 8 * 1024
_MAX_TRAILER_FIELDS = 100

# RFC 9112 7.1 and 7.1.1: white space stands before a semicolon or around an equals sign, and nowhere else.
_QUOTED = r'"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*+"'
_EXTENSION = rf"[ \t]*+;[ \t]*+{TOKEN}++(?:[ \t]*+=[ \t]*+(?:{TOKEN}++|{_QUOTED}))?"
_SIZE = rf"([0-9A-Fa-f]{{1,15}}+)((?:{_EXTENSION})*+)\r\n".encode("latin-1")
_FIRST_SIZE_LINE = re.compile(_SIZE)
_NEXT_SIZE_LINE = re.compile(rb"\r\n" + _SIZE)
_BEGINS_SIZE_LINE = re.compile(
    rf"(?:[0-9A-Fa-f]{{1,15}}+(?:[ \t]*+;{VALUE}*+\r?|[ \t]++|\r)?)?\Z".encode("latin-1")
)  # loosely, but none that hopes for a line end in vain


class BodyReader:
    """One body. ``finished`` is true once its last byte was returned; ``received`` counts the payload's bytes."""

    __slots__ = (
        "_buffer", "_chunked", "_extensions", "_failure", "_in_trailers", "_malformed", "_position", "_receive",
        "_remaining", "_size_line", "_trailers", "_truncated", "finished", "received",
    )  # fmt: skip

    def __init__(
        self,
        framing: Framing,
        buffered: bytes,
        receive: Callable[[int], bytes],
        malformed: type[ProxyError],
        truncated: type[ProxyError],
    ) -> None:
        """``buffered`` was already received; ``receive(size)`` returns up to ``size`` bytes, ``b""`` at the end."""
        self._chunked = framing.chunked
        self._remaining = framing.length  # bytes left of the body, or of the chunk; None until the source ends
        self._receive = receive
        self._malformed = malformed
        self._truncated = truncated
        self._buffer = buffered
        self._position = 0
        self._extensions = 0
        self._failure: ProxyError | None = None
        self._size_line = _FIRST_SIZE_LINE
        self._in_trailers = False
        self._trailers: Fields = []
        self.finished = framing.length == 0
        self.received = 0
        if framing.chunked:
            self._remaining = 0

    def read_some(self) -> bytes:
        """The next piece, at most ``PIECE`` bytes, as soon as any is there; ``b""`` at the end.

        What it raises once it raises ever after: behind a mistake nobody knows where the body ends.
        """
        return self.read_piece(self._receive)

    def read_piece(self, receive: Callable[[int], Received]) -> bytes | Received:
        """As ``read_some``; a piece that needs no look into it is what ``receive(size)`` returns for it."""
        if self.finished:
            return b""
        if self._failure is not None:
            raise self._failure
        try:
            piece = self._read_chunked() if self._chunked else self._read_plain(receive)
        except ProxyError as error:
            self._failure = error
            raise
        self.received += len(piece)
        return piece

    @property
    def failed(self) -> bool:
        """Whether reading has raised: nobody knows where the body ends."""
        return self._failure is not None

    def refuse(self, error: ProxyError) -> None:
        """Read no further: this and every further read raises ``error``, and the body never finishes."""
        self.finished = False
        self._failure = error
        raise error

    def is_ready(self) -> bool:
        """Whether ``read_some`` most likely returns without receiving."""
        return self.finished or self._position < len(self._buffer)

    def leftover(self) -> bytes:
        """What was received beyond the body; to be asked when ``finished``."""
        return self._buffer[self._position :]

    def trailers(self) -> Fields:
        """The trailer fields of a chunked body, as they came, once it is ``finished``; nothing before, or without any.

        They say nothing of this message to anybody but through ``headers.allowed_trailers``.
        """
        return self._trailers if self.finished else []

    def _read_plain(self, receive: Callable[[int], Received]) -> bytes | Received:
        remaining = self._remaining
        wanted = PIECE if remaining is None or remaining > PIECE else remaining
        piece: bytes | Received
        if self._position < len(self._buffer):
            piece = self._take(wanted)
        else:
            piece = receive(wanted)
            if not len(piece):
                if remaining is not None:
                    raise self._truncated(f"the body ended {remaining} bytes early")
                self.finished = True
        if remaining is not None:
            self._remaining = remaining - len(piece)
            self.finished = self._remaining == 0
        return piece

    def _read_chunked(self) -> bytes:
        """All chunk data that is buffered, or else the first that arrives."""
        if not self._remaining:
            self._start_chunk()
            if self.finished:
                return b""
        if self._position == len(self._buffer):
            self._fill()
        pieces: list[bytes] = []
        while True:
            piece = self._take(self._remaining or 0)
            pieces.append(piece)
            self._remaining = (self._remaining or 0) - len(piece)
            if self._remaining:
                break
            match = self._size_line.match(self._buffer, self._position)
            if match is None or not self._accept_size(match) or self._position == len(self._buffer):
                break
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _start_chunk(self) -> None:
        """Receive until a chunk's size line, or for the last chunk the whole trailer section, is there."""
        if not self._in_trailers:
            while (match := self._size_line.match(self._buffer, self._position)) is None:
                self._check_size_line()
                self._fill()
            if self._accept_size(match):
                return
            self._position = match.end()
            self._in_trailers = True  # a wait in there may be interrupted, and taken up again
        self._read_trailers()
        self.finished = True

    def _accept_size(self, match: re.Match[bytes]) -> bool:
        """Go on with the chunk of a size line; false, and nothing taken, for the last chunk."""
        extensions = self._extensions + len(match[2])
        if extensions > _MAX_EXTENSIONS or match.end() - match.start(1) > _MAX_CHUNK_LINE:
            raise self._malformed("too many chunk extensions")
        size = int(match[1], 16)
        if size == 0:
            return False
        self._extensions = extensions
        self._position = match.end()
        self._remaining = size
        self._size_line = _NEXT_SIZE_LINE
        return True

    def _check_size_line(self) -> None:
        """Refuse what no further byte can turn into a size line."""
        start = self._position + (2 if self._size_line is _NEXT_SIZE_LINE else 0)
        if not b"\r\n".startswith(self._buffer[self._position : start]):
            raise self._malformed("a chunk does not end with its line end")
        if _BEGINS_SIZE_LINE.match(self._buffer, start) is None:
            raise self._malformed("malformed chunk size line")
        if len(self._buffer) - start >= _MAX_CHUNK_LINE:
            raise self._malformed("chunk size line too long")

    def _read_trailers(self) -> None:
        """Take the trailer fields, which are checked and kept apart, and the empty line (RFC 9112 7.1.2)."""
        seen = 0  # bytes that were looked through before
        while True:
            section = self._buffer[self._position :]
            if section.startswith(b"\r\n"):
                self._position += 2
                return
            end = section.find(b"\r\n\r\n", max(seen - 3, 0))
            if BARE_LINE_END.search(section, max(seen - 1, 0), end if end >= 0 else len(section)) is not None:
                raise self._malformed("a trailer line does not end with its line end")
            if (end if end >= 0 else len(section) - 3) > _MAX_TRAILER_BYTES:
                raise self._malformed("trailer section too long")
            if end >= 0:
                fields = parse_trailers(section[: end + 2], _MAX_TRAILER_FIELDS)
                if fields is None:
                    raise self._malformed("malformed trailer section")
                self._trailers = fields
                self._position += end + 4
                return
            seen = len(section)
            self._fill()

    def _take(self, size: int) -> bytes:
        """Up to ``size`` buffered bytes."""
        start = self._position
        if start == 0 and len(self._buffer) <= size:
            piece, self._buffer = self._buffer, b""
            return piece
        piece = self._buffer[start : start + size]
        self._position = start + len(piece)
        return piece

    def _fill(self) -> None:
        data = self._receive(_CHUNKED_PIECE)
        if not data:
            raise self._truncated("the chunked body was cut")
        self._buffer = self._buffer[self._position :] + data
        self._position = 0
