"""Answers given here, without a backend: fixed ones, redirects, and error pages.

Each function calls ``start_response`` once, with final headers, and returns the body as a list of one piece (some
hosts fail on an empty list). Nothing here decides which answer it is.
"""

from __future__ import annotations

from http import HTTPStatus
from wsgiref.types import StartResponse

from wsgiproxy.config import schema
from wsgiproxy.errors import NoBackendError, ProxyError
from wsgiproxy.http1.message import Fields, RequestHead
from wsgiproxy.proxy.exchange import Exchange
from wsgiproxy.proxy.request import quote_path
from wsgiproxy.routing.path import strip

_TEXT = "text/plain; charset=utf-8"
# What TRACE must not show to a script that sent it (RFC 9110 9.3.8).
_SENSITIVE = frozenset({
    "authorization", "client-cert", "client-cert-chain", "cookie", "proxy-authorization", "x-api-key", "x-auth-token",
    "x-csrf-token",
})  # fmt: skip


def status_line(status: int, reason: str = "") -> str:
    """WSGI's status string; the standard reason phrase where there is none."""
    if not reason and status in HTTPStatus._value2member_map_:
        reason = HTTPStatus(status).phrase
    return f"{status} {reason}"


def give(exchange: Exchange, start_response: StartResponse, status: str, fields: Fields, body: bytes) -> list[bytes]:
    """Start a whole answer and end the exchange."""
    exchange.status = int(status[:3])
    head = exchange.head
    exchange.bytes_sent = 0 if head is not None and head.method == "HEAD" else len(body)
    if exchange.status not in (204, 304):
        fields = [*fields, ("Content-Length", str(len(body)))]
    try:
        start_response(status, fields)
    finally:
        exchange.finish()
    return [b"" if exchange.bytes_sent == 0 else body]


def respond(exchange: Exchange, start_response: StartResponse, block: schema.Respond) -> list[bytes]:
    """A route's fixed answer."""
    fields = list(block.headers.items())
    if block.status not in (204, 304) and not any(name.lower() == "content-type" for name in block.headers):
        fields.append(("Content-Type", _TEXT))
    return give(exchange, start_response, status_line(block.status), fields, block.body.encode())


def redirect(
    exchange: Exchange, start_response: StartResponse, block: schema.Redirect, head: RequestHead, path: str, prefix: int
) -> list[bytes]:
    """A route's redirect; ``path`` is the raw path, ``prefix`` how many of its elements matched."""
    fields = [("Location", _location(block, exchange, head, path, prefix)), ("Content-Type", _TEXT)]
    return give(exchange, start_response, status_line(block.status), fields, b"")


def _location(block: schema.Redirect, exchange: Exchange, head: RequestHead, path: str, prefix: int) -> str:
    """The absolute URL that the client is sent to (Gateway API, HTTPRequestRedirectFilter), as the client sees URLs."""
    client, script_name = exchange.client, exchange.environ.get("SCRIPT_NAME", "")
    if block.path is not None or path == "*":
        path = block.path or "/"
    elif block.path_prefix is not None:
        rest = strip(path, prefix)[1]
        path = block.path_prefix.rstrip("/") + ("" if rest == "/" and not path.endswith("/") else rest) or "/"
    if block.host is None or block.path is None:  # else it is a whole URL of another place
        path = f"{client.prefix if client is not None else ''}{quote_path(script_name)}{path}"
    target = f"{path}?{head.query}" if head.query else path
    authority = head.host if client is None else client.host
    scheme = exchange.environ["wsgi.url_scheme"] if client is None else client.scheme
    host, port = authority, ""
    if authority[-1:].isdigit() and ":" in authority:
        host, _, port = authority.rpartition(":")
    if client is not None:
        port = client.public_port
    host = block.host or host
    if not host:
        # HTTP/1.0 without Host: a relative reference is all that can be said, and "//name" would be another host's.
        return "/" + target.lstrip("/\\")
    new_scheme = block.scheme or scheme
    if block.port is not None:
        port = str(block.port)
    elif block.scheme is not None:
        port = ""  # that scheme's own
    if port == ("443" if new_scheme == "https" else "80"):
        port = ""
    return f"{new_scheme}://{host}{':' + port if port else ''}{target}"


def last_hop(exchange: Exchange, start_response: StartResponse, head: RequestHead) -> list[bytes]:
    """OPTIONS, or TRACE, whose Max-Forwards says that we are whom it was meant for (RFC 9110 7.6.2)."""
    if head.method != "TRACE":
        return give(exchange, start_response, status_line(200), [], b"")
    lines = [f"{head.method} {head.target} {head.version}\r\n"]
    lines += [f"{name}: {value}\r\n" for name, value in head.fields if name.lower() not in _SENSITIVE]
    seen = "".join([*lines, "\r\n"]).encode("latin-1")
    return give(exchange, start_response, status_line(200), [("Content-Type", "message/http")], seen)


def error_page(exchange: Exchange, start_response: StartResponse, error: ProxyError) -> list[bytes]:
    """A small page that says what happened, without telling about our inside."""
    exchange.fail(error)
    if error.status == 499:  # for the log; who only ended its sending within its request still reads (RFC 9112 8)
        exchange.status = error.status
        exchange.finish()
        start_response(status_line(400), [("Content-Length", "0")])
        return [b""]
    status = status_line(error.status)
    fields = [("Content-Type", _TEXT), ("Cache-Control", "no-store")]
    if isinstance(error, NoBackendError):
        fields.append(("Retry-After", str(error.retry_after)))
    return give(exchange, start_response, status, fields, f"{status}\n".encode())
