"""Heads of requests, as far as a routing table looks at them."""

from __future__ import annotations

from wsgiproxy.http1.message import NO_BODY, RequestHead


def asking(
    host: str = "e.org", method: str = "GET", fields: list[tuple[str, str]] | None = None, query: str = ""
) -> RequestHead:
    """A request's head, of which a table looks at these parts."""
    return RequestHead(method, "/", "HTTP/1.1", "/", query, host, fields or [], {}, NO_BODY, True, False)
