"""What the rules of the house are checked on: one Python file, as text and as syntax tree.

A checker (the other modules here) takes ``Source``s and returns one line per violation, ``file:line: what is wrong and
what to do``. ``tests/test_house.py`` runs them over the tree, and over small wrong snippets to see that they can fail.
Nothing is imported or run.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from pathlib import Path

PACKAGE = "wsgiproxy"
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """One Python file: its path from the repository's root, its dotted name, its text and its syntax tree."""

    path: str
    text: str
    tree: ast.Module = field(repr=False)

    @classmethod
    def of(cls, path: str, text: str) -> Source:
        """Parse ``text`` as the file ``path``."""
        return cls(path, text, ast.parse(text, path))

    @property
    def name(self) -> str:
        """``wsgiproxy.http1.parser``; a package for its ``__init__.py``."""
        parts = self.path.removesuffix(".py").split("/")
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def at(self, node: ast.AST, problem: str) -> str:
        """One violation."""
        return f"{self.path}:{getattr(node, 'lineno', 1)}: {problem}"


def read(root: Path, folder: str) -> list[Source]:
    """Every Python file under ``root/folder``."""
    paths = sorted((root / folder).rglob("*.py"))
    return [Source.of(path.relative_to(root).as_posix(), path.read_text()) for path in paths]
