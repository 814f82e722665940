"""The operator's mistakes, collected while a file is read: each with its position and its key, once.

A key path is a chain ``(parent, part)`` while the file is walked, ``None`` for the file itself, and becomes text
(``pools.web.backends[1]``) only where a mistake is written down. Nothing here knows YAML or the schema.
"""

from __future__ import annotations

from typing import NoReturn, Protocol

from wsgiproxy.errors import ConfigError, InvalidConfigError

KeyPath = tuple["KeyPath", str | int] | None


class Positioned(Protocol):
    """Whatever stands somewhere in the file; ``line`` and ``column`` count from 1."""

    @property
    def line(self) -> int:
        """The line."""

    @property
    def column(self) -> int:
        """The column, in characters."""


def path_text(path: KeyPath) -> str:
    """``pools.web.backends[1]``; empty for the file itself."""
    parts: list[str] = []
    while path is not None:
        path, part = path
        parts.append(key_text(part))
    return "".join(reversed(parts)).removeprefix(".")


def key_text(part: str | int) -> str:
    """One part of a key path as text: ``.web`` or ``[1]``."""
    if isinstance(part, int):
        return f"[{part}]"
    return f".{part}" if part.isprintable() else f".{part!r}"


class Mistakes:
    """All that is wrong with one file. A block that many aliases use is reported once, under the first."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._found: dict[tuple[int, int, str], ConfigError] = {}

    def add(self, where: Positioned, path: KeyPath, problem: str) -> None:
        """Write down a mistake at ``where``, of the key ``path``."""
        error = ConfigError(problem, file=self.file, line=where.line, column=where.column, key=path_text(path))
        self._found.setdefault((where.line, where.column, problem), error)

    def stop(self, where: Positioned, problem: str) -> NoReturn:
        """Give up on the file because of one mistake that leaves nothing to be read."""
        error = ConfigError(problem, file=self.file, line=where.line, column=where.column)
        raise InvalidConfigError([error])

    def raise_any(self) -> None:
        """Raise ``InvalidConfigError`` with all mistakes in file order, if there are any."""
        if self._found:
            raise InvalidConfigError([self._found[at] for at in sorted(self._found)])

    def __len__(self) -> int:
        return len(self._found)
