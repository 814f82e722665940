"""The one door to parsing message heads: bytes in, ``RequestHead`` or ``ResponseHead`` out, or a refusal.

The grammar is RFC 9112's and strict: CRLF alone ends a line, one space stands where one space is meant, names are
tokens, values hold no control characters. What is not exactly that is refused; nothing is repaired. One regular
expression finds all fields of a head in one pass; that it skipped nothing is shown by counting lines. Its quantifiers
are possessive, so that no input makes it try twice. No sockets, no buffers, no configuration here: limits are numbers.
"""

from __future__ import annotations

import re

from wsgiproxy.errors import (
    BackendProtocolError,
    BadRequestError,
    HeadersTooLargeError,
    NotImplementedByProxyError,
    TargetTooLongError,
    VersionNotSupportedError,
)
from wsgiproxy.http1.framing import request_framing, response_framing
from wsgiproxy.http1.headers import END_TO_END_ANSWER, HOP_BY_HOP, UNFIT, environ_of, is_unfit, nominated, tokens
from wsgiproxy.http1.message import NO_BODY, Fields, RequestHead, ResponseHead

END_OF_HEAD = b"\r\n\r\n"

TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]"  # RFC 9110 5.6.2
VALUE = r"[\t\x20-\x7e\x80-\xff]"  # RFC 9110 5.5: visible, space, tab and obs-text
_METHOD = rf"{TOKEN}{{1,40}}+"  # the longest registered one, UPDATEREDIRECTREF, has 17

_FIELD = re.compile(rf"(?<=\n)({TOKEN}++):[ \t]*+({VALUE}*+)\r\n")
_REQUEST_LINE = re.compile(rf"({_METHOD}) ([\x21-\x7e]++) HTTP/1\.([01])\r\n")
_OTHER_VERSION = re.compile(rf"{_METHOD} [\x21-\x7e]++ HTTP/[0-9](?:\.[0-9])?\r\n")
_STATUS_LINE = re.compile(rf"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: ({VALUE}*+))?\r\n")
_AUTHORITY = r"(?:\[[0-9A-Fa-f:.]++\]|[A-Za-z0-9._~!$&'()*+;=%\-]++)(?::[0-9]{0,5})?"
_HOST = re.compile(_AUTHORITY)
_ABSOLUTE = re.compile(rf"(?i:https?)://({_AUTHORITY})(/[^#]*)?(\?[^#]*)?")
_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")
_STARTS_REQUEST = re.compile(rf"{_METHOD}(?: |\Z)".encode())
_MAX_REASON = 512  # characters of a reason phrase that are kept


def parse_request(data: bytes, *, max_fields: int = 100, max_target: int = 8192) -> RequestHead:
    """The request head in ``data``, which ends with the empty line.

    ``max_fields`` is a number of fields, ``max_target`` of bytes. Raises a ``ClientError`` with the status to answer:
    400, 414, 431, 501 or 505. Unfit fields are dropped, see ``headers.is_unfit`` (nginx: underscores_in_headers off).
    """
    text = data.decode("latin-1")
    line = _REQUEST_LINE.match(text)
    if line is None:
        raise _refused_request_line(text)
    method, target, minor = line.groups()
    if len(target) > max_target:
        raise TargetTooLongError(f"request target longer than {max_target} bytes")
    start = line.end()
    count = text.count("\n", start) - 1
    if count > max_fields:  # before they cost anything
        raise HeadersTooLargeError(f"more than {max_fields} header fields")
    fields = _fields(text, start, count)
    if fields is None:
        raise BadRequestError("malformed header field")
    environ = environ_of(fields)
    if UNFIT in environ:
        del environ[UNFIT]
        fields = [field for field in fields if not is_unfit(field[0])]
    version = "HTTP/1.1" if minor == "1" else "HTTP/1.0"
    path, query, host = _split_target(method, target, _host(version, environ.get("HTTP_HOST")))
    length, coding = environ.get("CONTENT_LENGTH"), environ.get("HTTP_TRANSFER_ENCODING")
    framing = NO_BODY if length is None and coding is None else request_framing(version, length, coding)
    expect = environ.get("HTTP_EXPECT")
    return RequestHead(
        method, target, version, path, query, host, fields, environ, framing,
        _keeps_alive(version, environ.get("HTTP_CONNECTION")),
        expect is not None and version == "HTTP/1.1" and expect.lower() == "100-continue",
    )  # fmt: skip


def parse_response(data: bytes, method: str, *, max_fields: int = 1000) -> ResponseHead:
    """The response head in ``data``, which ends with the empty line, to a request with ``method``.

    Its ``fields`` are the end-to-end ones. Raises ``BackendProtocolError``.
    """
    text = data.decode("latin-1")
    line = _STATUS_LINE.match(text)
    if line is None:
        raise BackendProtocolError(f"malformed status line: {text[:40]!r}")
    minor, code, reason = line.groups()
    start = line.end()
    count = text.count("\n", start) - 1
    fields = _fields(text, start, count) if count <= max_fields else None
    if fields is None:
        raise BackendProtocolError("malformed or too many header fields")
    version, status = ("HTTP/1.1" if minor == "1" else "HTTP/1.0"), int(code)
    length = coding = connection = None
    kept: Fields = []
    for field in fields:
        if field[0] in END_TO_END_ANSWER:
            kept.append(field)
            continue
        name = field[0].lower()
        if name == "content-length":
            length = field[1] if length is None else f"{length}, {field[1]}"
            kept.append(field)
        elif name not in HOP_BY_HOP:
            kept.append(field)
        elif name == "transfer-encoding":
            coding = field[1] if coding is None else f"{coding}, {field[1]}"
        elif name == "connection":
            connection = field[1] if connection is None else f"{connection}, {field[1]}"
    if connection is not None and connection.lower() not in ("keep-alive", "close"):
        taken = nominated(connection)
        kept = [field for field in kept if field[0].lower() not in taken]
    framing = response_framing(method, status, version, length, coding)
    keep_alive = _keeps_alive(version, connection) and not framing.until_close
    if framing.length == 0 and (coding is not None or (length is not None and length.strip("0"))):
        keep_alive = False  # a backend that announces a body where none may be could send it after all
    return ResponseHead(status, (reason or "")[:_MAX_REASON], version, kept, framing, keep_alive)


def check_partial(data: bytes, start: int = 0, seen: int = 0) -> None:
    """Refuse at once the beginning of a request head that no further byte can make right (a client would else wait).

    The head begins at ``start``; ``seen`` bytes have been checked before, and are not looked through again.
    """
    if _STARTS_REQUEST.match(data, start) is None:
        raise BadRequestError("not HTTP: no method at the start")
    if _BARE_LINE_FEED.search(data, max(start, seen)) is not None:
        raise BadRequestError("a line ends without a carriage return")


def parse_trailers(data: bytes, max_fields: int) -> Fields | None:
    """The trailer fields in ``data`` (whole lines, no empty one), or None where they are malformed or too many."""
    count = data.count(b"\n")
    return _fields("\n" + data.decode("latin-1"), 1, count) if count <= max_fields else None


def _fields(text: str, start: int, count: int) -> Fields | None:
    """All fields from ``start``, where ``count`` lines are meant to be one each; None where any is not."""
    fields: Fields = _FIELD.findall(text, start)
    if len(fields) != count:
        return None
    if " \r\n" in text or "\t\r\n" in text:
        fields = [(name, value.rstrip(" \t")) for name, value in fields]
    return fields


def _refused_request_line(text: str) -> Exception:
    if _OTHER_VERSION.match(text) is not None:
        return VersionNotSupportedError("only HTTP/1.0 and HTTP/1.1 are spoken here")
    return BadRequestError("malformed request line")


def _host(version: str, value: str | None) -> str:
    """The Host field's authority (RFC 9112 3.2): there once in HTTP/1.1, legal wherever it is there."""
    if value is None:
        if version == "HTTP/1.1":
            raise BadRequestError("no Host field")
        return ""
    if _HOST.fullmatch(value) is None or _port(value) > 65535:
        raise BadRequestError("illegal, empty or repeated Host field")
    return value


def _port(authority: str) -> int:
    """The port of a legal authority, 0 for none."""
    port = authority.rpartition(":")[2]
    return int(port) if len(port) < len(authority) and port.isdigit() else 0


def _split_target(method: str, target: str, host: str) -> tuple[str, str, str]:
    """Raw path, raw query and authority of a request target (RFC 9112 3.2)."""
    if method == "CONNECT":
        raise NotImplementedByProxyError("CONNECT is for forward proxies")
    if target[0] == "/":
        if "#" in target:
            raise BadRequestError("a fragment in the request target")
        path, _, query = target.partition("?")
        return path, query, host
    if target == "*":
        if method != "OPTIONS":
            raise BadRequestError("the target * is for OPTIONS alone")
        return "*", "", host
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise BadRequestError("malformed request target")
    authority, path, query = absolute.groups()
    if host and _without_port(host) != _without_port(authority):
        raise BadRequestError("the Host field and the request target name different hosts")
    if path is not None:
        path, _, rest = path.partition("?")
        return path, rest, authority
    return ("*" if method == "OPTIONS" and query is None else "/"), (query or "?")[1:], authority


def _without_port(authority: str) -> str:
    """An authority in lower case, less a default port."""
    host, _, port = authority.lower().rpartition(":")
    return host if host and port in ("", "80", "443") else authority.lower()


def _keeps_alive(version: str, connection: str | None) -> bool:
    """What a head says of the connection after it (RFC 9112 9.3)."""
    if connection is None:
        return version == "HTTP/1.1"
    if connection == "keep-alive":
        return True
    options = tokens(connection)
    return "close" not in options and (version == "HTTP/1.1" or "keep-alive" in options)
