"""Request and response heads, as the parser makes them: plain data, nothing else.

All text is ``str`` in latin-1, one character for each byte on the wire (PEP 3333's native strings). Fields keep their
order, their repetitions and their spelling. Whatever is here has passed the strict grammar of ``http1.parser``.
"""

from __future__ import annotations

from typing import NamedTuple

Fields = list[tuple[str, str]]


class Framing(NamedTuple):
    """How long a body is (RFC 9112 section 6): a length in bytes, chunked, or until the connection closes."""

    length: int | None = None
    chunked: bool = False
    until_close: bool = False


NO_BODY = Framing(length=0)
CHUNKED = Framing(chunked=True)
UNTIL_CLOSE = Framing(until_close=True)


class RequestHead:
    """The request line and the header section of one request.

    ``target`` is the raw request target; ``path`` and ``query`` are its raw parts (``path`` is ``*`` for ``OPTIONS *``,
    and the part after the authority of an absolute-form target); ``host`` is the authority that was asked for (from an
    absolute-form target, else from the Host field, ``""`` where HTTP/1.0 sent none). ``environ`` holds the fields as
    PEP 3333 has them (``HTTP_*``, ``CONTENT_TYPE``, ``CONTENT_LENGTH``), repeated ones joined; names with an
    underscore are never in it, even where they were kept among the ``fields``.
    """

    __slots__ = (
        "environ", "expect_continue", "fields", "framing", "host", "keep_alive", "method", "path", "query", "target",
        "version",
    )  # fmt: skip

    def __init__(
        self,
        method: str,
        target: str,
        version: str,
        path: str,
        query: str,
        host: str,
        fields: Fields,
        environ: dict[str, str],
        framing: Framing,
        keep_alive: bool,
        expect_continue: bool,
    ) -> None:
        self.method = method
        self.target = target
        self.version = version
        self.path = path
        self.query = query
        self.host = host
        self.fields = fields
        self.environ = environ
        self.framing = framing
        self.keep_alive = keep_alive
        self.expect_continue = expect_continue

    def __repr__(self) -> str:
        return f"<RequestHead {self.method} {self.target} {self.version}, {len(self.fields)} fields, {self.framing}>"


class ResponseHead:
    """The status line and the header section of one response.

    ``keep_alive`` is what the head alone promises; ``upgrade`` is the protocol that a 101 switches to, in lower case,
    and empty in every other answer.
    """

    __slots__ = ("fields", "framing", "keep_alive", "reason", "status", "upgrade", "version")

    def __init__(
        self,
        status: int,
        reason: str,
        version: str,
        fields: Fields,
        framing: Framing,
        keep_alive: bool,
        upgrade: str = "",
    ) -> None:
        self.status = status
        self.reason = reason
        self.version = version
        self.fields = fields
        self.framing = framing
        self.keep_alive = keep_alive
        self.upgrade = upgrade

    def __repr__(self) -> str:
        return f"<ResponseHead {self.status} {self.reason}, {len(self.fields)} fields, {self.framing}>"
