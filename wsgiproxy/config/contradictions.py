"""What the keys of one block mean for each other: combinations that every key alone would allow.

The rule of the room: one function per block that has such combinations, each yields ``(key, problem)``, where ``key``
is a path within the block (empty for the block itself). Nothing here knows the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import inf

from wsgiproxy.config import schema
from wsgiproxy.config.address import AppAddress, HttpAddress, parse_backend_address
from wsgiproxy.config.kinds import Block
from wsgiproxy.config.sticky_schema import MIN_KEY_LENGTH
from wsgiproxy.config.values import parse_status_range
from wsgiproxy.http1.headers import is_forbidden_trailer

Contradiction = tuple[str, str]

# Fields that say how long a message is or belong to one connection: whoever writes the message sets them.
_OWN_FIELDS = frozenset({"connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"})
_PLAIN_ROUTE = schema.Route()
_PLAIN_LIMITS = schema.Limits()
_PLAIN_TIMEOUTS = schema.Timeouts()
_PLAIN_CHECK = schema.HealthCheck()
_PLAIN_OUTLIERS = schema.Outliers()
_PLAIN_STICKY = schema.Sticky(cookie="plain")
_HOW_TO_MAKE_A_KEY = "make one with `openssl rand -hex 32`, and keep it"
_NO_BODY = (204, 304)  # RFC 9110 15.3.5, 15.4.5


def contradictions(block: Block) -> Iterator[Contradiction]:
    """What is wrong with a block whose keys are each right."""
    match block:
        case schema.Limits():
            yield from _of_limits(block)
        case schema.Timeouts() | schema.OwnTimeouts():
            yield from _of_timeouts(block)
        case schema.Pool():
            yield from _of_pool(block)
        case schema.HealthCheck():
            yield from _of_health_check(block)
        case schema.Sticky():
            yield from _of_sticky(block)
        case schema.Outliers():
            yield from _of_outliers(block)
        case schema.Match():
            yield from _of_headers(block.headers, ())
        case schema.Respond():
            yield from _of_respond(block)
        case schema.Redirect():
            yield from _of_redirect(block)
        case schema.Route():
            yield from _of_route(block)
        case schema.Config():
            yield from _of_config(block)


def _of_limits(block: schema.Limits) -> Iterator[Contradiction]:
    for key, size in (("header_bytes", block.header_bytes), ("target_bytes", block.target_bytes)):
        if not size:
            yield key, "must be more than 0: nothing could be asked for otherwise"
    if block.header_bytes < block.target_bytes != _PLAIN_LIMITS.target_bytes:
        yield "target_bytes", f"must not be more than header_bytes ({block.header_bytes}), which it is a part of"
    if 0 < block.connections < block.connections_per_client:
        yield "connections_per_client", f"must not be more than connections ({block.connections}), all clients together"


def _of_timeouts(block: schema.Timeouts | schema.OwnTimeouts) -> Iterator[Contradiction]:
    total = block.total or inf
    for key in ("connect", "tls", "queue", "first_byte", "read", "write"):
        seconds = getattr(block, key)
        by_default = isinstance(block, schema.Timeouts) and seconds == getattr(_PLAIN_TIMEOUTS, key)
        if seconds is not None and seconds > total and not by_default:
            yield key, f"does nothing beyond total ({total:g} s), which ends it all"


def _of_pool(block: schema.Pool) -> Iterator[Contradiction]:
    addresses = [parse_backend_address(backend.address) for backend in block.backends]
    if block.tls != schema.BackendTls() and not any(
        isinstance(address, HttpAddress) and address.scheme == "https" for address in addresses
    ):
        yield "tls", "does nothing here: none of the backends has an address that begins with https://"
    elif block.tls.ca is not None and not block.tls.verify:
        yield "tls.ca", "does nothing beside verify: false"
    if block.balance == "hash" and block.hash_on is None:
        yield "balance", "hash needs hash_on: what of a request decides which backend gets it"
    if block.balance != "hash" and block.hash_on is not None:
        yield "hash_on", f"does nothing beside balance: {block.balance}; it goes with hash only"
    if block.balance == "first" and block.slow_start is not None:
        yield "slow_start", "does nothing beside balance: first, which goes by the order alone"
    if (
        block.health_check is not None
        and block.health_check.port is not None
        and not any(isinstance(address, HttpAddress) for address in addresses)
    ):
        yield "health_check.port", "does nothing here: none of the backends has an address with a port"
    if block.timeouts.total and (block.retries.per_attempt_timeout or 0) > block.timeouts.total:
        yield "retries.per_attempt_timeout", f"does nothing beyond timeouts.total ({block.timeouts.total:g} s)"
    if block.proxy_protocol is not None and all(isinstance(address, AppAddress) for address in addresses):
        yield "proxy_protocol", "does nothing here: applications of this process have no connection to begin"


def _of_health_check(block: schema.HealthCheck) -> Iterator[Contradiction]:
    yield from _of_headers(block.headers, {*_OWN_FIELDS, "host"})
    if block.expected_body is not None and block.method == "HEAD":
        yield "expected_body", "does nothing beside method: HEAD, which is answered without a body"
    if block.kind == "tcp":
        for key in ("expected_body", "drain_on_404"):
            if getattr(block, key) != getattr(_PLAIN_CHECK, key):
                yield key, "does nothing beside kind: tcp, which asks for no answer"
    if block.drain_on_404 and any(low <= 404 <= high for low, high in map(parse_status_range, block.expected_statuses)):
        yield "drain_on_404", "404 is among expected_statuses: it cannot mean healthy and drain"


def _of_outliers(block: schema.Outliers) -> Iterator[Contradiction]:
    if not block.failure_percent:
        for key in ("window", "minimum_requests"):
            if getattr(block, key) != getattr(_PLAIN_OUTLIERS, key):
                yield key, "does nothing without failure_percent"
    if block.base_ejection_time > block.max_ejection_time:
        yield "base_ejection_time", f"must not be more than max_ejection_time ({block.max_ejection_time:g} s)"


def _of_sticky(block: schema.Sticky) -> Iterator[Contradiction]:
    ours = block.set_by == "proxy"
    for key in ("max_sessions",) if ours else ("key", "key_file", "path", "domain", "secure", "http_only", "same_site"):
        if getattr(block, key) != getattr(_PLAIN_STICKY, key):
            yield key, f"does nothing beside set_by: {block.set_by}"
    if ours and (block.key is None) == (block.key_file is None):
        given = "both are" if block.key is not None else "neither is"
        yield "", f"exactly one of key, key_file is needed for a cookie of ours, {given} given; {_HOW_TO_MAKE_A_KEY}"
    if block.key is not None and len(block.key) < MIN_KEY_LENGTH:
        yield "key", f"must have at least {MIN_KEY_LENGTH} characters, got {len(block.key)}; {_HOW_TO_MAKE_A_KEY}"
    if ";" in block.path:
        yield "path", 'must not have ";", which ends it in Set-Cookie'
    if ours and block.same_site == "none" and not block.secure:
        yield "same_site", "none needs secure: true, or browsers refuse the cookie"
    prefix = next((prefix for prefix in ("__Host-", "__Secure-") if block.cookie.startswith(prefix)), "")
    if ours and prefix and not block.secure:
        yield "cookie", f"{prefix} needs secure: true, or browsers refuse the cookie"
    if ours and prefix == "__Host-" and (block.path != "/" or block.domain is not None):
        yield "cookie", "__Host- needs path: / and no domain, or browsers refuse the cookie"


def _of_headers(names: Iterable[str], own: Iterable[str]) -> Iterator[Contradiction]:
    seen: dict[str, str] = {}
    for name in names:
        if name.lower() in own:
            yield f"headers.{name}", f'the proxy sets "{name}" itself'
        elif name.lower() in seen:
            yield f"headers.{name}", f'the same header as "{seen[name.lower()]}": case does not matter in header names'
        seen[name.lower()] = name


def _of_respond(block: schema.Respond) -> Iterator[Contradiction]:
    yield from _of_headers(block.headers, _OWN_FIELDS)
    if block.body and block.status in _NO_BODY:
        yield "body", f"an answer with status {block.status} has no body"


def _of_redirect(block: schema.Redirect) -> Iterator[Contradiction]:
    if (block.scheme, block.host, block.port, block.path, block.path_prefix) == (None,) * 5:
        yield "", "one of scheme, host, port, path, path_prefix is needed, or the client is sent where it came from"
    for key, path in (("path", block.path), ("path_prefix", block.path_prefix)):
        if path is not None and "?" in path:
            yield key, 'must not have a query ("?"): the client\'s own is kept'


def _of_route(block: schema.Route) -> Iterator[Contradiction]:
    forwards = block.pool is not None or block.pools is not None
    has_prefix = bool(block.match) and all(match.path and match.path.prefix is not None for match in block.match)
    problem = "needs a path prefix in every match of the route: there is nothing that it could replace otherwise"
    if block.redirect and block.redirect.path_prefix is not None and not has_prefix:
        yield "redirect.path_prefix", problem
    if block.strip_prefix and not forwards:
        yield "strip_prefix", "goes with pool or pools only"
    elif block.strip_prefix and not has_prefix:
        yield "strip_prefix", problem.replace("replace", "strip")
    for key in ("upgrades", "body_bytes", "timeouts", "trailers"):
        if not forwards and getattr(block, key) != getattr(_PLAIN_ROUTE, key):
            yield key, "goes with pool or pools only"
    if block.pools is not None and not any(share.weight for share in block.pools):
        yield "pools", "needs a weight of more than 0 somewhere: nobody would get the requests otherwise"
    for index, name in enumerate(block.trailers):
        if is_forbidden_trailer(name):
            yield f"trailers[{index}]", f'"{name}" is never passed on as a trailer (RFC 9110 6.5.1)'


def _of_config(block: schema.Config) -> Iterator[Contradiction]:
    for index, route in enumerate(block.routes):
        known = [block.pools[share.pool].sticky for share in route.pools or ()]
        if len({None if sticky is None else (sticky.cookie, sticky.set_by) for sticky in known}) > 1:
            problem = "need the same sticky cookie, or none: clients would gather in the pool that keeps them"
            yield f"routes[{index}].pools", problem
