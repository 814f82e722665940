"""What is fuzzed: each target takes any bytes, and raises only where it has found something.

A finding is an exception that is none of our refusals, a result that depends on how the bytes were split, or a message
that is not well-formed. Knows nothing of who makes the bytes: see ``tests.fuzz.__main__``.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable

from tests.corpus.cases import request_cases, response_cases
from tests.corpus.reading import Source, at, in_bytes, read_answer, read_requests
from wsgiproxy.errors import (
    BackendProtocolError,
    BadRequestError,
    ClientDisconnectedError,
    ClientError,
    ProxyError,
    TruncatedBodyError,
)
from wsgiproxy.http1.body import BodyReader
from wsgiproxy.http1.message import CHUNKED, Fields
from wsgiproxy.http1.writer import checked_field_lines

_LARGEST_SEED = 4096  # bytes
_METHODS = ("GET", "HEAD", "POST")


def splits(data: bytes) -> tuple[list[bytes], list[bytes]]:
    """Byte by byte, and in a few pieces that depend on nothing but the bytes."""
    number = zlib.crc32(data)
    return in_bytes(data), at(data, (number >> 20, number >> 10 & 1023, number & 1023))


def requests(data: bytes) -> None:
    """A client's bytes."""
    found = read_requests([data])
    assert found.error is None or isinstance(found.error, ClientError), found.error
    for pieces in splits(data):
        assert read_requests(pieces).summary() == found.summary()
    for request in found.requests:
        check_fields(request.head.fields)
        assert request.head.framing.length in (None, len(request.body))


def answers(data: bytes) -> None:
    """A backend's bytes."""
    for method in _METHODS:
        found = read_answer([data], method)
        assert found.error is None or isinstance(found.error, BackendProtocolError | TruncatedBodyError), found.error
        for pieces in splits(data):
            assert read_answer(pieces, method).summary() == found.summary()
        if found.head is not None:
            check_fields(found.head.fields)
            assert found.error is not None or found.head.framing.length in (None, len(found.body))


def chunks(data: bytes) -> None:
    """A chunked body and what follows it."""
    whole = read_chunks([data])
    for pieces in splits(data):
        assert read_chunks(pieces) == whole
    body, behind = whole
    assert behind is None or (data.endswith(behind) and len(body) + len(behind) + 5 <= len(data))


def read_chunks(pieces: Iterable[bytes]) -> tuple[bytes, bytes | None]:
    """The body and what is behind it; nothing and None where it is refused or cut."""
    source = Source(pieces)
    reader = BodyReader(CHUNKED, b"", source.recv, BadRequestError, ClientDisconnectedError)
    body = b""
    try:
        while not reader.finished:
            body += reader.read_some()
    except ProxyError:
        return b"", None
    check_fields(reader.trailers())
    return body, reader.leftover() + source.rest()


def check_fields(fields: Fields) -> None:
    """Written again, they are exactly so many lines; a ``ValueError`` is a finding."""
    checked_field_lines(fields)


TARGETS: dict[str, Callable[[bytes], None]] = {"requests": requests, "answers": answers, "chunks": chunks}


def seeds(target: str) -> list[bytes]:
    """What a target begins with: the corpus."""
    wire = [case.data for case in (response_cases() if target == "answers" else request_cases())]
    if target == "chunks":
        wire = [data.partition(b"\r\n\r\n")[2] for data in wire if b"chunked" in data]
    return sorted({data for data in wire if len(data) <= _LARGEST_SEED})
