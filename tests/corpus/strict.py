"""A second, independent reader of HTTP/1.1 messages, as strict as RFC 9112 lets one be. It judges what our proxy sends.

It shares no code with the proxy, repairs nothing, and raises ``StrictError`` at the first byte that two readers could
take in two ways. It knows requests as a proxy may send them to a backend, and answers as it may send them to a client.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?")
_REQUEST = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ((?:/[!\"$-~]*)|\*) HTTP/1\.1")
_STATUS = re.compile(r"HTTP/1\.1 ([1-5][0-9][0-9]) ([\t -~\x80-\xff]*)")
_DIGITS = re.compile(r"0|[1-9][0-9]{0,17}")
_CHUNK = re.compile(r"[0-9a-f]{1,15}")
_NEVER_TO_BACKENDS = frozenset({
    "expect", "http2-settings", "keep-alive", "proxy", "proxy-authorization", "proxy-connection",
})  # fmt: skip
_MOST = 8 * 1024 * 1024  # bytes of one message; no case is as large


class StrictError(AssertionError):
    """The bytes are not exactly one well-formed message after the other."""


class CutError(StrictError):
    """The bytes end within a message."""


@dataclass
class Message:
    """One message; ``start`` is (method, target) or (status, reason); ``framing`` none, length, chunked or close."""

    start: tuple[str, str]
    fields: list[tuple[str, str]]
    framing: str = "none"
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        """The values of a field, in order."""
        return [value for key, value in self.fields if key.lower() == name]


class StrictReader:
    """Messages off a byte source; ``head`` is the latest head that was whole, ``raw`` all that was received."""

    def __init__(self, receive: Callable[[], bytes]) -> None:
        """``receive()`` returns some bytes, ``b""`` at the end."""
        self._receive = receive
        self.buffer = b""
        self.raw = b""
        self.head: Message | None = None

    def read_request(self) -> Message | None:
        """The next request; None at a clean end."""
        self.head = None
        if not self.buffer and not self._fill():
            return None
        line, fields = self._read_head()
        match = _REQUEST.fullmatch(line)
        if match is None:
            raise StrictError(f"request line: {line[:200]!r}")
        self.head = message = Message((match[1], match[2]), fields)
        if len(message.all("host")) != 1:
            raise StrictError(f"Host: {message.all('host')}")
        _check_hop_fields(message)
        self._read_body(message, "none")
        return message

    def read_answer(self, method: str) -> Message | None:
        """The next answer, 1xx ones included, to a request with ``method``; None at a clean end."""
        self.head = None
        if not self.buffer and not self._fill():
            return None
        line, fields = self._read_head()
        match = _STATUS.fullmatch(line)
        if match is None:
            raise StrictError(f"status line: {line[:200]!r}")
        self.head = message = Message((match[1], match[2]), fields)
        bare = match[1][0] == "1" or match[1] in ("204", "304")
        if bare and (message.all("transfer-encoding") or (match[1] != "304" and message.all("content-length"))):
            raise StrictError(f"a {match[1]} that announces a body")
        if bare or method == "HEAD":
            _framing(message)
        else:
            self._read_body(message, "close")
        return message

    def _read_head(self) -> tuple[str, list[tuple[str, str]]]:
        while (end := self.buffer.find(b"\r\n\r\n")) < 0:
            self._must_fill()
        head, self.buffer = self.buffer[:end].decode("latin-1"), self.buffer[end + 4 :]
        line, *lines = head.split("\r\n")
        return line, [_field(text) for text in lines]

    def _read_body(self, message: Message, default: str) -> None:
        message.framing = _framing(message) or default
        if message.framing == "length":
            message.body = self._take(int(message.all("content-length")[0]))
        elif message.framing == "chunked":
            message.body = self._read_chunks()
            while line := self._take_line():
                message.trailers.append(_field(line))
        elif message.framing == "close":
            while self._fill():
                pass
            message.body, self.buffer = self.buffer, b""

    def _read_chunks(self) -> bytes:
        pieces: list[bytes] = []
        while True:
            line = self._take_line()
            if _CHUNK.fullmatch(line) is None:
                raise StrictError(f"chunk size: {line[:100]!r}")
            size = int(line, 16)
            if not size:
                return b"".join(pieces)
            pieces.append(self._take(size))
            if self._take(2) != b"\r\n":
                raise StrictError("a chunk does not end with CRLF")

    def _take(self, size: int) -> bytes:
        while len(self.buffer) < size:
            self._must_fill()
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def _take_line(self) -> str:
        while (end := self.buffer.find(b"\r\n")) < 0:
            self._must_fill()
        line, self.buffer = self.buffer[:end].decode("latin-1"), self.buffer[end + 2 :]
        return line

    def _fill(self) -> bytes:
        data = self._receive()
        self.buffer += data
        self.raw += data
        if len(self.buffer) > _MOST:
            raise StrictError("endless")
        return data

    def _must_fill(self) -> None:
        if not self._fill():
            raise CutError(f"cut: {self.buffer[:200]!r}")


def _field(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or _TOKEN.fullmatch(name) is None or _VALUE.fullmatch(value.removeprefix(" ")) is None:
        raise StrictError(f"field line: {line[:200]!r}")
    return name, value.removeprefix(" ")


def _framing(message: Message) -> str:
    """length, chunked, or empty for neither; whatever is not exactly one of them raises."""
    lengths, codings = message.all("content-length"), message.all("transfer-encoding")
    if (lengths and codings) or len(lengths) > 1 or codings not in ([], ["chunked"]):
        raise StrictError(f"framing: Content-Length {lengths}, Transfer-Encoding {codings}")
    if lengths and _DIGITS.fullmatch(lengths[0]) is None:
        raise StrictError(f"Content-Length: {lengths[0]!r}")
    return "length" if lengths else "chunked" if codings else ""


def _check_hop_fields(message: Message) -> None:
    """Nothing of the client's connection may reach a backend but an upgrade to websocket, and ``TE: trailers``."""
    for name, _ in message.fields:
        if "_" in name or name.lower() in _NEVER_TO_BACKENDS:
            raise StrictError(f"the field {name} reached a backend")
    options = [option.strip().lower() for value in message.all("connection") for option in value.split(",")]
    if message.all("upgrade") and ("upgrade" not in options or message.all("upgrade") != ["websocket"]):
        raise StrictError(f"Upgrade: {message.all('upgrade')}, Connection: {options}")
    if message.all("te") and ("te" not in options or message.all("te") != ["trailers"]):
        raise StrictError(f"TE: {message.all('te')}, Connection: {options}")
    if not set(options) <= {"upgrade", "te", "close"} or ("upgrade" in options and not message.all("upgrade")):
        raise StrictError(f"Connection: {options}")
