"""The grammar of message heads, pure: bytes in, ``RequestHead`` or ``ResponseHead`` out, or a refusal.

The grammar is RFC 9112's and strict: CRLF alone ends a line, one space stands where one space is meant, names are
tokens, values hold no control characters. What is not exactly that is refused; nothing is repaired. One regular
expression finds all fields of a head in one pass; that it skipped nothing is shown by counting lines. Its quantifiers
are possessive, so that no input makes it try twice. No sockets, no buffers, no configuration here: limits are numbers.

Request targets are visible ASCII. A raw ``\\`` in the path is refused, for some read it as ``/`` (RFC 3986 allows it
nowhere, browsers never send it); escaped it is an ordinary character. ``" < > ^ ` { | }``, and in the query ``\\`` as
well, are not legal either but have one reading, and browsers send some of them: they are passed on as they are.
"""

from __future__ import annotations

import ipaddress
import re

from wsgiproxy.errors import (
    BackendProtocolError,
    BadRequestError,
    ClientError,
    HeadersTooLargeError,
    NotImplementedByProxyError,
    TargetTooLongError,
    VersionNotSupportedError,
)
from wsgiproxy.http1.framing import request_framing, response_framing
from wsgiproxy.http1.headers import (
    END_TO_END_ANSWER,
    HOP_BY_HOP,
    UNFIT,
    environ_of,
    is_unfit,
    nominated,
    tokens,
    without,
)
from wsgiproxy.http1.message import NO_BODY, Fields, Framing, RequestHead, ResponseHead

END_OF_HEAD = b"\r\n\r\n"

TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]"  # RFC 9110 5.6.2
VALUE = r"[\t\x20-\x7e\x80-\xff]"  # RFC 9110 5.5: visible, space, tab and obs-text
_METHOD = rf"{TOKEN}{{1,40}}+"  # the longest registered one, UPDATEREDIRECTREF, has 17

_FIELD = re.compile(rf"(?<=\n)({TOKEN}++):[ \t]*+({VALUE}*+)\r\n")
_STATUS_LINE = re.compile(rf"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: ({VALUE}*+))?\r\n")

# A name or an address, and perhaps a port (RFC 3986 3.2). Escapes are legal in names but refused: no host has one, and
# whoever decodes it (%40, %2F, %00) sees another authority than we do.
_NAME = r"[A-Za-z0-9._~!$&'()*+;=\-]++"
_ADDRESS = r"[0-9A-Fa-f:.]++"
_HOST = re.compile(rf"(?:{_NAME}|\[({_ADDRESS})\])(?::([0-9]{{0,5}}+))?")
_PATH = r"/[\x21\x22\x24-\x3e\x40-\x5b\x5d-\x7e]*+"  # visible, less # ? and \
_QUERY = r"[\x21\x22\x24-\x7e]*+"
_ORIGIN_FORM = rf"({_PATH})(?:\?({_QUERY}))?"
_OTHER_FORM = rf"(?i:https?)://(?:{_NAME}|\[{_ADDRESS}\])(?::[0-9]{{0,5}}+)?({_PATH})?(?:\?({_QUERY}))?|\*"
_ORIGIN_LINE = re.compile(rf"({_METHOD}) ({_ORIGIN_FORM}) HTTP/1\.([01])\r\n")
_OTHER_LINE = re.compile(rf"({_METHOD}) ({_OTHER_FORM}) HTTP/1\.([01])\r\n")
_LIKE_A_REQUEST_LINE = re.compile(rf"({_METHOD}) [\x21-\x7e]++ (HTTP/[0-9](?:\.[0-9])?)\r\n")
_AFTER_AUTHORITY = re.compile("[/?]")
_UPGRADE = re.compile(rf"{TOKEN}++(?:/{TOKEN}++)?")  # RFC 9110 7.8

# Method names are case-sensitive, but not every backend knows: one that takes ``head`` for HEAD sends no body where we
# await one. So these have one spelling.
_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
_DEFAULT_PORTS = {"http": ("", "80"), "https": ("", "443")}
BARE_LINE_END = re.compile(rb"(?<!\r)\n|(?<=\r)[^\n]")  # a line feed or a carriage return without the other
_STARTS_REQUEST = re.compile(rf"{_METHOD}(?: |\Z)".encode())
_BARE = "a line does not end with a carriage return and a line feed"
_NO_CONNECT = "CONNECT is for forward proxies"
_MAX_REASON = 512  # characters of a reason phrase that are kept


def parse_request(
    data: bytes, *, max_fields: int = 100, max_target: int = 8192, keep_underscores: bool = False
) -> RequestHead:
    """The request head in ``data``, which ends with the empty line.

    ``max_fields`` is a number of fields, ``max_target`` of bytes. Raises a ``ClientError`` with the status to answer:
    400, 414, 431, 501 or 505. Unfit fields are dropped, see ``headers.is_unfit`` (nginx: underscores_in_headers off);
    ``keep_underscores`` keeps those with an underscore among the ``fields``, but never in the ``environ``.
    """
    text = data.decode("latin-1")
    line = _ORIGIN_LINE.match(text) or _OTHER_LINE.match(text)
    if line is None:
        raise _refusal(data, _refused_request_line(text))
    method, target, path, query, minor = line.groups()
    if len(target) > max_target:
        raise _refusal(data, TargetTooLongError(f"request target longer than {max_target} bytes"))
    start = line.end()
    count = text.count("\n", start) - 1
    if count > max_fields:  # before they cost anything
        raise _refusal(data, HeadersTooLargeError(f"more than {max_fields} header fields"))
    fields = _fields(text, start, count)
    if fields is None or not text.endswith("\r\n\r\n"):
        raise BadRequestError("malformed header field")
    environ = environ_of(fields)
    if UNFIT in environ:
        del environ[UNFIT]
        fields = [field for field in fields if not is_unfit(field[0], keep_underscores)]
    version = "HTTP/1.1" if minor == "1" else "HTTP/1.0"
    host = _host(version, environ.get("HTTP_HOST"))
    if target[0] != "/":
        path, host = _other_form(method, target, path, query, host)
    length, coding = environ.get("CONTENT_LENGTH"), environ.get("HTTP_TRANSFER_ENCODING")
    framing = NO_BODY if length is None and coding is None else request_framing(version, length, coding)
    if method not in _METHODS or method == "TRACE":
        _check_method(method, framing)
    expect = environ.get("HTTP_EXPECT")
    return RequestHead(
        method, target, version, path, query or "", host, fields, environ, framing,
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
    if fields is None or not text.endswith("\r\n\r\n"):
        raise BackendProtocolError("malformed or too many header fields")
    version, status = ("HTTP/1.1" if minor == "1" else "HTTP/1.0"), int(code)
    length = coding = connection = protocol = None
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
        elif name == "upgrade":
            protocol = field[1] if protocol is None else f"{protocol}, {field[1]}"
    if connection is not None and connection.lower() not in ("keep-alive", "close"):
        taken = nominated(connection)
        kept = [field for field in kept if field[0].lower() not in taken]
    framing = response_framing(method, status, version, length, coding)
    keep_alive = _keeps_alive(version, connection) and not framing.until_close
    if framing.length == 0 and (coding is not None or (length is not None and length.strip("0"))):
        keep_alive = False  # a backend that announces a body where none may be could send it after all
    head = ResponseHead(status, (reason or "")[:_MAX_REASON], version, kept, framing, keep_alive)
    if status < 200 or status == 204 or (length is not None and length[0] == "0" != length):
        _mend_response(head, length, connection, protocol)
    return head


def check_partial(data: bytes, start: int = 0, seen: int = 0) -> None:
    """Refuse at once the beginning of a request head that no further byte can make right (a client would else wait).

    The head begins at ``start``; ``seen`` bytes have been checked before, and are not looked through again.
    """
    if _STARTS_REQUEST.match(data, start) is None:
        raise BadRequestError("not HTTP: no method at the start")
    if BARE_LINE_END.search(data, max(start, seen)) is not None:
        raise BadRequestError(_BARE)


def parse_trailers(data: bytes, max_fields: int) -> Fields | None:
    """The trailer fields in ``data`` (whole lines, no empty one), or None where they are malformed or too many."""
    count = data.count(b"\n")
    return _fields("\n" + data.decode("latin-1"), 1, count) if count <= max_fields else None


def _fields(text: str, start: int, count: int) -> Fields | None:
    """All fields from ``start``, where ``count`` lines are meant to be one each; None where any is not."""
    fields: Fields = _FIELD.findall(text, start)
    if len(fields) != count:
        return None
    if " \r\n" in text or ("\t" in text and "\t\r\n" in text):
        fields = [(name, value.rstrip(" \t")) for name, value in fields]
    return fields


def _refusal(data: bytes, error: ClientError) -> ClientError:
    """The error, or the one that ``check_partial`` would have raised had the head come in more pieces."""
    if BARE_LINE_END.search(data) is not None:
        return BadRequestError(_BARE)
    return error


def _refused_request_line(text: str) -> ClientError:
    line = _LIKE_A_REQUEST_LINE.match(text)
    if line is None:
        return BadRequestError("malformed request line")
    if line[2] not in ("HTTP/1.0", "HTTP/1.1"):
        return VersionNotSupportedError("only HTTP/1.0 and HTTP/1.1 are spoken here")
    return NotImplementedByProxyError(_NO_CONNECT) if line[1] == "CONNECT" else BadRequestError("malformed target")


def _check_method(method: str, framing: Framing) -> None:
    """Refuse methods that are not ours, that backends could take for others, or that must not have a body."""
    if method == "CONNECT":
        raise NotImplementedByProxyError(_NO_CONNECT)
    if method == "TRACE" and framing != NO_BODY:
        raise BadRequestError("TRACE with a body")  # RFC 9110 9.3.8
    if method not in _METHODS and method.upper() in _METHODS:
        raise BadRequestError(f"method {method} is not in upper case")


def _host(version: str, value: str | None) -> str:
    """The Host field's authority (RFC 9112 3.2): there once in HTTP/1.1, legal wherever it is there."""
    if value is None:
        if version == "HTTP/1.1":
            raise BadRequestError("no Host field")
        return ""
    _check_authority(value)
    return value


def _check_authority(value: str) -> None:
    """Refuse an authority whose address or port cannot exist."""
    match = _HOST.fullmatch(value)
    if match is None:
        raise BadRequestError("illegal, empty or repeated Host field")
    address, port = match.groups()
    if port and int(port) > 65535:
        raise BadRequestError("a port beyond 65535")
    if address is not None:
        try:
            ipaddress.IPv6Address(address)
        except ValueError as error:
            raise BadRequestError("brackets around no IPv6 address") from error


def _other_form(method: str, target: str, path: str | None, query: str | None, host: str) -> tuple[str, str]:
    """Path and authority of a target in absolute or asterisk form (RFC 9112 3.2); ``host`` is the Host field's."""
    if target == "*":
        if method != "OPTIONS":
            raise BadRequestError("the target * is for OPTIONS alone")
        return target, host
    scheme, _, rest = target.partition("://")
    authority = _AFTER_AUTHORITY.split(rest, maxsplit=1)[0]
    _check_authority(authority)
    ports = _DEFAULT_PORTS[scheme.lower()]
    if host and _without_port(host, ports) != _without_port(authority, ports):
        raise BadRequestError("the Host field and the request target name different hosts")
    return path or ("*" if method == "OPTIONS" and query is None else "/"), authority


def _without_port(authority: str, ports: tuple[str, ...]) -> str:
    """An authority in lower case, less a port that is one of ``ports``."""
    host, _, port = authority.lower().rpartition(":")
    return host if host and port in ports else authority.lower()


def _mend_response(head: ResponseHead, length: str | None, connection: str | None, protocol: str | None) -> None:
    """What few answers need: an upgrade's protocol; no length where none may be, nor one with leading zeros."""
    if head.status < 200 or head.status == 204:  # RFC 9110 8.6
        head.fields = without(head.fields, frozenset({"content-length"}))
        if head.status == 101:
            head.upgrade = _upgrade(head.version, connection, protocol)
            head.keep_alive = False
    elif length is not None:
        plain = str(int(length))
        head.fields = [(name, plain if name.lower() == "content-length" else value) for name, value in head.fields]


def _upgrade(version: str, connection: str | None, protocol: str | None) -> str:
    """The one protocol that a 101 switches to, in lower case (RFC 9110 7.8)."""
    if version != "HTTP/1.1" or protocol is None or "upgrade" not in tokens(connection or ""):
        raise BackendProtocolError("a 101 that says not what it switches to")
    if _UPGRADE.fullmatch(protocol) is None:
        raise BackendProtocolError(f"a 101 that does not switch to one protocol: {protocol[:40]!r}")
    return protocol.lower()


def _keeps_alive(version: str, connection: str | None) -> bool:
    """What a head says of the connection after it (RFC 9112 9.3)."""
    if connection is None:
        return version == "HTTP/1.1"
    if connection == "keep-alive":
        return True
    options = tokens(connection)
    return "close" not in options and (version == "HTTP/1.1" or "keep-alive" in options)
