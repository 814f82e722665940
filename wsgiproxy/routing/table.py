"""One generation of routes and pools: immutable, and asked once per request.

The most specific route wins, whatever the order in the file: an exact host, then the longest wildcard, then none; an
exact path, then a regex, then the longest prefix of whole elements; then a method; then more headers; then more query
parameters; then the first in the file (Kubernetes Gateway API, HTTPRoute). If its other conditions do not hold, the
next one in that order is asked. Looking a route up walks the request's host and path, never the table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from wsgiproxy.config import schema
from wsgiproxy.http1.message import Fields
from wsgiproxy.pool.pool import Pool
from wsgiproxy.routing.match import Conditions, RequestFacts
from wsgiproxy.routing.path import normalize_path


class Route:
    """What is done with the requests that match: one of ``pool``, ``respond`` and ``redirect``."""

    __slots__ = ("name", "pool", "redirect", "respond", "strip_prefix")

    def __init__(self, name: str, block: schema.Route, pool: Pool | None) -> None:
        self.name = name
        self.pool = pool
        self.respond = block.respond
        self.redirect = block.redirect
        self.strip_prefix = block.strip_prefix

    def __repr__(self) -> str:
        target = self.pool.name if self.pool is not None else "respond" if self.respond is not None else "redirect"
        return f"<Route {self.name} -> {target}>"


class RouteMatch(NamedTuple):
    """A route, and how many leading elements of the path its prefix took."""

    route: Route
    prefix_elements: int


class _Candidate(NamedTuple):
    """One match of one route, with what is left to ask once host and path are known to fit."""

    conditions: Conditions
    found: RouteMatch
    order: int  # in the file

    @property
    def rank(self) -> tuple[bool, int, int, int]:
        return (*self.conditions.rank, self.order)


class _HostGroup:
    """The matches of one host pattern, by path."""

    __slots__ = ("_depth", "_exact", "_prefixes", "_regexes")

    def __init__(self) -> None:
        self._exact: dict[str, list[_Candidate]] = {}
        self._prefixes: dict[str, list[_Candidate]] = {}  # less the trailing slash: the root is ""
        self._regexes: list[tuple[re.Pattern[str], list[_Candidate]]] = []
        self._depth = 0  # elements of the deepest prefix

    def add(self, path: schema.PathMatch | None, conditions: Conditions, route: Route, order: int) -> None:
        """Take in one match."""
        if path is not None and path.exact is not None:
            candidates = self._exact.setdefault(_text(path.exact), [])
        elif path is not None and path.regex is not None:
            candidates = self._regex_candidates(path.regex)
        else:
            prefix = "" if path is None or path.prefix is None else _text(path.prefix).rstrip("/")
            candidates = self._prefixes.setdefault(prefix, [])
            elements = prefix.count("/")
            self._depth = max(self._depth, elements)
            candidates.append(_Candidate(conditions, RouteMatch(route, elements), order))
            return
        candidates.append(_Candidate(conditions, RouteMatch(route, 0), order))

    def sort(self) -> None:
        """Put what is more specific first; to be called once all matches are in."""
        self._regexes.sort(key=lambda entry: -len(entry[0].pattern))  # stable: the file's order among equals
        buckets = [*self._exact.values(), *self._prefixes.values(), *(candidates for _, candidates in self._regexes)]
        for candidates in buckets:
            candidates.sort(key=lambda candidate: candidate.rank)

    def find(self, path: str, facts: RequestFacts) -> RouteMatch | None:
        """The most specific match that holds."""
        if self._exact and (found := _first(self._exact.get(path), facts)) is not None:
            return found
        for regex, candidates in self._regexes:
            if regex.fullmatch(path) is not None and (found := _first(candidates, facts)) is not None:
                return found
        if not self._prefixes:
            return None
        prefixes = self._prefixes
        for prefix in _prefixes_of(path, self._depth):
            if prefix in prefixes and (found := _first(prefixes[prefix], facts)) is not None:
                return found
        return None

    def _regex_candidates(self, pattern: str) -> list[_Candidate]:
        for regex, candidates in self._regexes:
            if regex.pattern == pattern:
                return candidates
        self._regexes.append((re.compile(pattern), []))
        return self._regexes[-1][1]


class RoutingTable:
    """Routes and pools of one generation."""

    __slots__ = ("_any", "_hosts", "_labels", "_wildcards", "generation", "pools")

    def __init__(
        self, generation: int, pools: Mapping[str, Pool], routes: Sequence[tuple[Route, schema.Route]]
    ) -> None:
        self.generation = generation
        self.pools = pools
        self._hosts: dict[str, _HostGroup] = {}
        self._wildcards: dict[str, _HostGroup] = {}  # by what follows the asterisk: ".example.org"
        self._any: _HostGroup | None = None
        self._labels = 0  # of the longest wildcard
        for order, (route, block) in enumerate(routes):
            self._add(route, block, order)
        for group in (*self._hosts.values(), *self._wildcards.values(), self._any):
            if group is not None:
                group.sort()

    def __repr__(self) -> str:
        return f"<RoutingTable {self.generation}: {len(self.pools)} pools, {len(self._hosts)} hosts>"

    def match(self, host: str, path: str, method: str, fields: Fields, query: str) -> RouteMatch | None:
        """The route of a request, or None.

        ``host`` is the authority asked for, ``path`` the text of a ``NormalPath``, ``query`` the raw query.
        """
        facts = RequestFacts(method, fields, query)
        if self._hosts or self._wildcards:
            for group in self._groups_of(_host_name(host)):
                found = group.find(path, facts)
                if found is not None:
                    return found
        return None if self._any is None else self._any.find(path, facts)

    def _groups_of(self, host: str) -> Iterator[_HostGroup]:
        """The groups whose pattern fits, the most specific first."""
        group = self._hosts.get(host)
        if group is not None:
            yield group
        if self._wildcards:
            labels = host.rsplit(".", self._labels)
            for first in range(1, len(labels)):
                group = self._wildcards.get("." + ".".join(labels[first:]))
                if group is not None:
                    yield group

    def _add(self, route: Route, block: schema.Route, order: int) -> None:
        for match in block.match or (schema.Match(),):
            conditions = Conditions(match)
            for group in self._host_groups(match.host):
                group.add(match.path, conditions, route, order)

    def _host_groups(self, hosts: Sequence[str]) -> list[_HostGroup]:
        if not hosts:
            self._any = self._any or _HostGroup()
            return [self._any]
        groups = []
        for host in map(str.lower, hosts):
            if host.startswith("*."):
                self._labels = max(self._labels, host.count("."))
                groups.append(self._wildcards.setdefault(host[1:], _HostGroup()))
            else:
                groups.append(self._hosts.setdefault(_host_name(host), _HostGroup()))
        return groups


def _first(candidates: list[_Candidate] | None, facts: RequestFacts) -> RouteMatch | None:
    for candidate in candidates or ():
        if candidate.conditions.none or candidate.conditions.hold(facts):
            return candidate.found
    return None


def _prefixes_of(path: str, depth: int) -> Iterator[str]:
    """The path and its ancestors of at most ``depth`` elements, the longest first, down to the root (``""``)."""
    elements = path.split("/", depth + 1)[1 : depth + 1]
    if elements and not elements[-1]:
        elements.pop()
    while elements:
        yield "/" + "/".join(elements)
        elements.pop()
    yield ""


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
