"""Request and response heads, as the parser makes them: plain data, nothing else.

All text is ``str`` in latin-1, one character for each byte on the wire (PEP 3333's native strings). Fields keep their
order, their repetitions and their spelling. Whatever is here has passed the strict grammar of ``http1.parser``.
"""

from __future__ import annotations

Fields = list[tuple[str, str]]


class Framing:
    """How long a body is (RFC 9112 section 6): a length in bytes, chunked, or until the connection closes.

    Equal to any other that says the same; never changed once made.
    """

    __slots__ = ("chunked", "length", "until_close")

    def __init__(self, length: int | None = None, chunked: bool = False, until_close: bool = False) -> None:
        self.length = length
        self.chunked = chunked
        self.until_close = until_close

    def __repr__(self) -> str:
        return f"Framing(length={self.length}, chunked={self.chunked}, until_close={self.until_close})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Framing):
            return NotImplemented
        mine = (self.length, self.chunked, self.until_close)
        return mine == (other.length, other.chunked, other.until_close)

    def __hash__(self) -> int:
        return hash((self.length, self.chunked, self.until_close))


NO_BODY = Framing(length=0)
CHUNKED = Framing(chunked=True)
UNTIL_CLOSE = Framing(until_close=True)


class RequestHead:
    """The request line and the header section of one request.

    ``target`` is the raw request target; ``path`` and ``query`` are its raw parts (``path`` is ``*`` for ``OPTIONS *``,
    and the part after the authority of an absolute-form target); ``host`` is the authority that was asked for (from an
    absolute-form target, else from the Host field, ``""`` where HTTP/1.0 sent none). ``environ`` holds the fields as
    PEP 3333 has them (``HTTP_*``, ``CONTENT_TYPE``, ``CONTENT_LENGTH``), repeated ones joined; names with an
    underscore are never in it, even where they were kept among the ``fields``. ``lines`` are those of the fields that
    go on as they are (``lines.forwardable_lines``) where the parser has put them together, else None.
    """

    __slots__ = (
        "_data", "_fields", "environ", "expect_continue", "framing", "host", "keep_alive", "lines", "method", "path",
        "query", "target", "version",
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
        self._fields: Fields | None = fields
        self._data = b""  # the whole head, where the fields have not been asked for yet
        self.lines: str | None = None
        self.environ = environ
        self.framing = framing
        self.keep_alive = keep_alive
        self.expect_continue = expect_continue

    @property
    def fields(self) -> Fields:
        """The fields as pairs, in their order."""
        if self._fields is None:
            self._fields = _fields_of(self._data)
        return self._fields

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


def _fields_of(data: bytes) -> Fields:
    """The fields of a head that has passed the grammar."""
    pairs = [line.partition(":") for line in data.decode("latin-1").split("\r\n")[1:-2]]
    return [(name, value.strip(" \t")) for name, _, value in pairs]
