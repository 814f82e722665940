"""The corpus as objects: each file of ``requests`` and ``responses`` is one case, see README.md here.

A file is a YAML block (what must come of it), a line ``---``, and the exact bytes, escaped. Nothing is guessed: an
unknown key, a stray escape or a raw control character is an error. What is done with a case is the tests' business.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
import yaml

FOLDER = Path(__file__).resolve().parent
BODY_LIMIT = 1024 * 1024  # bytes: the limit that every case with status 413 is over
_ESCAPE = re.compile(r"\\(?:([rnt\\])|x([0-9a-f]{2})|\{([a-z]+)\})|([^\\])", re.S)
_CONTROLS = {"r": b"\r", "n": b"\n", "t": b"\t", "\\": b"\\"}

Fields = list[tuple[str, str]]
Fill = dict[str, tuple[str, int]]


class Block(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A YAML block."""


class Seen(Block, frozen=True):
    """One request as the backend must see it; ``raw`` is its target as it was sent, where that is another."""

    method: str = "GET"
    target: str = "/"  # escaped
    raw: str = ""  # escaped
    host: str = "a.example"
    framing: Literal["none", "length", "chunked"] = "none"
    body: str = ""  # escaped
    fields: list[str] = []  # escaped lines, ``Name: value``: of these names exactly these, in order
    absent: list[str] = []


class RequestCase(Block, frozen=True):
    """Bytes from a client; ``status`` is None where every one of them is part of a good request."""

    why: str
    requests: list[Seen] = []
    status: int | None = None  # of the answer that ends the connection; 0: it ends without one, or with any 4xx
    refused_by: Literal["grammar", "proxy"] = "grammar"  # the proxy may keep the connection: its end is not in doubt
    closes: bool = False  # after the last good answer
    ends: bool = False  # the client shuts down its sending side behind the bytes
    fill: Fill = {}
    name: str = ""
    data: bytes = b""

    @property
    def good(self) -> bool:
        """Whether it is all good requests."""
        return self.status is None


class ResponseCase(Block, frozen=True):
    """Bytes from a backend, which answer one request; what the client must get."""

    why: str
    method: str = "GET"
    version: Literal["HTTP/1.0", "HTTP/1.1"] = "HTTP/1.1"  # of the client's request
    status: int = 200
    interim: list[int] = []  # answers before it that the client gets too
    body: str = ""  # escaped
    fields: list[str] = []
    absent: list[str] = []
    cut: bool = False  # the client must see that the answer is not whole
    closes: bool = False  # the backend closes behind the bytes
    reused: bool | None = None  # whether the next request comes over the same connection; None: either is right
    fill: Fill = {}
    name: str = ""
    data: bytes = b""

    @property
    def good(self) -> bool:
        """Whether the backend did nothing wrong."""
        return "/valid/" in self.name


T = TypeVar("T", RequestCase, ResponseCase)


def unescape(text: str, fill: Fill) -> bytes:
    """The bytes of escaped text: ``\\r \\n \\t \\\\ \\x00``, and ``\\{name}`` for a filling; ``ValueError`` else."""
    pieces: list[bytes] = []
    position = 0
    while position < len(text):
        match = _ESCAPE.match(text, position)
        if match is None or (match[4] and not " " <= match[4] <= "~"):
            raise ValueError(f"not an escape, or not plain ASCII: {text[position : position + 20]!r}")
        control, code, filling, plain = match.groups()
        if filling:
            pieces.append(unescape(fill[filling][0], {}) * fill[filling][1])
        else:
            pieces.append(_CONTROLS[control] if control else bytes.fromhex(code) if code else plain.encode())
        position = match.end()
    return b"".join(pieces)


def field_lines(lines: list[str], fill: Fill) -> Fields:
    """Expected fields as pairs, names in lower case."""
    pairs = (unescape(line, fill).decode("latin-1").partition(": ") for line in lines)
    return [(name.lower(), value) for name, _, value in pairs]


def of_names(fields: Fields, expected: Fields) -> Fields:
    """Those fields that bear one of the expected names, names in lower case."""
    names = {name for name, _ in expected}
    return [(name.lower(), value) for name, value in fields if name.lower() in names]


@functools.cache
def request_cases() -> tuple[RequestCase, ...]:
    """Every case of ``requests``, by name."""
    return tuple(_read(path, RequestCase) for path in sorted((FOLDER / "requests").rglob("*.case")))


@functools.cache
def response_cases() -> tuple[ResponseCase, ...]:
    """Every case of ``responses``, by name."""
    return tuple(_read(path, ResponseCase) for path in sorted((FOLDER / "responses").rglob("*.case")))


def _read(path: Path, kind: type[T]) -> T:
    head, _, wire = path.read_text("ascii").partition("\n---\n")
    if any(line != line.rstrip() for line in wire.splitlines()):
        raise ValueError(f"{path}: a space at the end of a line: write \\x20")
    case = msgspec.convert(yaml.load(head, yaml.CSafeLoader), kind)
    data = b"".join(unescape(line, case.fill) for line in wire.splitlines())
    return msgspec.structs.replace(case, name=path.relative_to(FOLDER).with_suffix("").as_posix(), data=data)
