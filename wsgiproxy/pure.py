"""Keeps the compiled parts out: ``WSGIPROXY_PURE=1`` in the environment imports nothing of ours but Python source.

The hot modules are compiled from the source that stands beside them, so both behave alike; this is how to compare them,
and how to debug. The package's ``__init__`` calls ``keep_compiled_parts_out`` before any of its modules is imported.
It does so, too, where only some of them were compiled (a compiler that was killed, a disk that was full): what is
compiled reaches into the others' objects by the layout in their ``.pxd``, which objects made from source do not have.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader
from types import ModuleType

_PACKAGE = "wsgiproxy."


class SourceFinder:
    """An importer (``sys.meta_path``) of our modules that knows source files only."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The spec of a module of ours; ``ImportError`` where there is no source of it; None for any other."""
        if path is None or not name.startswith(_PACKAGE):
            return None
        for folder in path:
            spec = FileFinder(folder, (SourceFileLoader, SOURCE_SUFFIXES)).find_spec(name, target)
            if spec is not None:
                return spec
        raise ModuleNotFoundError(f"{name} is not there, or only compiled, and kept out by WSGIPROXY_PURE", name=name)


def keep_compiled_parts_out() -> None:
    """From now on import our modules from source. Idempotent."""
    if SourceFinder not in sys.meta_path:
        sys.meta_path.insert(0, SourceFinder)


def keep_halves_out(root: str) -> None:
    """Import our modules from source if some of the package at ``root``, but not all that must be, are compiled."""
    layouts, compiled = set(), set()
    for folder, _, names in os.walk(root):
        for name in names:
            stem, dot, rest = name.partition(".")
            if rest == "pxd":
                layouts.add(f"{folder}/{stem}")
            elif dot + rest in EXTENSION_SUFFIXES:
                compiled.add(f"{folder}/{stem}")
    if compiled and not layouts <= compiled:
        keep_compiled_parts_out()
        missing = ", ".join(sorted(os.path.relpath(path, root) for path in layouts - compiled))
        warnings.warn(f"nothing compiled of wsgiproxy is used, for it lacks {missing}: install it again", stacklevel=2)
