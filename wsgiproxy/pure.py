"""Keeps the compiled parts out: ``WSGIPROXY_PURE=1`` in the environment imports nothing of ours but Python source.

The hot modules are compiled from the source that stands beside them, so both behave alike; this is how to compare them,
and how to debug. The package's ``__init__`` calls ``keep_compiled_parts_out`` before any of its modules is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader
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
