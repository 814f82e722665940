"""The YAML file, read whole: either frozen blocks, or every mistake in it with its place.

``tree`` reads the syntax, ``convert`` the meaning, ``mistakes`` collects; this module is their door. It starts nothing,
imports no application and resolves no name: what it says is right may still fail to run, and whoever finds out uses
``Loaded.error`` to say where in the file that comes from.
"""

from __future__ import annotations

import codecs
import os
from dataclasses import dataclass, field
from typing import NoReturn

from wsgiproxy.config import schema
from wsgiproxy.config.convert import convert
from wsgiproxy.config.mistakes import Mistakes
from wsgiproxy.config.tree import Walk, find, parse
from wsgiproxy.errors import ConfigError, InvalidConfigError

MAX_FILE_BYTES = 64 * 1024 * 1024  # a configuration of a million routes; what is longer is not a configuration


@dataclass(frozen=True, slots=True)
class Loaded:
    """A file without mistakes: its blocks, and where each of its keys stands."""

    config: schema.Config
    file: str
    _text: str = field(repr=False)

    def position(self, key_path: str) -> tuple[int, int]:
        """Line and column, from 1, of the value at a key path such as ``pools.web.backends[1]``.

        A key that the file leaves out has the place of the block around it. The file is not read again, but its text
        is parsed again: this is for the rare moment in which something is wrong.
        """
        mistakes = Mistakes(self.file)
        root = parse(self._text, mistakes)
        if root is None:
            return 1, 1
        node = find(root, key_path, Walk(mistakes))
        return node.line, node.column

    def error(self, key_path: str, problem: str) -> ConfigError:
        """The error that says ``problem`` about the value at a key path."""
        line, column = self.position(key_path)
        return ConfigError(problem, file=self.file, line=line, column=column, key=key_path)


def load(path: str | os.PathLike[str]) -> Loaded:
    """Read a file; ``InvalidConfigError`` with every mistake in it, or with why it cannot be read."""
    file = os.fspath(path)
    try:
        with open(file, "rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        _refuse(f"cannot be read: {(error.strerror or str(error)).lower()}", file)
    except ValueError as error:  # a path that no file can have
        _refuse(f"cannot be read: {error}", file)
    if len(data) > MAX_FILE_BYTES:
        _refuse(f"cannot be read: longer than {MAX_FILE_BYTES // 1024**2} MiB", file)
    try:
        text = data.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].removeprefix(codecs.BOM_UTF8)
        line_start = before.rfind(b"\n") + 1
        column = len(before[line_start:].decode(errors="replace")) + 1
        problem = f"not UTF-8 text: byte 0x{data[error.start]:02x}"
        raise InvalidConfigError(
            [ConfigError(problem, file=file, line=before.count(b"\n") + 1, column=column)]
        ) from error
    loaded = loads(text, file)
    if loaded.config == schema.Config():  # most likely an editor or a full disk was at work
        _refuse("is empty: without a route everything would be answered with 404", file)
    return loaded


def loads(text: str, file: str) -> Loaded:
    """Read a text as the contents of ``file``; ``InvalidConfigError`` with every mistake in it, in file order."""
    mistakes = Mistakes(file)
    config = convert(parse(text, mistakes), mistakes)
    mistakes.raise_any()
    return Loaded(config, file, text)


def _refuse(problem: str, file: str) -> NoReturn:
    raise InvalidConfigError([ConfigError(problem, file=file)])
