"""What is wrong with a request, by name: a third look at the bytes, with regular expressions and nothing of ours.

``faults`` is for explaining why a reader refuses: it looks for every fault of the first request, in any part of it, and
need not be right where two of them meet. ``tests/unit/http1/test_http1_oracles.py`` says of each why it is one.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from tests.corpus.cases import BODY_LIMIT

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_BAD_LINE_END = re.compile(r"(?<!\r)\n|\r(?!\n|\Z)")
_LINE = re.compile(rf"({_TOKEN}) ([!-~]+) HTTP/([0-9])\.([0-9])")
_FIELD = re.compile(rf"({_TOKEN}):[ \t]*(.*?)[ \t]*")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_AUTHORITY = r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~!$&'()*+,;=]+)(?::[0-9]*)?"
_ORIGIN = re.compile(r"/[!\"$-\[\]-~]*(?:\?[!\"$-~]*)?")
_ABSOLUTE = re.compile(rf"(?i:https?)://({_AUTHORITY})(?:/[!\"$->@-\[\]-~]*)?(?:\?[!\"$-~]*)?")
_SIZE = re.compile(
    rf'([0-9A-Fa-f]{{1,15}})((?:[ \t]*;[ \t]*{_TOKEN}(?:[ \t]*=[ \t]*(?:{_TOKEN}|"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|'
    r'\\[^\x00-\x08\x0a-\x1f\x7f])*"))?)*)\r\n'
)
_NO_SIZE = re.compile(r"[0-9A-Fa-f]{0,15}(?:[^0-9A-Fa-f]|\Z)|[0-9A-Fa-f]{16}")
_KNOWN = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})

Pairs = list[tuple[str, str]]


def faults(raw: bytes) -> set[str]:
    """The names of the faults of the request at the beginning of ``raw``, which may be cut and may go on behind it."""
    received = raw.decode("latin-1").removeprefix("\r\n")
    text = received.lstrip("\r\n")
    end = re.search(r"\n\r*\n", text)
    head = text[: end.end()] if end else text
    lines = re.split(r"\r*\n", text[: end.start()].rstrip("\r") if end else text)
    whole = lines if end else lines[:-1]  # without its end nothing can be said of a line
    found: set[str] = set()
    if text != received:
        found.add("empty lines")
    if _BAD_LINE_END.search(head):
        found.add("line end")
    if len(head) > 32 * 1024 - 2:
        found.add("size")
    fields: Pairs = []
    for line in whole[1:]:
        found |= set(_field_faults(line, fields))
    if len(lines) - 1 > 100:
        found.add("size")
    found |= set(_line_faults(whole[0] if whole else lines[0], fields, complete=bool(whole)))
    if end:
        found |= set(_framing_faults(fields, "HTTP/1.0" in lines[0], lines[0].startswith("TRACE ")))
        if "chunked" in " ".join(value.lower() for name, value in fields if name == "transfer-encoding"):
            found |= set(_chunk_faults(text[end.end() :]))
    return found


def _field_faults(line: str, fields: Pairs) -> Iterator[str]:
    if line[:1] in (" ", "\t"):
        yield "fold"
        return
    if _CONTROL.search(line):
        yield "control character"
    match = _FIELD.fullmatch(line)
    if match is None:
        yield "field"
    else:
        fields.append((match[1].lower(), match[2]))


def _line_faults(line: str, fields: Pairs, *, complete: bool) -> Iterator[str]:
    if len(line) > 8 * 1024 + 64 or len(line.split(" ")[-2:][0]) > 8 * 1024:
        yield "size"
    if len(line.split(" ", maxsplit=1)[0]) > 40:
        yield "method"
    match = _LINE.fullmatch(line)
    if match is None:
        if complete or not re.match(rf"{_TOKEN}( |\Z)", line):
            yield "request line"
        return
    method, target, major, minor = match.groups()
    if (major, minor) not in (("1", "0"), ("1", "1")):
        yield "version"
    if method == "CONNECT" or (method.upper() in _KNOWN and method not in _KNOWN):
        yield "method"
    absolute = _ABSOLUTE.fullmatch(target)
    if not (_ORIGIN.fullmatch(target) or absolute or (target == "*" and method == "OPTIONS")):
        yield "target"
    hosts = [value for name, value in fields if name == "host"]
    if len(hosts) > 1 or (not hosts and minor == "1"):
        yield "host"
    authorities = [*hosts[:1], *([absolute[1]] if absolute else [])]
    if any(not _is_authority(authority) for authority in authorities):
        yield "host"
    if len(authorities) == 2 and _plain(authorities[0]) != _plain(authorities[1]):
        yield "host"


def _is_authority(text: str) -> bool:
    match = re.fullmatch(_AUTHORITY, text)
    port = re.search(r":([0-9]+)\Z", text)
    in_range = port is None or (len(port[1]) <= 5 and int(port[1]) < 65536)
    address = re.match(r"\[(.*)\]", text)
    return match is not None and in_range and "," not in text and (address is None or _is_ipv6(address[1]))


def _is_ipv6(text: str) -> bool:
    try:
        return bool(ipaddress.IPv6Address(text))
    except ValueError:
        return False


def _plain(authority: str) -> str:
    return re.sub(r":(80|443)?\Z", "", authority.lower())


def _framing_faults(fields: Pairs, old: bool, trace: bool) -> Iterator[str]:
    lengths = [value for name, value in fields if name == "content-length"]
    codings = [value.lower() for name, value in fields if name == "transfer-encoding"]
    if lengths and codings:
        yield "both"
    if codings and (old or codings != ["chunked"]):
        yield "coding"
    if len(lengths) > 1 or any(re.fullmatch("[0-9]{1,18}", value, re.A) is None for value in lengths):
        yield "length"
    elif lengths and int(lengths[0]) > BODY_LIMIT:
        yield "size"
    if trace and (codings or (lengths and lengths[0].strip("0"))):
        yield "method"


def _chunk_faults(text: str) -> Iterator[str]:
    position = extensions = total = 0
    while True:
        match = _SIZE.match(text, position)
        if match is None:
            if "\n" in text[position:] or _NO_SIZE.match(text, position):
                yield "chunk"
            if len(text) - position > 4 * 1024:
                yield "size"
            return
        extensions += len(match[2])
        if len(match[0]) > 4 * 1024 or extensions > 16 * 1024:
            yield "size"
        size = int(match[1], 16)
        total += size
        if total > BODY_LIMIT:
            yield "size"
        position = match.end()
        if not size:
            break
        position += size + 2
        if len(text) >= position and text[position - 2 : position] != "\r\n":
            yield "chunk"
            return
    yield from _trailer_faults(text[position:])


def _trailer_faults(text: str) -> Iterator[str]:
    end = re.match(r"(?:[^\n]*[^\n\r]\r*\n)*?\r*\n", text)
    section = text[: end.end()] if end else text
    if _BAD_LINE_END.search(section):
        yield "line end"
    lines = re.split(r"\r*\n", section)[: -2 if end else -1]
    if len(section) > 8 * 1024 or len(lines) > 100:
        yield "size"
    for line in lines:
        yield from ("trailer" for _ in _field_faults(line, []))
