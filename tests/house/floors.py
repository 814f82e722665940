"""Who may import whom: floors, towers, cycles, and the names that only some rooms may know.

Imports in functions and under ``TYPE_CHECKING`` count like all others.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from tests.house.sources import PACKAGE, Source

# The floors. The longest dotted name that fits says in which room a module lives; an arrow may only go down.
FLOORS = {
    "errors": 0,
    "pure": 0,
    "config": 0,  # the package's own docstring; its modules stand on three floors:
    "config.schema": 0,
    "config.daemon_schema": 0,
    "config.pool_schema": 0,
    "config.sticky_schema": 0,
    "config.kinds": 0,
    "config.address": 0,
    "config.networks": 0,
    "config.loader": 2,
    "config.watcher": 1,
    "http1": 1,
    "transport": 1,
    "scoreboard": 1,
    "upstream": 2,
    "pool": 3,
    "server": 3,
    "routing": 4,
    "runtime": 5,
    "proxy": 6,
    "daemon": 7,
    "admin": 7,
    "mount": 7,
    "": 7,  # the public door, wsgiproxy/__init__.py
    "cli": 8,
    "testing": 8,
    "__main__": 9,
}
BELOW_CONFIG_LOADER = "config.loader"  # any other module of config/ helps the loader
SERVER_TOWER_STANDS_ON = {
    "http1",
    "transport",
    "config",
    "config.schema",
    "config.address",
    "config.networks",
    "errors",
}
PROXY_TOWER = {"upstream", "pool", "routing", "runtime", "proxy", "scoreboard"}
GEVENT_ROOMS = {"server", "daemon", "cli", "__main__"}
GEVENT_MODULES = {"wsgiproxy.transport.greenlet", "wsgiproxy.transport.greenlet_stream"}
GREENLET_MODULES = {*GEVENT_MODULES, "wsgiproxy.testing.virtual"}  # which have no hub, but greenlets of their own
ROOMS_WITHOUT_WHOLE_CONFIG = {"http1", "transport", "scoreboard", "upstream", "pool", "server"}


def imports(source: Source) -> Iterator[tuple[ast.stmt, str, str]]:
    """Every import of the file, wherever it stands: node, module, and the name taken from it (empty for ``import``)."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node, "." * node.level + (node.module or ""), alias.name) for alias in node.names)


def arrows(sources: Iterable[Source]) -> Iterator[tuple[Source, ast.stmt, str]]:
    """Imports of our own modules: importing file, node, name of the imported module."""
    sources = list(sources)
    known = {source.name for source in sources} | {f"{PACKAGE}.{name}" for name in FLOORS}
    for source in sources:
        for node, module, taken in imports(source):
            if module.split(".")[0] == PACKAGE:
                submodule = f"{module}.{taken}"
                yield source, node, submodule if submodule in known else module


def room(module: str) -> str:
    """The room of a module of ours, a key of ``FLOORS``; the first part of its name where it has none."""
    inner = module.removeprefix(PACKAGE).removeprefix(".")
    if inner.startswith("config.") and inner not in FLOORS:
        return BELOW_CONFIG_LOADER
    if inner in FLOORS:
        return inner
    return inner.split(".")[0]


def unknown_rooms(sources: Iterable[Source]) -> list[str]:
    """Modules that stand on no floor."""
    return [
        f"{source.path}:1: the room {room(source.name)!r} has no floor: give it one in tests/house/floors.py"
        for source in sources
        if room(source.name) not in FLOORS
    ]


def upward_imports(sources: Iterable[Source]) -> list[str]:
    """Imports that go up, or sideways to another room of the same floor."""
    found = []
    for source, node, target in arrows(sources):
        here, there = room(source.name), room(target)
        own, other = FLOORS.get(here, 9), FLOORS.get(there, 9)
        if here == there or other < own or (other == own == 0 and here.startswith("config")):
            continue
        way = "up" if other > own else "sideways"
        found.append(
            source.at(node, f"{here} (floor {own}) may not import {target} (floor {other}): {way}; pass it in instead")
        )
    return found


def tower_crossings(sources: Iterable[Source]) -> list[str]:
    """Imports between the server's tower and the proxy's: they meet through WSGI only."""
    found = []
    for source, node, target in arrows(sources):
        here, there = room(source.name), room(target)
        if here == "server" and there not in {"server", *SERVER_TOWER_STANDS_ON}:
            found.append(
                source.at(node, f"server stands on http1, transport, config.schema and errors, not on {target}")
            )
        elif here in PROXY_TOWER and there == "server":
            found.append(source.at(node, f"{here} may not know the server ({target}): they meet through WSGI only"))
    return found


def import_cycles(sources: Iterable[Source]) -> list[str]:
    """Modules that import one another in a circle; imports in functions and under TYPE_CHECKING count too."""
    graph: dict[str, dict[str, str]] = {}
    for source, node, target in arrows(sources):
        if target != source.name:
            graph.setdefault(source.name, {}).setdefault(target, f"{source.path}:{getattr(node, 'lineno', 1)}")
    found, done = [], set()

    def visit(module: str, trail: list[str]) -> None:
        if module in trail:
            circle = [*trail[trail.index(module) :], module]
            found.append(f"{graph[trail[-1]][module]}: import cycle: {' -> '.join(circle)}")
        elif module not in done:
            for target in graph.get(module, {}):
                visit(target, [*trail, module])
            done.add(module)

    for module in sorted(graph):
        visit(module, [])
    return found


def relative_imports(sources: Iterable[Source]) -> list[str]:
    """``from . import x``."""
    return [
        source.at(node, f"relative import of {module!r}: write the whole name")
        for source in sources
        for node, module, _ in imports(source)
        if module.startswith(".")
    ]


def gevent_imports(sources: Iterable[Source]) -> list[str]:
    """gevent imported where the WSGI application could not do without it."""
    return [
        source.at(
            node, f"{module}: gevent may be imported only in transport/greenlet*.py, server/, daemon/, cli/, __main__"
        )
        for source in sources
        for node, module, _ in imports(source)
        if module.split(".")[0] in {"gevent", "greenlet"}
        and source.name not in (GREENLET_MODULES if module == "greenlet" else GEVENT_MODULES)
        and room(source.name) not in GEVENT_ROOMS
    ]


def names_taken_from_threading(sources: Iterable[Source]) -> list[str]:
    """``from threading import Lock`` keeps the unpatched name when gevent patches the module later."""
    return [
        source.at(
            node, f"`from {module} import {taken}`: `import threading` and call threading.{taken}() when constructing"
        )
        for source in sources
        for node, module, taken in imports(source)
        if module in {"threading", "_thread"} and taken
    ]


def whole_config_in_rooms(sources: Iterable[Source]) -> list[str]:
    """The whole configuration named in a room that receives a block of it."""
    return [
        source.at(node, "the whole Config is named here: this room receives its own schema block only")
        for source in sources
        if room(source.name) in ROOMS_WITHOUT_WHOLE_CONFIG
        for node in ast.walk(source.tree)
        if (isinstance(node, ast.Attribute) and ast.unparse(node) == "schema.Config")
        or (isinstance(node, ast.ImportFrom) and any(alias.name == "Config" for alias in node.names))
    ]
