"""Hops: how many a request may still go (Max-Forwards, RFC 9110 7.6.2), and who was one (Via, RFC 9110 7.6.3)."""

from __future__ import annotations

from wsgiproxy.errors import BadRequestError
from wsgiproxy.http1.message import Fields, RequestHead

_COUNTED = frozenset({"OPTIONS", "TRACE"})  # for any other method the field says nothing
_MOST = 10**9  # hops: a higher number counts as this one


def hops_left(head: RequestHead) -> int | None:
    """How many more hops a request may go, None where nobody counts; ``BadRequestError`` for what is no number."""
    value = head.environ.get("HTTP_MAX_FORWARDS")
    if value is None or head.method not in _COUNTED:
        return None
    if not (value.isascii() and value.isdigit()):
        raise BadRequestError(f"Max-Forwards is not a number: {value[:40]!r}")
    digits = value.lstrip("0")
    return int(digits or 0) if len(digits) < len(str(_MOST)) else _MOST


def count_hop(fields: Fields, head: RequestHead) -> Fields:
    """The fields of a request with one hop taken off those that are left, of which there must be one."""
    left = hops_left(head)
    if left is None:
        return fields
    counted = str(left - 1)
    return [(name, counted if name.lower() == "max-forwards" else value) for name, value in fields]


def via(version: str, name: str) -> tuple[str, str]:
    """Our own entry, to stand behind those of others; ``version`` as in ``HTTP/1.1`` is what the message came in."""
    return "Via", f"{version.removeprefix('HTTP/')} {name}"
