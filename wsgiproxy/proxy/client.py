"""Who is the client: the peer, or whoever trusted proxies in front of us say that it is.

The rule of the room: only a trusted peer is listened to, and of what it hands on only the part that trusted proxies
have written: lists are walked from right to left and left at the first address that is not trusted. Of the two ways to
say it (X-Forwarded-*, Forwarded) only the configured one counts, since a proxy that sets the one may pass on the other
as a client forged it. What is malformed counts as not said.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from wsgiproxy.config.address import is_authority
from wsgiproxy.config.networks import Networks
from wsgiproxy.http1.message import Fields, RequestHead
from wsgiproxy.proxy.rfc7239 import Node, parse_element, parse_for, parse_x_forwarded_for, split_elements
from wsgiproxy.routing.path import normalize_path
from wsgiproxy.routing.table import RoutingTable
from wsgiproxy.upstream.messages import ClientAddress

_MAX_HOPS = 100  # trusted proxies in a row; only bounds our work
_PORT = re.compile("[0-9]{1,5}")
_PREFIX = re.compile(r"/[A-Za-z0-9\-._~!$&'()*+;=:@%/]*")  # RFC 3986 3.3, less the comma, which makes a list
_PEM = re.compile("-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)
_BYTES = r":[A-Za-z0-9+/]++={0,2}+:"  # RFC 8941 3.3.5
_CERTIFICATE_FIELDS = {  # RFC 9440 2.2, 2.3
    "HTTP_CLIENT_CERT": ("Client-Cert", re.compile(_BYTES)),
    "HTTP_CLIENT_CERT_CHAIN": ("Client-Cert-Chain", re.compile(rf"{_BYTES}(?:[ \t]*+,[ \t]*+{_BYTES})*+")),
}


class ClientFacts(NamedTuple):
    """The client that is believed, and the public URL that it asked for.

    ``address`` is empty where nobody knows it (a Unix socket), ``port`` 0. ``public_port`` is that of the URL, in
    digits; ``prefix`` the path in front of ours, percent-encoded, as proxies before us took it off. ``hops`` are the
    addresses from the client to our peer; ``alias`` is what the first proxy calls a client that it hides.
    ``certificate`` are the client's Client-Cert fields.
    """

    address: str
    port: int
    scheme: str
    host: str
    public_port: str
    prefix: str = ""
    hops: tuple[str, ...] = ()
    alias: str = ""
    certificate: tuple[tuple[str, str], ...] = ()


class _Claims(NamedTuple):
    """What trusted proxies say: nodes from our peer (not the last) to the client, and the rest as they wrote it."""

    nodes: list[Node]
    alias: str = ""
    scheme: str = ""
    host: str = ""
    port: str = ""
    prefix: str = ""


def client_of(environ: dict[str, Any], head: RequestHead, table: RoutingTable) -> ClientFacts:
    """The client of a request, by what the table trusts."""
    peer = environ.get("REMOTE_ADDR") or ""
    if peer not in table.trusted_proxies:
        return peer_facts(environ, head)
    node = Node(peer, _number(environ.get("REMOTE_PORT")))
    read = _read_forwarded if table.forwarding.read == "forwarded" else _read_x_forwarded
    claims = read(head.environ, node, table.trusted_proxies)
    client = claims.nodes[-1]
    scheme = claims.scheme.lower()
    if scheme not in ("http", "https"):
        scheme = environ["wsgi.url_scheme"]
    host = claims.host if claims.host and is_authority(claims.host) else head.host
    port = claims.port if _PORT.fullmatch(claims.port) and 0 < int(claims.port) <= 65535 else ""
    certificate = _passed_on_certificate(head)
    if not certificate and client is node and not claims.alias:  # else it is a proxy's own
        certificate = client_certificate(environ)
    return ClientFacts(
        client.address,
        client.port,
        scheme,
        host,
        port or public_port(host, scheme),
        _prefix(claims.prefix),
        tuple(hop.address for hop in reversed(claims.nodes) if hop.address),
        claims.alias,
        certificate,
    )


def peer_facts(environ: dict[str, Any], head: RequestHead) -> ClientFacts:
    """The peer as the client: what we know ourselves."""
    scheme = environ["wsgi.url_scheme"]
    peer = environ.get("REMOTE_ADDR") or ""
    hops = (peer,) if peer else ()
    port, host = _number(environ.get("REMOTE_PORT")), head.host
    certificate = client_certificate(environ)
    return ClientFacts(peer, port, scheme, host, public_port(host, scheme), "", hops, "", certificate)


def connection_of(environ: dict[str, Any], client: ClientFacts | None) -> ClientAddress:
    """Who the connection is from and to, for a PROXY header; ``client`` is None where it is the peer."""
    destination = environ.get("wsgiproxy.destination")
    to = destination() if destination is not None else ("", 0)
    if client is None:
        return ClientAddress(environ.get("REMOTE_ADDR") or "", _number(environ.get("REMOTE_PORT")), *to)
    return ClientAddress(client.address, client.port, *to)


def public_port(host: str, scheme: str) -> str:
    """The port of a URL with this authority, in digits."""
    port = host.rpartition(":")[2] if host[-1:].isdigit() and ":" in host else ""
    return port or ("443" if scheme == "https" else "80")


def client_certificate(environ: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """The Client-Cert field of a client whose certificate the server has verified (mod_ssl's names for it)."""
    if environ.get("SSL_CLIENT_VERIFY") != "SUCCESS":
        return ()
    pem = _PEM.search(environ.get("SSL_CLIENT_CERT") or "")
    if pem is None:
        return ()
    try:
        der = base64.b64decode("".join(pem[1].split()), validate=True)
    except ValueError:
        return ()
    return (("Client-Cert", f":{base64.b64encode(der).decode()}:"),)


def _read_x_forwarded(fields: dict[str, str], peer: Node, trusted: Networks) -> _Claims:
    entries = _list(fields.get("HTTP_X_FORWARDED_FOR", ""))
    nodes, _, looked = _walk(peer, entries, parse_x_forwarded_for, trusted)
    # Each trusted proxy has appended one entry, or set the only one: that of the client is as far from the right.
    lists = (_list(fields.get(f"HTTP_X_FORWARDED_{name}", "")) for name in ("PROTO", "HOST", "PORT", "PREFIX"))
    return _Claims(nodes, "", *(said[-min(max(looked, 1), len(said))] if said else "" for said in lists))


def _read_forwarded(fields: dict[str, str], peer: Node, trusted: Networks) -> _Claims:
    entries = [element for element in split_elements(fields.get("HTTP_FORWARDED", "")) if element.strip(" \t")]
    said: dict[str, str] = {}  # the client's own element counts before those at its right

    def node_of(text: str) -> Node | None:
        pairs = parse_element(text)
        if pairs is None:
            return None
        said.update(pairs)
        return parse_for(pairs.get("for", ""))

    nodes, alias, _ = _walk(peer, entries, node_of, trusted)
    return _Claims(nodes, alias, said.get("proto", ""), said.get("host", ""))


def _walk(
    peer: Node, entries: Sequence[str], parse: Callable[[str], Node | None], trusted: Networks
) -> tuple[list[Node], str, int]:
    """From right to left over what trusted proxies wrote: the nodes with an address, an alias, entries looked at."""
    nodes = [peer]
    looked = 0
    for text in reversed(entries[-_MAX_HOPS:]):
        if nodes[-1].address not in trusted:
            break
        looked += 1
        node = parse(text)
        if node is None or not node.address:
            return nodes, "" if node is None else node.alias, looked
        nodes.append(node)
    return nodes, "", looked


def _list(value: str) -> list[str]:
    return [element for part in value.split(",") if (element := part.strip(" \t"))]


def _number(port: object) -> int:
    """A port of an environ, where hosts write it as text or as a number, or not at all."""
    text = str(port or "")
    return int(text) if _PORT.fullmatch(text) else 0


def _prefix(text: str) -> str:
    """A believed X-Forwarded-Prefix, without a slash at its end; empty where it is not legal."""
    if _PREFIX.fullmatch(text) is None or "//" in text:
        return ""
    normal = normalize_path(text)
    return text.removesuffix("/") if normal is not None and normal.raw == text else ""


def _passed_on_certificate(head: RequestHead) -> tuple[tuple[str, str], ...]:
    """The Client-Cert fields of a trusted proxy."""
    fields: Fields = []
    for key, (name, legal) in _CERTIFICATE_FIELDS.items():
        value = head.environ.get(key)
        if value is not None and legal.fullmatch(value):
            fields.append((name, value))
    return tuple(fields)
