"""The Forwarded field (RFC 7239) and the nodes that it, and X-Forwarded-For, name: read, and written.

The rule of the room: text in, facts out, in linear time; what is malformed is None, never repaired. An element is read
on its own, because whoever stands at its left may have written anything, an open quote for instance. Whom to believe is
``proxy.client``'s business.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from wsgiproxy.config.networks import parse_ip
from wsgiproxy.http1.grammar import TOKEN

_QUOTED = r'"((?:[^"\\]++|\\.)*+)"'
_ELEMENT = re.compile(rf'(?:[^",]++|{_QUOTED})*+')
_PAIR = re.compile(rf"[ \t]*+({TOKEN}++)=(?:({TOKEN}++)|{_QUOTED})[ \t]*+(?:;[ \t;]*+|\Z)")
_ESCAPED = re.compile(r"\\(.)")
_TO_ESCAPE = re.compile(r'["\\]')
_WORD = re.compile(rf"{TOKEN}++")
_NO_IPV6_PORT = re.compile(r"[0-9A-Fa-f:.]++(?:%[0-9A-Za-z._~-]++)?")
_NODE = re.compile(r"(?:\[([0-9A-Fa-f:.]++)\]|([0-9.]++))(?::(?:([0-9]{1,5}+)|_[0-9A-Za-z._-]++))?")
_ALIAS = re.compile(r"(?i:(unknown)|_[0-9A-Za-z._-]++)(?::(?:[0-9]{1,5}+|_[0-9A-Za-z._-]++))?")
_MAX_PORT = 65535


class Node(NamedTuple):
    """A client or a proxy: its IP address and port (0 where it has none), or the ``alias`` that hides them.

    ``alias`` is ``unknown`` or begins with an underscore (RFC 7239 6.2, 6.3).
    """

    address: str
    port: int = 0
    alias: str = ""


def parse_address(text: str) -> Node | None:
    """The node of ``192.0.2.1``, ``192.0.2.1:80``, ``[2001:db8::1]`` or ``[2001:db8::1]:80``."""
    match = _NODE.fullmatch(text)
    if match is None:
        return None
    ip = parse_ip(match[1] or match[2])
    port = int(match[3] or 0)
    if ip is None or port > _MAX_PORT or (match[1] is not None and ":" not in match[1]):
        return None
    return Node(str(ip), port)


def parse_x_forwarded_for(text: str) -> Node | None:
    """The node of an entry of X-Forwarded-For, where IPv6 addresses may stand without brackets."""
    if text.count(":") > 1 and _NO_IPV6_PORT.fullmatch(text):
        ip = parse_ip(text)
        return None if ip is None else Node(str(ip))
    return parse_address(text)


def parse_for(text: str) -> Node | None:
    """The node of a ``for`` parameter (RFC 7239 section 6), aliases included."""
    alias = _ALIAS.fullmatch(text)
    if alias is not None:
        return Node("", 0, "unknown" if alias[1] else text.partition(":")[0])
    return parse_address(text)


def split_elements(value: str) -> list[str]:
    """The elements of a list, split at the commas outside quotes; at every comma where quotes do not close.

    What a proxy has appended to an open quote is found in that way, and so is nothing within a quoted text: a part of
    one has a quote too many to be an element.
    """
    if '"' not in value:
        return value.split(",")
    elements = []
    at = 0
    while True:
        match = _ELEMENT.match(value, at)
        assert match is not None, "it may be empty"
        elements.append(match[0])
        at = match.end() + 1
        if at > len(value):
            return elements
        if value[at - 1] != ",":
            return value.split(",")


def parse_element(text: str) -> dict[str, str] | None:
    """The parameters of one element by lower-case name (RFC 7239 section 4); None where it is malformed."""
    text = text.strip(" \t;")
    pairs: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _PAIR.match(text, at)
        if match is None or (name := match[1].lower()) in pairs:
            return None
        pairs[name] = match[2] if match[2] is not None else _ESCAPED.sub(r"\1", match[3])
        at = match.end()
    return pairs


def element(pairs: dict[str, str]) -> str:
    """One element; values that are no tokens are quoted."""
    return ";".join(f"{name}={_value(value)}" for name, value in pairs.items())


def node_text(address: str) -> str:
    """An address as ``for`` wants it: an IPv6 one in brackets."""
    return f"[{address}]" if ":" in address else address


def _value(text: str) -> str:
    if _WORD.fullmatch(text):
        return text
    return '"' + _TO_ESCAPE.sub(lambda match: "\\" + match[0], text) + '"'
