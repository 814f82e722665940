"""How long is this body? One answer for requests and responses (RFC 9112 section 6).

Two answers to this question are how request smuggling happens, so nothing else in the project asks it: not the
parser's callers, not the writers. Text in, ``Framing`` out; what is ambiguous is refused, never repaired.
"""

from __future__ import annotations

import re

from wsgiproxy.errors import BackendProtocolError, BadRequestError, NotImplementedByProxyError
from wsgiproxy.http1.message import CHUNKED, NO_BODY, UNTIL_CLOSE, Framing

_MAX_LENGTH_DIGITS = 18  # 999 PB: far from 2**63 on any side of us
_CODING = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++")  # a token: none that we could support has parameters


def content_length(value: str) -> int:
    """A Content-Length field's value as a number of bytes; ``ValueError`` unless it is plain digits, once."""
    if not (value.isascii() and value.isdigit()) or len(value) > _MAX_LENGTH_DIGITS:
        raise ValueError(f"Content-Length is not one plain number: {value[:40]!r}")
    return int(value)


def request_framing(version: str, length: str | None, transfer_encoding: str | None) -> Framing:
    """The framing of a request's body from its two fields (RFC 9112 6.3, rules 3 to 7).

    Only ``chunked`` alone is taken. ``NotImplementedByProxyError`` (501) is for what can be read in one way, but not by
    us: one other coding, or several of which ``chunked`` is the last (RFC 9112 6.1). All else is ``BadRequestError``.
    After either the connection must close, for nobody knows where the body ends.
    """
    if transfer_encoding is None:
        if length is None:
            return NO_BODY
        try:
            return Framing(length=content_length(length))
        except ValueError as error:
            raise BadRequestError(str(error)) from None
    if length is not None:
        raise BadRequestError("both Content-Length and Transfer-Encoding")
    if version != "HTTP/1.1":
        raise BadRequestError("Transfer-Encoding in HTTP/1.0")
    coding = transfer_encoding.lower()
    if coding == "chunked":
        return CHUNKED
    *others, last = [part.strip(" \t") for part in coding.split(",")]
    illegal = [part for part in (*others, last) if _CODING.fullmatch(part) is None]
    if not illegal and "chunked" not in others and (last == "chunked" or not others):
        raise NotImplementedByProxyError(f"transfer coding not supported: {transfer_encoding[:40]!r}")
    raise BadRequestError(f"Transfer-Encoding is not chunked: {transfer_encoding[:40]!r}")


def response_framing(
    method: str, status: int, version: str, length: str | None, transfer_encoding: str | None
) -> Framing:
    """The framing of a response's body from the request's method, the status and the two fields (RFC 9112 6.3).

    Raises ``BackendProtocolError`` for anything ambiguous; an interim answer that announces a body is (RFC 9110 8.6):
    the next head may be looked for behind it, or within it.
    """
    if transfer_encoding is not None and (
        length is not None or version != "HTTP/1.1" or transfer_encoding.lower() != "chunked"
    ):
        raise BackendProtocolError(f"ambiguous length: Transfer-Encoding {transfer_encoding[:40]!r} in {version}")
    try:
        size = None if length is None else content_length(length)
    except ValueError as error:
        raise BackendProtocolError(str(error)) from None
    if status < 200 and (size or transfer_encoding is not None):
        raise BackendProtocolError(f"an interim answer ({status}) announces a body")
    if method == "HEAD" or status in (204, 304) or status < 200:
        return NO_BODY
    if transfer_encoding is not None:
        return CHUNKED
    return UNTIL_CLOSE if size is None else Framing(length=size)
