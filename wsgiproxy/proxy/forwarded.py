"""What we tell a backend about the client: X-Forwarded-*, Forwarded (RFC 7239), Client-Cert (RFC 9440).

What a client says of itself in these fields is never passed on (``http1.headers.forwardable`` drops them): a backend
that believes them must be able to believe us. Who the client is, is ``proxy.client``'s business.
"""

from __future__ import annotations

from typing import Any

from wsgiproxy.config import schema
from wsgiproxy.http1.message import Fields, RequestHead
from wsgiproxy.http1.writer import field_lines
from wsgiproxy.proxy.client import ClientFacts, client_certificate, public_port
from wsgiproxy.proxy.rfc7239 import element, node_text


def plain_lines(environ: dict[str, Any], head: RequestHead, prefix: str) -> str:
    """What is said by default, of the peer: X-Forwarded-*, and its certificate; as lines.

    ``prefix`` (percent-encoded) is the path in front of the backend's.
    """
    scheme = environ["wsgi.url_scheme"]
    host, peer = head.host, environ.get("REMOTE_ADDR")
    port = public_port(host, scheme)
    if peer and host and not prefix and "SSL_CLIENT_CERT" not in environ:  # nearly always
        return (
            f"X-Forwarded-For: {peer}\r\nX-Forwarded-Proto: {scheme}\r\nX-Forwarded-Host: {host}\r\n"
            f"X-Forwarded-Port: {port}\r\n"
        )
    fields = _x_forwarded(peer, scheme, host, port, prefix)
    if "SSL_CLIENT_CERT" in environ:
        fields += client_certificate(environ)
    return field_lines(fields)


def fields_of(client: ClientFacts, prefix: str, forwarding: schema.Forwarding) -> Fields:
    """What is said of any client, in the ways that ``forwarding.write`` names."""
    prefix = client.prefix + prefix
    fields: Fields = []
    if "x_forwarded" in forwarding.write:
        hops = ", ".join(client.hops)
        fields = _x_forwarded(hops, client.scheme, client.host, client.public_port, prefix)
    if "forwarded" in forwarding.write:
        if prefix and not fields:
            fields.append(("X-Forwarded-Prefix", prefix))  # RFC 7239 has no word for it
        fields.append(("Forwarded", _forwarded(client)))
    fields += client.certificate
    return fields


def _x_forwarded(addresses: str | None, scheme: str, host: str, port: str, prefix: str) -> Fields:
    """X-Forwarded-For, -Proto, -Host, -Port and -Prefix, as far as they are known."""
    fields: Fields = []
    if addresses:  # a unix socket has none
        fields.append(("X-Forwarded-For", addresses))
    fields.append(("X-Forwarded-Proto", scheme))
    if host:
        fields.append(("X-Forwarded-Host", host))
    fields.append(("X-Forwarded-Port", port))
    if prefix:
        fields.append(("X-Forwarded-Prefix", prefix))
    return fields


def _forwarded(client: ClientFacts) -> str:
    """One element for each hop; what the client asked for stands in its own, the first."""
    nodes = [node_text(address) for address in client.hops]
    if client.alias or not nodes:
        nodes.insert(0, client.alias or "unknown")
    first = {"for": nodes[0], "proto": client.scheme}
    if client.host:
        first["host"] = client.host
    return ", ".join([element(first), *(element({"for": node}) for node in nodes[1:])])
