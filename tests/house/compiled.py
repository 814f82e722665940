"""The compiled modules: one source for both ways to run, and nothing compiled that is older than its source.

A module is compiled from its ``.py``; a ``.pxd`` beside it says what its classes are made of, so every attribute stands
there as well as in ``__slots__``. The two are compared here.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

from tests.house.sources import Source

_CLASS = re.compile(r"cdef class (\w+)")
_ATTRIBUTE = re.compile(r"    cdef (?:public )?(?:(?:long long|\w+) )([\w, ]+)")


def declared(text: str) -> dict[str, set[str]]:
    """The attributes of each class of a ``.pxd``."""
    classes: dict[str, set[str]] = {}
    attributes: set[str] = set()
    for line in text.splitlines():
        if (head := _CLASS.match(line)) is not None:
            attributes = classes[head[1]] = set()
        elif (field := _ATTRIBUTE.fullmatch(line)) is not None:
            attributes.update(name.strip() for name in field[1].split(","))
    return classes


def slots(source: Source) -> dict[str, set[str]]:
    """The ``__slots__`` of each class that has some."""
    found: dict[str, set[str]] = {}
    for node in source.tree.body:
        for statement in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__slots__":
                names = ast.literal_eval(statement.value)
                found[node.name] = {names} if isinstance(names, str) else set(names)  # type: ignore[attr-defined]
    return found


def layouts_that_differ(sources: Iterable[Source], layouts: dict[str, str]) -> list[str]:
    """Classes whose ``.pxd`` (``layouts`` has the texts by path) and whose ``__slots__`` name other attributes."""
    found = []
    for source in sources:
        path = source.path.removesuffix(".py") + ".pxd"
        own = slots(source)
        for name, attributes in declared(layouts.get(path, "")).items():
            if name in own and (odd := sorted(attributes ^ own[name])):
                found.append(f"{path}:1: {name} differs from its __slots__ in {', '.join(odd)}")
    return found


def modules_built(root: Path) -> dict[str, str]:
    """The source of each module that pyproject.toml has compiled, by dotted name."""
    tools = tomllib.loads((root / "pyproject.toml").read_text())["tool"]
    return {module["name"]: module["sources"][0] for module in tools["setuptools"]["ext-modules"]}


def unbuilt_layouts(root: Path) -> list[str]:
    """``.pxd`` files of modules that are not compiled, and modules whose source is not there."""
    built = set(modules_built(root).values())
    found = [
        f"pyproject.toml: {path} is to be compiled but is not there" for path in built if not (root / path).exists()
    ]
    for layout in sorted((root / "wsgiproxy").rglob("*.pxd")):
        path = layout.relative_to(root).with_suffix(".py").as_posix()
        if path not in built:
            found.append(f"{path}: it has a .pxd, but is not compiled: add it to pyproject.toml")
    return found


def stale(root: Path) -> list[str]:
    """Compiled modules that are older than what they are made of: they would hide the source."""
    layouts = list((root / "wsgiproxy").rglob("*.px[di]"))
    found = []
    for library in sorted((root / "wsgiproxy").rglob("*.so")):
        own = library.with_name(library.name.split(".")[0])
        sources = [*layouts, *(path for path in (own.with_suffix(".py"), own.with_suffix(".pyx")) if path.exists())]
        if any(source.stat().st_mtime > library.stat().st_mtime for source in sources):
            found.append(library.relative_to(root).as_posix())
    return found
