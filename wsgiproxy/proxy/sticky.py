"""A client's cookie in a pool whose clients stay with their backends: read, hidden, renewed; and which pool it means.

Asked only for such pools. The rule of the room: the cookie names who answered last, unless that was only to help out
a backend that has all the work that it may have.
"""

from __future__ import annotations

from wsgiproxy.http1.message import Fields, RequestHead
from wsgiproxy.pool.pool import Lease, Pool
from wsgiproxy.pool.sticky import Found, Learned, Signed, Sticky
from wsgiproxy.proxy.cookies import cookie, cookies_set, without_cookie
from wsgiproxy.routing.table import RouteMatch
from wsgiproxy.upstream.messages import UpstreamRequest


class Visit:
    """One request of a client; ``prefer`` is the backend that it is to stay with, None where there is none."""

    __slots__ = ("_due", "_sticky", "_value", "prefer")

    def __init__(self, sticky: Sticky, head: RequestHead, request: UpstreamRequest) -> None:
        """Reads the cookie; one of ours is taken out of ``request`` (HAProxy cookie indirect)."""
        self._sticky = sticky
        self._value = _value(sticky, head)
        self.prefer, self._due = sticky.find(self._value) if self._value else Found(None, False)
        if isinstance(sticky, Signed) and sticky.block.cookie in head.environ.get("HTTP_COOKIE", ""):
            request.lines = without_cookie(request.lines, sticky.block.cookie)

    def answered(self, lease: Lease, fields: Fields) -> Fields:
        """The fields of the answer, with a cookie where the client needs one; what is to be learned is learned."""
        sticky, backend = self._sticky, lease.backend
        if isinstance(sticky, Learned):
            for value in cookies_set(fields, sticky.block.cookie):
                sticky.learn(value, backend)
        if lease.detour or (backend is self.prefer and not self._due):
            return fields
        text = sticky.settle(self._value, backend)
        return [*fields, ("Set-Cookie", text)] if text else fields


def share_of(match: RouteMatch, head: RequestHead) -> RouteMatch:
    """The one of a route's shares that a request is given: of the pool that its cookie means, or else drawn.

    It stays as long as its backend may be given its work, or another one of a pool that has a weight.
    """
    split = match.route.split
    assert split is not None, "only a route that several pools share has shares"
    if "HTTP_COOKIE" in head.environ:
        for part, weight in zip(split.parts, split.weights, strict=True):
            pool = part.pool
            if pool is not None and pool.sticky is not None and _stays(pool, pool.sticky, weight, head):
                return RouteMatch(part, match.prefix_elements)
    return RouteMatch(split.draw(), match.prefix_elements)


def _stays(pool: Pool, sticky: Sticky, weight: int, head: RequestHead) -> bool:
    value = _value(sticky, head)
    backend = sticky.find(value).backend if value else None
    if backend is None:
        return False
    return backend.available or backend.draining or (weight > 0 and any(other.available for other in pool.backends))


def _value(sticky: Sticky, head: RequestHead) -> str:
    return cookie(head.environ.get("HTTP_COOKIE", ""), sticky.block.cookie)
