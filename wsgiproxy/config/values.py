"""What a text means: each kind of value of the schema, from the text in the file to the value in the code.

A reader takes a scalar's text and returns its value, or raises ``ValueError`` that says what is wrong and what is
expected. Nothing here knows YAML, positions or other keys.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any

from wsgiproxy.config import kinds
from wsgiproxy.config.address import parse_backend_address, parse_host, parse_listen_address
from wsgiproxy.config.networks import parse_network
from wsgiproxy.config.regexes import check_repeats

Reader = Callable[[str], Any]
HashOn = tuple[str, str]  # client, path, header, cookie or query, and the name of one of the latter three

MAX_DURATION = 366 * 86400.0  # seconds; a longer wait is a slip, and some timers would overflow
MAX_REGEX_LENGTH = 1000  # characters
MAX_LISTED_WORDS = 20  # known words that a message lists
MAX_QUOTED_LENGTH = 60  # characters of a bad value that its message repeats

_UNIT_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_UNIT_BYTES = {"": 1, "B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12} | {
    "kiB": 2**10, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip
_DECIMAL = r"[0-9]+(?:\.[0-9]+)?"
_DURATION = re.compile("".join(rf"(?:({_DECIMAL}){unit})?" for unit in _UNIT_SECONDS))
_SIZE = re.compile(r"([0-9]{1,18})([A-Za-z]*)")
_WHOLE_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?")
_STATUS_RANGE = re.compile(r"([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110 5.6.2
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # RFC 9110 5.5
_TARGET = re.compile(r"/[\x21\x22\x24-\x7e]*")  # printable ASCII but the space and "#"


def quote(text: str) -> str:
    """A text as messages show it: in quotes, on one line, shortened."""
    short = text if len(text) <= MAX_QUOTED_LENGTH else f"{text[:MAX_QUOTED_LENGTH]}..."
    return json.dumps(short, ensure_ascii=False)


def suggest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant."""
    close = get_close_matches(word, known, n=1, cutoff=0.6)
    return close[0] if close else None


def reader(kind: str) -> tuple[Reader, str]:
    """The reader of one of the schema's kinds, and what it reads, in words."""
    readers: dict[str, tuple[Reader, str]] = {
        kinds.DURATION: (read_duration, "a duration"),
        kinds.SIZE: (read_size, "a size"),
        kinds.ADDRESS: (lambda text: str(parse_backend_address(text)), "an address"),
        kinds.LISTEN_ADDRESS: (lambda text: str(parse_listen_address(text)), "an address"),
        kinds.STATUS_RANGE: (read_status_range, "a status or a range of statuses"),
        kinds.REGEX: (read_regex, "a regular expression"),
        kinds.PATH: (read_path, "a path"),
        kinds.TARGET: (read_target, "a path"),
        kinds.HOST: (read_host, "a host"),
        kinds.HOST_PATTERN: (read_host_pattern, "a host"),
        kinds.METHOD: (read_method, "a method"),
        kinds.NAME: (read_name, "a name"),
        kinds.HEADER_NAME: (read_header_name, "a header name"),
        kinds.HEADER_VALUE: (read_header_value, "text"),
        kinds.WORKERS: (read_workers, "a whole number"),
        kinds.NETWORK: (parse_network, "a network"),
        kinds.PSEUDONYM: (read_pseudonym, "a name"),
        kinds.TOKEN: (read_token, "a word"),
        kinds.HASH_ON: (read_hash_on, "a part of a request"),
        kinds.COOKIE_NAME: (read_cookie_name, "a cookie name"),
    }
    return readers[kind]


def choice(known: Iterable[Any]) -> Reader:
    """The reader of one of a few values."""
    by_text = {str(value): value for value in known}

    def read(text: str) -> Any:
        if text not in by_text:
            raise ValueError(unknown("value", text, by_text, "expected one of"))
        return by_text[text]

    return read


def unknown(what: str, word: str, known: Iterable[str], introduction: str) -> str:
    """The message about a word that is none of the known ones: the one that was meant, or else all of them."""
    names = list(known)
    meant = None if word.isdigit() else suggest(word, names)  # numbers that look alike are not alike
    if meant is not None:
        return f"unknown {what} {quote(word)}, did you mean {quote(meant)}?"
    if not names:
        return f"unknown {what} {quote(word)}"
    shown = ", ".join(names[:MAX_LISTED_WORDS]) + (", ..." if len(names) > MAX_LISTED_WORDS else "")
    return f"unknown {what} {quote(word)}; {introduction} {shown}"


def bounded(read: Reader, ge: float | None, gt: float | None, le: float | None) -> Reader:
    """A reader that holds what it reads to bounds."""

    def read_within(text: str) -> Any:
        value = read(text)
        if ge is not None and value < ge:
            raise ValueError(f"must be at least {ge}, got {quote(text)}")
        if gt is not None and value <= gt:
            raise ValueError(f"must be more than {gt}, got {quote(text)}")
        if le is not None and value > le:
            raise ValueError(f"must be at most {le}, got {quote(text)}")
        return value

    return read_within


def not_empty(read: Reader) -> Reader:
    """A reader that refuses the empty text."""

    def read_some(text: str) -> Any:
        if not text:
            raise ValueError("must not be empty")
        return read(text)

    return read_some


def read_text(text: str) -> str:
    """Any text but a NUL, which neither a path nor a header may hold."""
    if "\0" in text:
        raise ValueError("must not hold a NUL character")
    return text


def read_whole_number(text: str) -> int:
    """A decimal whole number."""
    if not _WHOLE_NUMBER.fullmatch(text):
        raise ValueError(f"expected a whole number, got {quote(text)}")
    return int(text)


def read_workers(text: str) -> int:
    """A number of processes; until the process model comes, 1."""
    count = read_whole_number(text)
    if count > 1:
        raise ValueError(f"only 1 worker is supported so far, got {quote(text)}")
    return count


def read_number(text: str) -> float:
    """A decimal number."""
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"expected a number, got {quote(text)}")
    return float(text)


def read_flag(text: str) -> bool:
    """A truth value, in every spelling of YAML 1.1 but the single letters."""
    word = text.lower()
    if word not in ("true", "false", "yes", "no", "on", "off"):
        raise ValueError(f"expected true or false, got {quote(text)}")
    return word in ("true", "yes", "on")


def read_duration(text: str) -> float:
    """Seconds, of ``5s``, ``250ms``, ``1m30s`` or a plain number of seconds."""
    if text.startswith("-"):
        raise ValueError(f"a duration must not be negative, got {quote(text)}")
    parts = _DURATION.fullmatch(text)
    if _NUMBER.fullmatch(text):
        seconds = float(text)
    elif text and parts:
        seconds = sum(
            float(part) * factor for part, factor in zip(parts.groups("0"), _UNIT_SECONDS.values(), strict=True)
        )
    else:
        raise ValueError(
            f"expected a duration such as 5s, 250ms, 1m30s, 2h or a plain number of seconds, got {quote(text)}"
        )
    if seconds > MAX_DURATION:
        raise ValueError(f"a duration must be at most 366d, got {quote(text)}")
    return seconds


def read_size(text: str) -> int:
    """Bytes, of ``32KiB``, ``8MB`` or a plain number of bytes."""
    if text.startswith("-"):
        raise ValueError(f"a size must not be negative, got {quote(text)}")
    parts = _SIZE.fullmatch(text)
    if parts is None or parts[2] not in _UNIT_BYTES:
        raise ValueError(f"expected a size such as 32KiB, 8MB, 1GiB or a plain number of bytes, got {quote(text)}")
    return int(parts[1]) * _UNIT_BYTES[parts[2]]


def parse_status_range(text: str) -> tuple[int, int]:
    """The lowest and the highest status of ``200`` or ``200-399``."""
    parts = _STATUS_RANGE.fullmatch(text)
    if parts is None or int(parts[2] or parts[1]) < int(parts[1]):
        raise ValueError(f'expected a status such as "200" or a range such as "200-399", got {quote(text)}')
    return int(parts[1]), int(parts[2] or parts[1])


def read_status_range(text: str) -> str:
    """The text of a status range, if it is one."""
    parse_status_range(text)
    return text


def parse_hash_on(text: str) -> HashOn:
    """Which part of a request makes its key, of ``client``, ``path``, ``header:NAME``, ``cookie:NAME``, ``query:NAME``.

    Names of headers become lower-case; those of query parameters are decoded ones.
    """
    kind, colon, name = text.partition(":")
    if kind in ("header", "cookie", "query"):
        if not name:
            raise ValueError(f"needs a name, as in {quote(f'{kind}:NAME')}, got {quote(text)}")
        if kind == "query":
            return kind, read_text(name)
        name = _token(name, f"a {kind} name")
        return kind, name.lower() if kind == "header" else name
    if kind not in ("client", "path") or colon:
        known = "client, path, header:NAME, cookie:NAME or query:NAME"
        raise ValueError(f"expected {known}, got {quote(text)}")
    return kind, ""


def read_hash_on(text: str) -> str:
    """The text of a part of a request, if it is one."""
    parse_hash_on(text)
    return text


def read_regex(text: str) -> str:
    """The text of a regular expression that Python's ``re`` takes, and can match in a reasonable time."""
    if len(text) > MAX_REGEX_LENGTH:
        raise ValueError(f"a regular expression must have at most {MAX_REGEX_LENGTH} characters, got {len(text)}")
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"bad regular expression {quote(text)}: {error}") from None
    try:
        check_repeats(text)
    except ValueError as error:
        raise ValueError(f"{quote(text)} {error}") from None
    return text


def read_path(text: str) -> str:
    """A decoded path."""
    if not text.startswith("/"):
        raise ValueError(f'must start with "/", got {quote(text)}')
    return read_text(text)


def read_target(text: str) -> str:
    """A path as it stands on the wire (RFC 9112 3.2.1); it may have a query."""
    read_path(text)
    if not _TARGET.fullmatch(text):
        raise ValueError(f'must be printable ASCII without spaces and "#" (percent-encode them), got {quote(text)}')
    return text


def read_host(text: str) -> str:
    """A host without a port, lower-case; an IPv6 address in brackets."""
    name, _, port = text.rpartition(":")
    if name and port.isdecimal() and (name.endswith("]") or ":" not in name):
        raise ValueError(f"must not have a port, got {quote(text)}")
    host = parse_host(text)
    return f"[{host}]" if text.startswith("[") else host


def read_host_pattern(text: str) -> str:
    """A host, or ``*.`` and a host for every name below it."""
    if text == "*":
        raise ValueError('"*" is not a host; leave the host out to match every one')
    if "*" in text.removeprefix("*."):
        raise ValueError(f'"*" may only stand for whole names at the front, as in "*.example.org", got {quote(text)}')
    if text.startswith("*."):
        below = read_host(text[2:])
        if below.startswith("[") or below.rpartition(".")[2].isdigit():
            raise ValueError(f"there are no names below an IP address, got {quote(text)}")
        return f"*.{below}"
    return read_host(text)


def read_method(text: str) -> str:
    """A method; methods are case-sensitive and all known ones are in upper case (RFC 9110 9.1)."""
    if not _TOKEN.fullmatch(text):
        raise ValueError(f"{quote(text)} is not a method")
    if text != text.upper():
        raise ValueError(f"methods are in upper case: {quote(text.upper())}, got {quote(text)}")
    return text


def read_name(text: str) -> str:
    """A name that fits on a line of a log."""
    if not text or not text.isprintable() or text != text.strip():
        raise ValueError(f"{quote(text)} is not a name: it needs printable characters, and no spaces around them")
    return text


def read_pseudonym(text: str) -> str:
    """A pseudonym for Via (RFC 9110 7.6.3)."""
    return _token(text, "a name for Via")


def read_token(text: str) -> str:
    """A word of HTTP (RFC 9110 5.6.2), in lower case."""
    return _token(text, "a word of HTTP").lower()


def read_header_name(text: str) -> str:
    """A header field's name (RFC 9110 5.1)."""
    return _token(text, "a header name")


def read_cookie_name(text: str) -> str:
    """A cookie's name (RFC 6265 4.1.1)."""
    return _token(text, "a cookie name")


def read_header_value(text: str) -> str:
    """A header field's value (RFC 9110 5.5): no control characters, and one byte for each character."""
    if not _FIELD_VALUE.fullmatch(text):
        raise ValueError(f"{quote(text)} is not a header value: no line breaks, no control characters, latin-1 only")
    return text.strip("\t ")


def _token(text: str, what: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise ValueError(f"{quote(text)} is not {what}: only letters, digits and !#$%&'*+-.^_`|~")
    return text
