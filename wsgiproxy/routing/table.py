"""One generation of routes and pools: immutable, and asked once per request.

The most specific route wins, whatever the order in the file: an exact host, then the longest wildcard, then none; an
exact path, then a regex, then the longest prefix of whole elements; then a method; then more headers; then more query
parameters; then the first in the file (Kubernetes Gateway API, HTTPRoute). If its other conditions do not hold, the
next one in that order is asked. Looking a route up walks the request's host and path, never the table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import inf

from wsgiproxy.config import schema
from wsgiproxy.config.networks import Networks
from wsgiproxy.http1.message import RequestHead
from wsgiproxy.pool.pool import Pool
from wsgiproxy.routing.match import Conditions, Key, RequestFacts
from wsgiproxy.routing.path import normalize_path
from wsgiproxy.routing.split import Split
from wsgiproxy.upstream.messages import DEFAULT_TIMEOUTS

_PLAIN_FORWARDING = schema.Forwarding()
_WALK_AT_MOST = 8  # candidates of one host and path that are looked at one by one
_ROOT = ("",)  # the only prefix of any path that has no elements


class Route:
    """What is done with the requests that match: one of ``pool``, ``split``, ``respond`` and ``redirect``.

    A ``split`` is of routes that are the same but for their pool. ``upgrades`` and ``trailers`` are in lower case;
    ``timeouts`` are those of file, pool and route together.
    """

    __slots__ = (
        "body_bytes", "name", "pool", "redirect", "respond", "split", "strip_prefix", "timeouts", "trailers",
        "upgrades",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        block: schema.Route,
        pool: Pool | None,
        timeouts: schema.Timeouts = DEFAULT_TIMEOUTS,
        split: Split[Route] | None = None,
    ) -> None:
        self.name = name
        self.pool = pool
        self.split = split
        self.timeouts = timeouts
        self.respond = block.respond
        self.redirect = block.redirect
        self.strip_prefix = block.strip_prefix
        self.upgrades = block.upgrades
        self.body_bytes = inf if block.body_bytes is None else block.body_bytes
        self.trailers = tuple(name.lower() for name in block.trailers)

    def __repr__(self) -> str:
        target = self.pool.name if self.pool is not None else "respond" if self.respond is not None else "redirect"
        if self.split is not None:
            names = [part.pool.name for part in self.split.parts if part.pool is not None]
            target = ", ".join([f"{name} {weight}" for name, weight in zip(names, self.split.weights, strict=True)])
        return f"<Route {self.name} -> {target}>"


class RouteMatch:
    """A route, and how many leading elements of the path its prefix took."""

    __slots__ = ("prefix_elements", "route")

    def __init__(self, route: Route, prefix_elements: int) -> None:
        self.route = route
        self.prefix_elements = prefix_elements


class _Candidate:
    """One match of one route, with what is left to ask once host and path are known to fit."""

    __slots__ = ("conditions", "found", "rank")

    def __init__(self, conditions: Conditions, found: RouteMatch, order: int) -> None:
        """``order`` is that of the routes in the file."""
        self.conditions = conditions
        self.found = found
        self.rank = (*conditions.rank, order)


class _Bucket:
    """The candidates of one host and path, the most specific first.

    Many of them are kept by the exact value that they ask for at one key, the one that tells most of them apart, so
    that routes that differ in a tenant's header cost no walk; ``_others`` ask for no exact value there.
    """

    __slots__ = ("_by_value", "_key", "_others")

    def __init__(self, candidates: list[_Candidate]) -> None:
        candidates = sorted(candidates, key=lambda candidate: candidate.rank)
        self._key: Key | None = None
        self._by_value: dict[str, list[_Candidate]] = {}
        self._others = candidates
        if len(candidates) > _WALK_AT_MOST:
            values: dict[Key, set[str]] = {}
            for candidate in candidates:
                for key, value in candidate.conditions.exact.items():
                    values.setdefault(key, set()).add(value)
            self._key = best = max(values, key=lambda key: len(values[key]), default=None)
            if best is not None:
                self._others = [candidate for candidate in candidates if best not in candidate.conditions.exact]
                for candidate in candidates:
                    if best in candidate.conditions.exact:
                        self._by_value.setdefault(candidate.conditions.exact[best], []).append(candidate)

    def find(self, facts: RequestFacts) -> RouteMatch | None:
        """The most specific candidate whose conditions hold."""
        other = _first(self._others, facts)
        if self._key is None:
            return None if other is None else other.found
        own = _first(self._by_value.get(facts.value(self._key) or "", ()), facts)
        if own is None or (other is not None and other.rank < own.rank):
            own = other
        return None if own is None else own.found


class _HostGroup:
    """The matches of one host pattern, by path."""

    __slots__ = ("_depth", "_exact", "_prefixes", "_regexes")

    def __init__(self, matches: _Matches) -> None:
        self._exact = {path: _Bucket(candidates) for path, candidates in matches.exact.items()}
        self._prefixes = {path: _Bucket(candidates) for path, candidates in matches.prefixes.items()}
        self._depth = max((path.count("/") for path in self._prefixes), default=0)  # elements of the deepest prefix
        longest_first = sorted(matches.regexes, key=len, reverse=True)  # stable: the file's order among equals
        self._regexes = [(re.compile(pattern), _Bucket(matches.regexes[pattern])) for pattern in longest_first]

    def find(self, path: str, facts: RequestFacts) -> RouteMatch | None:
        """The most specific match that holds."""
        bucket = self._exact.get(path)
        if bucket is not None and (found := bucket.find(facts)) is not None:
            return found
        for regex, bucket in self._regexes:
            if regex.fullmatch(path) is not None and (found := bucket.find(facts)) is not None:
                return found
        prefixes = self._prefixes
        for prefix in _prefixes_of(path, self._depth) if self._depth else _ROOT:
            bucket = prefixes.get(prefix)
            if bucket is not None and (found := bucket.find(facts)) is not None:
                return found
        return None


class _Matches:
    """What a host group is made of, while the table is being made."""

    __slots__ = ("exact", "prefixes", "regexes")

    def __init__(self) -> None:
        self.exact: dict[str, list[_Candidate]] = {}
        self.prefixes: dict[str, list[_Candidate]] = {}  # less the trailing slash: the root is ""
        self.regexes: dict[str, list[_Candidate]] = {}

    def add(self, path: schema.PathMatch | None, conditions: Conditions, route: Route, order: int) -> None:
        """Take in one match."""
        elements = 0
        if path is not None and path.exact is not None:
            candidates = self.exact.setdefault(_text(path.exact), [])
        elif path is not None and path.regex is not None:
            candidates = self.regexes.setdefault(path.regex, [])
        else:
            prefix = "" if path is None or path.prefix is None else _text(path.prefix).rstrip("/")
            candidates = self.prefixes.setdefault(prefix, [])
            elements = prefix.count("/")
        candidates.append(_Candidate(conditions, RouteMatch(route, elements), order))


class RoutingTable:
    """Routes and pools of one generation, and whom it believes about clients.

    ``headers`` are the names, in lower case, of the header fields that routes look at. ``forwards_plainly`` is whether
    nobody is believed, and backends get X-Forwarded-* and no Via: the common case.
    """

    __slots__ = (
        "_any", "_hosts", "_labels", "_wildcards", "forwarding", "forwards_plainly", "generation", "headers", "pools",
        "trusted_proxies",
    )  # fmt: skip

    def __init__(
        self,
        generation: int,
        pools: Mapping[str, Pool],
        routes: Sequence[tuple[Route, schema.Route]],
        forwarding: schema.Forwarding = _PLAIN_FORWARDING,
    ) -> None:
        self.generation = generation
        self.pools = pools
        self.forwarding = forwarding
        self.forwards_plainly = forwarding == _PLAIN_FORWARDING
        self.trusted_proxies = Networks(forwarding.trusted_proxies)
        self.headers = frozenset(name.lower() for _, block in routes for match in block.match for name in match.headers)
        matches: dict[str, _Matches] = {}
        for order, (route, block) in enumerate(routes):
            for match in block.match or (schema.Match(),):
                conditions = Conditions(match)
                for host in match.host or ("",):
                    matches.setdefault(_host_name(host), _Matches()).add(match.path, conditions, route, order)
        groups = {host: _HostGroup(found) for host, found in matches.items()}
        self._any = groups.pop("", None)
        # by what follows the asterisk: ".example.org"
        self._wildcards = {host[1:]: groups.pop(host) for host in list(groups) if host.startswith("*.")}
        self._labels = max((suffix.count(".") for suffix in self._wildcards), default=0)  # of the longest wildcard
        self._hosts = groups

    def __repr__(self) -> str:
        return f"<RoutingTable {self.generation}: {len(self.pools)} pools, {len(self._hosts)} hosts>"

    def match(self, head: RequestHead, path: str) -> RouteMatch | None:
        """The route of a request, or None; ``path`` is the text of its ``NormalPath``."""
        facts = RequestFacts(head)
        if self._hosts or self._wildcards:
            for group in self._groups_of(_host_name(head.host)):
                found = group.find(path, facts)
                if found is not None:
                    return found
        return None if self._any is None else self._any.find(path, facts)

    def _groups_of(self, host: str) -> list[_HostGroup]:
        """The groups whose pattern fits, the most specific first."""
        group = self._hosts.get(host)
        groups = [] if group is None else [group]
        if self._wildcards:
            labels = host.rsplit(".", self._labels)
            for first in range(1, len(labels)):
                group = self._wildcards.get("." + ".".join(labels[first:]))
                if group is not None:
                    groups.append(group)
        return groups


def _first(candidates: Sequence[_Candidate], facts: RequestFacts) -> _Candidate | None:
    for candidate in candidates:
        if candidate.conditions.none or candidate.conditions.hold(facts):
            return candidate
    return None


def _prefixes_of(path: str, depth: int) -> list[str]:
    """The path and its ancestors of at most ``depth`` elements, the longest first, down to the root (``""``)."""
    prefixes = [""]
    end = 0
    while len(prefixes) <= depth and end + 1 < len(path):  # a slash at the end begins no element
        end = path.find("/", end + 1)
        if end < 0:
            prefixes.append(path)
            break
        prefixes.append(path[:end])
    prefixes.reverse()
    return prefixes


def _host_name(authority: str) -> str:
    """An authority's host: lower-case, less the port and a trailing dot."""
    host = authority.lower()
    if ":" in host and not host.endswith("]"):
        host = host.rpartition(":")[0]
    return host.rstrip(".")


def _text(path: str) -> str:
    """A configured path as requests' paths are matched: UTF-8 bytes as latin-1 text, decoded, dots resolved."""
    raw = path.encode().decode("latin-1")
    normal = normalize_path(raw)
    return raw if normal is None else normal.text
