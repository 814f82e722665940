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
from wsgiproxy.routing.path import strip

_CLIENT_CLOSED = "499 Client Closed Request"
_TEXT = "text/plain; charset=utf-8"


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
    location = _location(block, head, exchange.environ["wsgi.url_scheme"], path, prefix)
    fields = [("Location", location), ("Content-Type", _TEXT)]
    return give(exchange, start_response, status_line(block.status), fields, b"")


def _location(block: schema.Redirect, head: RequestHead, scheme: str, path: str, prefix: int) -> str:
    """The absolute URL that the client is sent to (Gateway API, HTTPRequestRedirectFilter)."""
    if block.path is not None or path == "*":
        path = block.path or "/"
    elif block.path_prefix is not None:
        rest = strip(path, prefix)[1]
        path = block.path_prefix.rstrip("/") + ("" if rest == "/" and not path.endswith("/") else rest) or "/"
    target = f"{path}?{head.query}" if head.query else path
    host, _, port = head.host.rpartition(":") if head.host[-1:].isdigit() and ":" in head.host else (head.host, "", "")
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


def error_page(exchange: Exchange, start_response: StartResponse, error: ProxyError) -> list[bytes]:
    """A small page that says what happened, without telling about our inside."""
    exchange.fail(error)
    if error.status == 499:
        return give(exchange, start_response, _CLIENT_CLOSED, [], b"")
    status = status_line(error.status)
    fields = [("Content-Type", _TEXT), ("Cache-Control", "no-store")]
    if isinstance(error, NoBackendError):
        fields.append(("Retry-After", str(error.retry_after)))
    return give(exchange, start_response, status, fields, f"{status}\n".encode())
