"""``ProxyApp``: one request's journey, on one page.

A plain WSGI application (PEP 3333): in our own server or any other. It reads the routing table once, so that a reload
never moves a request; it calls ``start_response`` once, eagerly, with final headers; and whatever goes wrong before
that becomes a small answer of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication

from wsgiproxy.errors import BadRequestError, NotFoundError, ProxyError
from wsgiproxy.proxy import answer
from wsgiproxy.proxy.client import client_of
from wsgiproxy.proxy.exchange import Exchange
from wsgiproxy.proxy.forward import forward
from wsgiproxy.proxy.hops import hops_left, via
from wsgiproxy.proxy.request import head_of, upstream_request
from wsgiproxy.proxy.response import ForwardedBody
from wsgiproxy.proxy.sticky import Visit, share_of
from wsgiproxy.proxy.tunnel import Tunnel
from wsgiproxy.routing.path import normalize_path
from wsgiproxy.runtime import Runtime

_monotonic = time.monotonic


class ProxyApp:
    """Forwards each request to the pool that the routing table names; see the module's docstring."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        fallback: WSGIApplication | None = None,
        log: Callable[[Exchange], None] | None = None,
    ) -> None:
        """``fallback`` answers what no route matches (404 without one); ``log`` is told of each ended exchange."""
        self._runtime = runtime
        self._fallback = fallback
        self._log = log

    @classmethod
    def from_file(cls, path: str, fallback: WSGIApplication | None = None) -> ProxyApp:
        """The application that a YAML file describes, for mounting in any WSGI server; the file stays watched.

        Raises ``InvalidConfigError``, which lists every mistake in the file. Nothing is started before the first
        request of each process, so a pre-forking server may load it in its master.
        """
        return cls(Runtime(path), fallback=fallback)

    def close(self) -> None:
        """End the background work and close the idle connections of this process."""
        self._runtime.close()

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """PEP 3333's application callable."""
        return self._serve(environ, start_response)

    def _serve(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        exchange = Exchange(environ, self._log)
        try:
            head = exchange.head = head_of(environ)
            table = self._runtime.table
            if not table.forwards_plainly and table.trusted_proxies:
                exchange.client = client_of(environ, head, table)
            path = normalize_path(head.path)
            if path is None:
                raise BadRequestError("the path holds an invalid escape, or a NUL")
            match = table.match(head, path.text)
            if match is None:
                if self._fallback is not None:
                    return self._fallback(environ, start_response)
                raise NotFoundError("no route matches")
            if match.route.split is not None:
                match = share_of(match, head)
            route = match.route
            exchange.route = route.name
            if route.respond is not None:
                return answer.respond(exchange, start_response, route.respond)
            if route.redirect is not None:
                return answer.redirect(exchange, start_response, route.redirect, head, path.raw, match.prefix_elements)
            pool = route.pool
            assert pool is not None, "the loader lets no route through that has no target"
            if "HTTP_MAX_FORWARDS" in head.environ and hops_left(head) == 0:
                return answer.last_hop(exchange, start_response, head)
            exchange.pool = pool.name
            request = upstream_request(exchange, table, head, path, match)
            visit = None if pool.sticky is None else Visit(pool.sticky, head, request)
            response, lease = forward(exchange, pool, request, None if visit is None else visit.prefer)
        except ProxyError as error:
            return answer.error_page(exchange, start_response, error)
        exchange.first_byte_at = _monotonic()
        exchange.status = response.status
        body: ForwardedBody | Tunnel
        body = ForwardedBody(response.body, lease, exchange, route.trailers, request.ends_by)
        try:
            fields = response.fields if visit is None else visit.answered(lease, response.fields)
            if not table.forwards_plainly and table.forwarding.via is not None:
                fields = [*fields, via("HTTP/1.1", table.forwarding.via)]
            if request.upgrade and response.status == 101:
                fields = [*fields, ("Upgrade", request.upgrade)]
                ends = (*response.body.take_over(), lease, exchange, response.body)
                body = Tunnel(*ends, self._runtime.driver.spawn, route.timeouts.tunnel, route.timeouts.write)
            start_response(answer.status_line(response.status, response.reason), fields)
        except BaseException:
            body.close()
            raise
        return body
