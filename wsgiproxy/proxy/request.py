"""From a WSGI environ to the request that a backend gets.

Under our own server the parsed head is in the environ and is used as it is, order and repetitions kept. Under any other
server a head is made from the environ and put through the same strict grammar, so that a backend never sees a request
that our parser would have refused. The environ is read, never changed, and never sent on as a whole.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

from wsgiproxy.errors import BadRequestError, ClientDisconnectedError, NotImplementedByProxyError
from wsgiproxy.http1.headers import forwardable
from wsgiproxy.http1.message import Framing, RequestHead
from wsgiproxy.http1.parser import parse_request
from wsgiproxy.proxy.forwarded import forwarded_fields
from wsgiproxy.routing.path import NormalPath, strip
from wsgiproxy.upstream.messages import RequestBody, UpstreamRequest

_READ = 16 * 1024  # bytes asked of a foreign wsgi.input, which waits for all of them
_REPLAY = 64 * 1024  # bytes of a body that are kept so that it can be sent again
_UNQUOTED = "/:@!$&'()*+,;=~-._"  # what RFC 3986 lets stand in a path
_QUOTED_SLASH = re.compile("%2[Ff]")
_AFTER_AUTHORITY = re.compile("[a-zA-Z]+://[^/?#]*")  # what precedes the path in an absolute-form target
_MAX_FIELDS = 1000  # the host server has its own limits: these only bound our work
_MAX_TARGET = 64 * 1024
_NOT_FROM_ENVIRON = frozenset({"HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE", "HTTP_PROXY", "HTTP_TRANSFER_ENCODING"})


def head_of(environ: dict[str, Any]) -> RequestHead:
    """The request's head: the one that our server parsed, or one made from the environ of any other server.

    A middleware that moved the mount point makes the parsed head wrong: then the environ counts. Raises
    ``BadRequestError`` and its kin where the environ holds what HTTP forbids.
    """
    head = environ.get("wsgiproxy.head")
    if head is not None and not environ.get("SCRIPT_NAME"):
        return head  # type: ignore[no-any-return]
    return _head_from_environ(environ)


def _head_from_environ(environ: dict[str, Any]) -> RequestHead:
    lines = [f"{environ['REQUEST_METHOD']} {_raw_target(environ)} HTTP/1.1\r\n"]
    if environ.get("CONTENT_TYPE"):
        lines.append(f"Content-Type: {environ['CONTENT_TYPE']}\r\n")
    # A stated length first (whoever decoded a chunked body states it), then a host that ends wsgi.input with the body.
    if environ.get("CONTENT_LENGTH"):
        lines.append(f"Content-Length: {environ['CONTENT_LENGTH']}\r\n")
    elif environ.get("HTTP_TRANSFER_ENCODING"):
        if not environ.get("wsgi.input_terminated"):
            raise NotImplementedByProxyError("this host server does not say where a chunked body ends")
        lines.append(f"Transfer-Encoding: {environ['HTTP_TRANSFER_ENCODING']}\r\n")
    for key, value in environ.items():
        if key.startswith("HTTP_") and key not in _NOT_FROM_ENVIRON:
            lines.append(f"{key[5:].replace('_', '-').title()}: {value}\r\n")
    if "HTTP_HOST" not in environ:
        lines[0] = lines[0].replace(" HTTP/1.1\r\n", " HTTP/1.0\r\n")
    try:
        data = "".join([*lines, "\r\n"]).encode("latin-1")
    except UnicodeEncodeError as error:
        raise BadRequestError("a header field holds characters beyond latin-1") from error
    head = parse_request(data, max_fields=_MAX_FIELDS, max_target=_MAX_TARGET)
    if len(head.fields) != len(lines) - 1:
        raise BadRequestError("a header field holds a line end")
    return head


def _raw_target(environ: dict[str, Any]) -> str:
    """The raw target less the mount point: the host's own, where it agrees with PATH_INFO, or else quoted anew."""
    script, path = environ.get("SCRIPT_NAME", ""), environ.get("PATH_INFO", "")
    query = environ.get("QUERY_STRING", "")
    raw = str(environ.get("RAW_URI") or environ.get("REQUEST_URI") or "")
    if raw == "*":
        return raw
    raw = _AFTER_AUTHORITY.sub("", raw, count=1) if "://" in raw and raw[0] != "/" else raw
    raw_path = raw.partition("?")[0]
    if _stands_for(raw_path, script + path):
        rest = raw_path
        if script:
            elements = script.count("/")
            rest = "/" + "/".join(raw_path.split("/")[elements + 1 :])
        if rest and (not script or _stands_for(rest, path or "/")):
            return rest + raw[len(raw_path) :]
    quoted = _quote(path) or "/"
    return f"{quoted}?{query}" if query else quoted


def _stands_for(raw: str, path: str) -> bool:
    """Whether a raw path is this decoded one; cheroot leaves ``%2F`` as it is."""
    return _decode(raw) == path or ("%2" in raw and _decode(_QUOTED_SLASH.sub("%252F", raw)) == path)


def _quote(path: str) -> str:
    try:
        return quote_from_bytes(path.encode("latin-1"), safe=_UNQUOTED)
    except UnicodeEncodeError as error:
        raise BadRequestError("the path holds characters beyond latin-1") from error


def _decode(raw: str) -> str:
    return unquote_to_bytes(raw.encode("latin-1", "replace")).decode("latin-1") if "%" in raw else raw


def upstream_request(
    environ: dict[str, Any], head: RequestHead, path: NormalPath, strip_elements: int
) -> UpstreamRequest:
    """The request for a backend: end-to-end fields, what we say of the client, one framing.

    ``strip_elements`` leading elements of the path become its mount point: SCRIPT_NAME for an application of this
    process, X-Forwarded-Prefix for another backend.
    """
    script_name, raw = environ.get("SCRIPT_NAME", ""), path.raw
    if strip_elements:
        script_name += "/".join(path.text.split("/")[: strip_elements + 1])  # as matched: no repeated slashes
        raw = strip(raw, strip_elements)[1]
    connection = head.environ.get("HTTP_CONNECTION", "")
    fields = forwardable(head.fields, connection)
    fields += forwarded_fields(environ, head, _quote(script_name) if script_name else "")
    target = head.target
    if raw is not head.path or target[0] != "/":
        target = f"{raw}?{head.query}" if "?" in head.target else raw
    framing = head.framing
    return UpstreamRequest(
        head.method,
        target,
        head.host,
        fields,
        framing=framing,
        body=None if framing.length == 0 else _body_of(environ, framing),
        environ=environ,
        script_name=script_name,
        path_info=_decode(raw) if raw != "*" else "",
        query=head.query,
        on_cancel=environ.get("wsgiproxy.on_cancel"),
    )


def _body_of(environ: dict[str, Any], framing: Framing) -> ReplayableBody:
    source = environ["wsgi.input"]
    return ReplayableBody(source if hasattr(source, "read_some") else HostInput(source, framing))


class HostInput:
    """A foreign ``wsgi.input`` as pieces: never read past the body, in reads small enough not to hold it back."""

    __slots__ = ("_left", "_source")

    def __init__(self, source: Any, framing: Framing) -> None:
        self._source = source
        self._left = framing.length  # None: the host ends the input where the body ends

    def read_some(self) -> bytes:
        """The next piece; ``b""`` at the end; ``ClientDisconnectedError`` where it ends early."""
        size = _READ if self._left is None else min(_READ, self._left)
        try:
            piece: bytes = self._source.read(size) if size else b""
        except (OSError, EOFError) as error:  # whatever the host makes of a client that has gone
            raise ClientDisconnectedError(f"the request body could not be read: {error}") from error
        if self._left is not None:
            if size and not piece:
                raise ClientDisconnectedError(f"the request body ended {self._left} bytes early")
            self._left -= len(piece)
        return piece


class ReplayableBody:
    """A body whose beginning is kept, so that it can be sent again as long as that is all that was read of it.

    Kept are the first piece, whatever its size, and more up to 64 KiB in all.
    """

    __slots__ = ("_kept", "_next", "_size", "_source", "can_rewind")

    def __init__(self, source: RequestBody) -> None:
        self._source = source
        self._kept: list[bytes] = []
        self._next = 0  # which kept piece comes next
        self._size = 0  # bytes read from the source
        self.can_rewind = True  # every byte that was read is still here

    def rewind(self) -> None:
        """Begin again."""
        self._next = 0

    def read_some(self) -> bytes:
        """The next piece; ``b""`` at the end."""
        if self._next < len(self._kept):
            self._next += 1
            return self._kept[self._next - 1]
        piece = self._source.read_some()
        self._size += len(piece)
        if self._size > _REPLAY and self._kept:
            self.can_rewind = False
            self._kept.clear()
            self._next = 0
        elif piece and self.can_rewind:
            self._kept.append(piece)
            self._next += 1
        return piece
