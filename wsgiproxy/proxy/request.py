"""From a WSGI environ to the request that a backend gets.

Under our own server the parsed head is in the environ and is used as it is, order and repetitions kept. Under any other
server a head is made from the environ and put through the same strict grammar, so that a backend never sees a request
that our parser would have refused. The environ is read, never changed, and never sent on as a whole.
"""

from __future__ import annotations

import re
from math import inf
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

from wsgiproxy.config import schema
from wsgiproxy.errors import BadRequestError, NotImplementedByProxyError
from wsgiproxy.http1.headers import tokens
from wsgiproxy.http1.message import Framing, RequestHead
from wsgiproxy.http1.parser import forwardable_lines, parse_request
from wsgiproxy.http1.writer import field_lines
from wsgiproxy.proxy.body import ReplayableBody, body_of
from wsgiproxy.proxy.client import connection_of, peer_facts
from wsgiproxy.proxy.exchange import Exchange
from wsgiproxy.proxy.forwarded import fields_of, plain_lines
from wsgiproxy.proxy.hops import count_hop, via
from wsgiproxy.routing.path import NormalPath, strip
from wsgiproxy.routing.table import Route, RouteMatch, RoutingTable
from wsgiproxy.upstream.messages import ClientAddress, UpstreamRequest

_UNQUOTED = "/:@!$&'()*+,;=~-._"  # what RFC 3986 lets stand in a path
_QUOTED_SLASH = re.compile("%2[Ff]")
_AFTER_AUTHORITY = re.compile("[a-zA-Z]+://[^/?#]*")  # what precedes the path in an absolute-form target
_MAX_FIELDS = 1000  # the host server has its own limits: these only bound our work
_MAX_TARGET = 64 * 1024
_NOT_FROM_ENVIRON = frozenset({"HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE", "HTTP_PROXY", "HTTP_TRANSFER_ENCODING"})


def head_of(environ: dict[str, Any]) -> RequestHead:
    """The request's head: the one that our server parsed, or one made from the environ of any other server.

    A middleware that moved the mount point makes the parsed head wrong: then the environ counts. Anything else that a
    middleware in front of us changes in the environ (the method, fields, the path) is not seen under our own server,
    whose head has what an environ loses: order, repetitions, spelling. One that must change requests takes
    ``wsgiproxy.head`` out of the environ; then the environ counts as under any other server.

    Raises ``BadRequestError`` and its kin where the environ holds what HTTP forbids.
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
    raw, host = str(environ.get("RAW_URI") or environ.get("REQUEST_URI") or ""), environ.get("HTTP_HOST")
    if "://" in raw and raw[0] != "/" and host is not None:  # our grammar says whether the two agree (RFC 9112 3.2.2)
        parse_request(f"GET {raw} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1", "replace"))
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
    quoted = quote_path(path) or "/"
    return f"{quoted}?{query}" if query else quoted


def _stands_for(raw: str, path: str) -> bool:
    """Whether a raw path is this decoded one; cheroot leaves ``%2F`` as it is."""
    return _decode(raw) == path or ("%2" in raw and _decode(_QUOTED_SLASH.sub("%252F", raw)) == path)


def quote_path(path: str) -> str:
    """A decoded path (latin-1 text) percent-encoded; ``BadRequestError`` for what no client can have sent."""
    try:
        return quote_from_bytes(path.encode("latin-1"), safe=_UNQUOTED)
    except UnicodeEncodeError as error:
        raise BadRequestError("the path holds characters beyond latin-1") from error


def _decode(raw: str) -> str:
    return unquote_to_bytes(raw.encode("latin-1", "replace")).decode("latin-1") if "%" in raw else raw


def upstream_request(
    exchange: Exchange, table: RoutingTable, head: RequestHead, path: NormalPath, match: RouteMatch
) -> UpstreamRequest:
    """The request for a backend of the route: end-to-end fields, what we say of the client, one framing.

    Where the route says so the leading elements of the path that it matched become its mount point: SCRIPT_NAME for an
    application of this process, X-Forwarded-Prefix for another backend. Raises ``ContentTooLargeError``.
    """
    environ, route = exchange.environ, match.route
    script_name, raw = str(environ.get("SCRIPT_NAME", "")), path.raw  # plain text, of whatever kind the host's is
    if route.strip_prefix and match.prefix_elements:
        script_name += "/".join(path.text.split("/")[: match.prefix_elements + 1])  # as matched: no repeated slashes
        raw = strip(raw, match.prefix_elements)[1]
    target = head.target
    if raw is not head.path or target[0] != "/":
        target = f"{raw}?{head.query}" if "?" in head.target else raw
    framing = head.framing
    request = UpstreamRequest(
        head.method,
        target,
        head.host,
        [],
        framing=framing,
        body=None if framing.length == 0 else _body_of(environ, framing, route),
        environ=environ,
        script_name=script_name,
        path_info=_decode(raw) if raw != "*" else "",
        query=head.query,
        on_cancel=environ.get("wsgiproxy.on_cancel"),
        on_early_hints=environ.get("wsgi.early_hints"),
        trailers=route.trailers,
        scheme=str(environ["wsgi.url_scheme"]),
        timeouts=route.timeouts,
        ends_by=exchange.started_at + route.timeouts.total if route.timeouts.total else inf,
    )
    if request.body is not None and request.ends_by < inf:
        request.body.end_by(request.ends_by)
    if head.lines is not None and "HTTP_MAX_FORWARDS" not in head.environ:
        request.lines = head.lines
    else:
        fields = count_hop(head.fields, head)
        request.lines = forwardable_lines(fields, head.environ.get("HTTP_CONNECTION", ""), table.headers)
    prefix = quote_path(script_name) if script_name else ""
    if table.forwards_plainly:
        request.lines += plain_lines(environ, head, prefix)
    else:
        _tell(request, exchange, table.forwarding, head, prefix)
    if environ.get("wsgiproxy.upgrade"):
        fit = [asked for asked in tokens(head.environ.get("HTTP_UPGRADE", "")) if asked in route.upgrades]
        request.upgrade = fit[0] if fit else ""
    if route.pool is not None and route.pool.block.proxy_protocol is not None:
        request.client = connection_of(environ, exchange.client)
    elif exchange.client is not None:
        request.client = ClientAddress(exchange.client.address, exchange.client.port)
    return request


def _body_of(environ: dict[str, Any], framing: Framing, route: Route) -> ReplayableBody:
    if route.pool is None:
        return body_of(environ, framing, route.body_bytes)
    return body_of(environ, framing, route.body_bytes, route.pool.block.retries.replay_buffer)


def _tell(
    request: UpstreamRequest, exchange: Exchange, forwarding: schema.Forwarding, head: RequestHead, prefix: str
) -> None:
    """Say what the configuration wants to be said of the client, and of us."""
    client = exchange.client or peer_facts(exchange.environ, head)
    request.scheme = client.scheme
    fields = fields_of(client, prefix, forwarding)
    if forwarding.via is not None:
        fields.append(via(head.version, forwarding.via))
        send = request.on_early_hints
        if send is not None:
            entry = via("HTTP/1.1", forwarding.via)
            request.on_early_hints = lambda hints: send([*hints, entry])
    request.lines += field_lines(fields)
