"""What is different between two configurations, in words: for the log, after a reload.

The rule of the room: pure; one line for each pool, route and block that has changed; no secret is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from wsgiproxy.config import schema
from wsgiproxy.config.kinds import Block

B = TypeVar("B", bound=Block)

_SECRET = frozenset({"key"})
_LONGEST = 60  # characters of a value


def changes(old: schema.Config, new: schema.Config, most: int) -> list[str]:
    """One line for each live part of the file that has changed, in the order of the file; none where nothing has.

    Of more than ``most`` the last line says how many others there are.

    Pools are known by their names, backends by their addresses, routes by their names or, where they have none, by
    their places: ``pool web: +http://10.0.0.9:8000, weight of http://10.0.0.8:8000 1 -> 3``.
    """
    lines = []
    for key in ("forwarding", "timeouts"):
        parts = list(_differences(getattr(old, key), getattr(new, key)))
        lines += [f"{key}: {', '.join(parts)}"] if parts else []
    lines += _named("pool", old.pools, new.pools, _of_pool)
    lines += _named("route", _by_name(old.routes), _by_name(new.routes), _differences)
    return lines if len(lines) <= most else [*lines[: most - 1], f"and {len(lines) - most + 1} more changes"]


def _named(
    what: str, old: Mapping[str, B], new: Mapping[str, B], tell: Callable[[B, B], Iterator[str]]
) -> Iterator[str]:
    """What has become of each of these blocks."""
    for name in [*new, *(name for name in old if name not in new)]:
        if name not in old:
            yield f"{what} {name}: new"
        elif name not in new:
            yield f"{what} {name}: gone"
        elif old[name] != new[name]:
            yield f"{what} {name}: {', '.join(tell(old[name], new[name]))}"


def _by_name(routes: tuple[schema.Route, ...]) -> dict[str, schema.Route]:
    return {route.name or f"routes[{index}]": route for index, route in enumerate(routes)}


def _of_pool(old: schema.Pool, new: schema.Pool) -> Iterator[str]:
    before = {backend.address: backend for backend in old.backends}
    after = {backend.address: backend for backend in new.backends}
    yield from (f"+{address}" for address in after if address not in before)
    yield from (f"-{address}" for address in before if address not in after)
    for address, backend in after.items():
        if address in before:
            for difference in _differences(before[address], backend):
                key, _, change = difference.partition(" ")
                yield f"{key} of {address} {change}"
    if list(before) != list(after) and set(before) == set(after):
        yield "backends in another order"
    yield from _differences(old, new, leave_out="backends")


def _differences(old: Block, new: Block, prefix: str = "", leave_out: str = "") -> Iterator[str]:
    """The keys that are different, each with its change."""
    for key in new.__struct_fields__:
        was, now = getattr(old, key), getattr(new, key)
        if was == now or key == leave_out:
            continue
        if isinstance(was, Block) and isinstance(now, Block):
            yield from _differences(was, now, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key} {_change(key, was, now)}"


def _change(key: str, was: object, now: object) -> str:
    if isinstance(now, bool):
        return "on" if now else "off"
    if isinstance(was, Block) or isinstance(now, Block):
        return "off" if now is None else "on" if was is None else "changed"
    shown = [_shown(was), _shown(now)]
    if key in _SECRET or "" in shown:
        return "changed"
    return " -> ".join(shown)


def _shown(value: object) -> str:
    """A value in a few words; nothing where that cannot be said shortly."""
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        if any(isinstance(item, Block) for item in value):
            return ""
        value = f"[{', '.join(map(str, value))}]"
    text = str(value)
    return text if len(text) <= _LONGEST and text.isprintable() else ""
