"""Heads and chunks as bytes. Fields that did not come from the parser are checked: none may split a message.

The rule of the room: text in, bytes out; who sends them, and whether a body follows, is the caller's business.
"""

from __future__ import annotations

import re

from wsgiproxy.http1.grammar import TOKEN, VALUE
from wsgiproxy.http1.message import Fields

LAST_CHUNK = b"0\r\n\r\n"

_FIELD_LINES = re.compile(rf"(?:{TOKEN}++: {VALUE}*+\r\n)*+")
_STATUS = re.compile(rf"[1-9][0-9][0-9](?: {VALUE}*+)?")


def field_lines(fields: Fields) -> str:
    """The fields as lines. They must come from the parser, or from ``checked_field_lines``'s kind of care."""
    return "\r\n".join([*map(": ".join, fields), ""])  # raises TypeError for bytes, which an f-string would print


def checked_field_lines(fields: Fields) -> str:
    """The fields as lines; ``ValueError`` for a name or value that is not legal, ``TypeError`` where one is no text."""
    lines = field_lines(fields)
    if _FIELD_LINES.fullmatch(lines) is None or lines.count("\n") != len(fields):
        raise ValueError("a header field's name or value is not legal HTTP")
    return lines


def request_head(method: str, target: str, host: str, lines: str, hop: str) -> bytes:
    """The bytes of a request head, Host first (RFC 9110 7.2).

    ``lines`` (end to end) and ``hop`` (of this connection) are lines as ``field_lines`` makes them.
    """
    return f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{lines}{hop}\r\n".encode("latin-1")


def response_head(status: str, fields: str) -> bytes:
    """The bytes of a response head, final or interim (``103 Early Hints``).

    ``status`` is code and reason, ``fields`` are lines as ``field_lines`` makes them.
    """
    return f"HTTP/1.1 {status}\r\n{fields}\r\n".encode("latin-1")


def last_chunk(trailers: Fields) -> bytes:
    """The end of a chunked body, with its trailer fields (RFC 9112 7.1.2).

    Raises as ``checked_field_lines``; which names are fit for a trailer is ``headers.allowed_trailers``'s business.
    """
    return f"0\r\n{checked_field_lines(trailers)}\r\n".encode("latin-1") if trailers else LAST_CHUNK


def is_status(status: str) -> bool:
    """Whether ``status`` is legal as WSGI's status string: a code and a reason (PEP 3333)."""
    return _STATUS.fullmatch(status) is not None


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body; ``data`` must not be empty, which would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)
