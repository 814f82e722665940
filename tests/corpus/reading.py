"""Bytes through the grammar as ``server.connection`` and ``upstream.http`` put them through it, without a socket.

``read_requests`` and ``read_answer`` take the bytes in the pieces in which they arrive, and tell what was read and how
it ended. Limits are the listener's defaults. This module decides nothing about what is right.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from tests.corpus.cases import BODY_LIMIT
from wsgiproxy.config import schema
from wsgiproxy.errors import (
    BackendProtocolError,
    BadRequestError,
    ClientDisconnectedError,
    ContentTooLargeError,
    HeadersTooLargeError,
    ProxyError,
    TargetTooLongError,
    TruncatedBodyError,
)
from wsgiproxy.http1.body import BodyReader
from wsgiproxy.http1.message import Framing, RequestHead, ResponseHead
from wsgiproxy.http1.parser import END_OF_HEAD, check_partial, parse_request, parse_response

LIMITS = schema.Limits(body_bytes=BODY_LIMIT)
_MAX_ANSWER_HEAD = 64 * 1024  # bytes, as in upstream.http
_MAX_INTERIM = 16  # the same


@dataclass
class Request:
    """One request that was read to its end; ``raw`` are its bytes, an empty line before it included."""

    head: RequestHead
    body: bytes
    raw: bytes

    def summary(self) -> tuple[str, str, str, str, bool, tuple[tuple[str, str], ...], bytes]:
        """All that counts, to be compared."""
        head = self.head
        return head.method, head.target, head.version, head.host, head.framing.chunked, tuple(head.fields), self.body


@dataclass
class Requests:
    """What came of a client's bytes."""

    requests: list[Request] = field(default_factory=list)
    error: ProxyError | None = None
    partial: bool = False  # the bytes end within a request
    rest: bytes = b""  # from the beginning of the request that was refused, or is not whole
    read: int = 0  # bytes of the body of that request which were handed out

    def summary(self) -> tuple[object, ...]:
        """All that must not depend on how the bytes were split.

        With two mistakes in one head it may depend on that which of them is seen first, and so the refusal's status.
        """
        return [request.summary() for request in self.requests], self.error is None, self.partial


@dataclass
class Answer:
    """What came of a backend's bytes."""

    interim: list[int] = field(default_factory=list)
    head: ResponseHead | None = None
    body: bytes = b""
    error: ProxyError | None = None
    leftover: bytes = b""

    def summary(self) -> tuple[object, ...]:
        """All that must not depend on how the bytes were split; what a cut body had brought until then may."""
        head = self.head
        kind = type(self.error)
        if head is None or self.error is not None:
            return kind, self.interim, head is None
        return kind, self.interim, head.status, head.fields, head.framing, head.keep_alive, self.body


class Source:
    """Pieces as a stream; ``left`` are those not yet received."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.left = [piece for piece in pieces if piece][::-1]

    def recv(self, size: int = 65536) -> bytes:
        """Up to ``size`` bytes of the next piece, ``b""`` at the end."""
        if not self.left:
            return b""
        piece = self.left.pop()
        if len(piece) > size:
            self.left.append(piece[size:])
        return piece[:size]

    def rest(self) -> bytes:
        """All that was not yet received."""
        return b"".join(self.left[::-1])


def in_bytes(data: bytes) -> list[bytes]:
    """Byte by byte."""
    return [data[i : i + 1] for i in range(len(data))]


def at(data: bytes, positions: Iterable[int]) -> list[bytes]:
    """Split at positions (modulo the length)."""
    cuts = [0, *sorted(position % (len(data) + 1) for position in positions), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(cuts)]


def read_requests(pieces: Iterable[bytes]) -> Requests:
    """Read request after request, until one is the last, or is refused, or the bytes end."""
    source, found, buffer = Source(pieces), Requests(), b""
    while True:
        begin = found.rest = buffer + source.rest()
        if not begin:
            return found
        found.read = 0
        try:
            head, buffer = _read_head(source, buffer)
            if head is None:
                found.partial = begin not in (b"\r", b"\r\n")
                return found
            body = bytearray()
            for piece, left in _read_body(head, buffer, source):
                body += piece
                found.read = len(body)
                buffer = left
        except ClientDisconnectedError:
            found.partial = True
            return found
        except ProxyError as error:
            found.error = error
            return found
        found.requests.append(Request(head, bytes(body), begin[: len(begin) - len(buffer) - len(source.rest())]))
        if not head.keep_alive:
            return found


def _read_head(source: Source, buffer: bytes) -> tuple[RequestHead | None, bytes]:
    """As ``server.connection.Connection._read_head``."""
    while len(buffer) < 3 and b"\r\n".startswith(buffer):
        data = source.recv()
        if not data:
            return None, buffer
        buffer += data
    start = 2 if buffer.startswith(b"\r\n") else 0
    seen = 0
    while (end := buffer.find(END_OF_HEAD, start)) < 0:
        check_partial(buffer, start, seen)
        if len(buffer) > LIMITS.header_bytes:
            raise _too_large(buffer)
        data = source.recv()
        if not data:
            return None, buffer
        seen = len(buffer)
        buffer += data
    if end + 4 > LIMITS.header_bytes:
        raise _too_large(buffer)
    head = parse_request(buffer[start : end + 4], max_fields=LIMITS.header_count, max_target=LIMITS.target_bytes)
    return head, buffer[end + 4 :]


def _too_large(buffer: bytes) -> ProxyError:
    line = buffer.find(b"\r\n", 2)
    if line < 0 or line > LIMITS.target_bytes + 64:
        return TargetTooLongError("the request line is too long")
    return HeadersTooLargeError("the request head is too long")


def _read_body(head: RequestHead, buffer: bytes, source: Source) -> Iterator[tuple[bytes, bytes]]:
    """Pieces of the body, and what is buffered behind it where it has ended."""
    if head.framing.length == 0:
        return
    assert LIMITS.body_bytes is not None
    if (head.framing.length or 0) > LIMITS.body_bytes:
        raise ContentTooLargeError("the body is too long")
    reader = BodyReader(head.framing, buffer, source.recv, BadRequestError, ClientDisconnectedError)
    while not reader.finished:
        piece = reader.read_some()
        if reader.received > LIMITS.body_bytes:
            raise ContentTooLargeError("the body is too long")
        yield piece, reader.leftover() if reader.finished else b""


def read_answer(pieces: Iterable[bytes], method: str) -> Answer:
    """Read the answer to one request, as ``upstream.http`` does."""
    source, found, buffer = Source(pieces), Answer(), b""
    try:
        while found.head is None:
            while (end := buffer.find(END_OF_HEAD)) < 0:
                if buffer:
                    _check_partial_answer(buffer)
                data = source.recv()
                if not data:
                    raise TruncatedBodyError("the answer ended before its head did")
                buffer += data
            if end > _MAX_ANSWER_HEAD:
                raise BackendProtocolError("the head is too long")
            head, buffer = parse_response(buffer[: end + 4], method), buffer[end + 4 :]
            if head.status >= 200:
                found.head = head
            elif head.status == 101 or len(found.interim) >= _MAX_INTERIM:
                raise BackendProtocolError("an interim answer too many")
            else:
                found.interim.append(head.status)
        found.body, found.leftover = read_body(found.head.framing, buffer, source.recv)
        found.leftover += source.rest()
    except ProxyError as error:
        found.error = error
    return found


def read_body(framing: Framing, buffer: bytes, receive: Callable[[int], bytes]) -> tuple[bytes, bytes]:
    """A whole body of a backend's answer, and what was received behind it."""
    reader = BodyReader(framing, buffer, receive, BackendProtocolError, TruncatedBodyError)
    body = bytearray()
    while not reader.finished:
        body += reader.read_some()
    return bytes(body), reader.leftover()


def _check_partial_answer(data: bytes) -> None:
    """As ``upstream.http`` does: what no further byte can make right."""
    if not data.startswith(b"HTTP/1.") and not b"HTTP/1.".startswith(data):
        raise BackendProtocolError("the answer is not HTTP/1")
    if data.count(b"\n") != data.count(b"\r\n") or len(data) > _MAX_ANSWER_HEAD:
        raise BackendProtocolError("no line end that is one, or too long")
