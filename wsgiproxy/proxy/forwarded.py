"""What we tell a backend about the client: the X-Forwarded-* fields.

What a client says of itself in these fields is never passed on (``http1.headers.forwardable`` drops them): a backend
that believes them must be able to believe us.
"""

from __future__ import annotations

from typing import Any

from wsgiproxy.http1.message import Fields, RequestHead


def forwarded_fields(environ: dict[str, Any], head: RequestHead, prefix: str) -> Fields:
    """X-Forwarded-For, -Proto, -Host, -Port, and -Prefix where ``prefix`` (percent-encoded) is not empty."""
    scheme = environ["wsgi.url_scheme"]
    fields: Fields = []
    client = environ.get("REMOTE_ADDR")
    if client:  # a unix socket has none
        fields.append(("X-Forwarded-For", client))
    fields.append(("X-Forwarded-Proto", scheme))
    host = head.host
    if host:
        fields.append(("X-Forwarded-Host", host))
    port = host.rpartition(":")[2] if host[-1:].isdigit() and ":" in host else ""
    fields.append(("X-Forwarded-Port", port or ("443" if scheme == "https" else "80")))
    if prefix:
        fields.append(("X-Forwarded-Prefix", prefix))
    return fields
