"""What a pool that hashes goes by: the part of a request that decides which backend gets it.

Asked only for such pools. A part that is missing or empty is no key: those requests take turns (HAProxy: the same), or
one backend would get all of them.
"""

from __future__ import annotations

from wsgiproxy.config.values import HashOn
from wsgiproxy.pool.hashing import digest
from wsgiproxy.proxy.cookies import cookie
from wsgiproxy.proxy.exchange import Exchange
from wsgiproxy.routing.match import RequestFacts
from wsgiproxy.upstream.messages import UpstreamRequest


def hash_key(exchange: Exchange, request: UpstreamRequest, hash_on: HashOn) -> int | None:
    """The digest of the request's key; None where it has none.

    ``path`` is the decoded path that the backend will see, without the query; ``client`` the address that is believed.
    Of a repeated header the values count together; of a repeated cookie or query parameter the first does.
    """
    text = _text(exchange, request, *hash_on)
    return digest(text) if text else None


def _text(exchange: Exchange, request: UpstreamRequest, kind: str, name: str) -> str | None:
    if kind == "client":
        return exchange.address
    if kind == "path":
        return request.path_info
    head = exchange.head
    assert head is not None, "a request that is forwarded has a head"
    if kind == "cookie":
        return cookie(head.environ.get("HTTP_COOKIE", ""), name)
    return RequestFacts(head).value((kind, name))
