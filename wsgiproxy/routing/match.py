"""The conditions of one match, compiled: method, headers, query. (Host and path are the table's own indexes.)

The rule of the room: compiled once, when the table is built; asked many times, without making anything that is not
needed. Regular expressions match the whole value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

from wsgiproxy.config import schema
from wsgiproxy.http1.message import RequestHead

Key = tuple[str, str]  # ("header", lower-case name) or ("query", name)

_MAX_PARAMETERS = 1000  # query parameters that are looked at (werkzeug and Django: 1000)


class RequestFacts:
    """What conditions look at, worked out only when one does."""

    __slots__ = ("_head", "_headers", "_parameters")

    def __init__(self, head: RequestHead) -> None:
        self._head = head
        self._headers: dict[str, str] | None = None
        self._parameters: dict[str, str] | None = None

    @property
    def method(self) -> str:
        """The request's method."""
        return self._head.method

    def value(self, key: Key) -> str | None:
        """The value at a key of ``Conditions.exact``; None where there is none."""
        kind, name = key
        return (self.headers if kind == "header" else self.parameters).get(name)

    @property
    def headers(self) -> Mapping[str, str]:
        """Fields by lower-case name, repeated ones joined (RFC 9110 5.3)."""
        if self._headers is None:
            headers: dict[str, str] = {}
            for name, value in self._head.fields:
                lower = name.lower()
                headers[lower] = f"{headers[lower]}, {value}" if lower in headers else value
            self._headers = headers
        return self._headers

    @property
    def parameters(self) -> Mapping[str, str]:
        """Query parameters by decoded name; the first of a repeated one counts."""
        if self._parameters is None:
            query = "&".join(self._head.query.split("&", _MAX_PARAMETERS)[:_MAX_PARAMETERS])
            pairs = parse_qsl(query, keep_blank_values=True, encoding="utf-8", errors="replace")
            self._parameters = dict(reversed(pairs))
        return self._parameters


class Value:
    """The condition on one header's or query parameter's value."""

    __slots__ = ("_regex", "exact", "name")

    def __init__(self, name: str, block: schema.ValueMatch) -> None:
        self.name = name
        self.exact = block.exact
        self._regex = None if block.regex is None else re.compile(block.regex)

    def holds(self, values: Mapping[str, str]) -> bool:
        """Whether ``values`` has the name with a value that fits."""
        value = values.get(self.name)
        if value is None:
            return False
        return value == self.exact if self._regex is None else self._regex.fullmatch(value) is not None


class Conditions:
    """Method, headers and query of one match; ``exact`` has the exact values that it asks for."""

    __slots__ = ("_headers", "_methods", "_query", "exact", "none", "rank")

    def __init__(self, block: schema.Match) -> None:
        self._methods = frozenset(block.method)
        self._headers = tuple(Value(name.lower(), value) for name, value in block.headers.items())
        self._query = tuple(Value(name, value) for name, value in block.query.items())
        self.none = not (self._methods or self._headers or self._query)
        exact = {
            **{("header", value.name): value.exact for value in self._headers},
            **{("query", value.name): value.exact for value in self._query},
        }
        self.exact = {key: value for key, value in exact.items() if value is not None}
        # what is more specific sorts first (Gateway API, HTTPRouteRule)
        self.rank = (not self._methods, -len(self._headers), -len(self._query))

    def hold(self, facts: RequestFacts) -> bool:
        """Whether all of them hold."""
        if self._methods and facts.method not in self._methods:
            return False
        if self._headers and not all(value.holds(facts.headers) for value in self._headers):
            return False
        return not self._query or all(value.holds(facts.parameters) for value in self._query)
