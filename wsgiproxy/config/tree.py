"""YAML text as a tree of nodes, each with its position: what the file says, before what it means.

Scalars keep their own text: ``off`` stays ``off`` and ``010`` stays ``010``, since only the schema knows what is meant.
Nodes are made from the parser's events, as small as can be: for a file of 10,000 routes PyYAML's own nodes and marks
cost four times as much, nearly all of it garbage collection. Nothing here knows the schema.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import yaml

from wsgiproxy.config.mistakes import KeyPath, Mistakes, key_text

MAX_DEPTH = 100  # blocks within blocks; the schema has 8
MAX_VALUES = 1_000_000  # with every alias followed; 10,000 routes have about 100,000
MERGE = "<<"  # https://yaml.org/type/merge.html

_Loader: type[yaml.CSafeLoader] | type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_YAML_TAG = "tag:yaml.org,2002:"
_TAGS = frozenset(
    {None, "!"} | {_YAML_TAG + name for name in ("str", "int", "float", "bool", "null", "timestamp", "seq", "map")}
)
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # YAML 1.1, 5.1
_INDEX = re.compile(r"\[([0-9]+)\]")


class Scalar:
    """A text, quoted in the file or not."""

    __slots__ = ("column", "line", "quoted", "text")

    def __init__(self, text: str, quoted: bool, line: int, column: int) -> None:
        self.text = text
        self.quoted = quoted
        self.line = line
        self.column = column

    @property
    def is_null(self) -> bool:
        """Whether nothing stands here."""
        return not self.quoted and self.text in _NULLS


class Sequence:
    """A list."""

    __slots__ = ("column", "items", "line")

    def __init__(self, line: int, column: int) -> None:
        self.items: list[Node] = []
        self.line = line
        self.column = column


class Mapping:
    """Keys and their values, one after the other, as they stand in the file: neither merged nor unique."""

    __slots__ = ("column", "line", "nodes")

    def __init__(self, line: int, column: int) -> None:
        self.nodes: list[Node] = []
        self.line = line
        self.column = column


Node = Scalar | Sequence | Mapping


class Position(NamedTuple):
    """A place in the file, from 1."""

    line: int
    column: int


class Entry(NamedTuple):
    """One key of a mapping, with its value."""

    key: Scalar
    value: Node


def parse(text: str, mistakes: Mistakes) -> Node | None:
    """The tree of a YAML text, None for an empty one; ``InvalidConfigError`` where it is not YAML that we read."""
    bad = _UNPRINTABLE.search(text)
    if bad:
        line_start = text.rfind("\n", 0, bad.start()) + 1
        where = Position(text.count("\n", 0, bad.start()) + 1, bad.start() - line_start + 1)
        mistakes.stop(where, f"not YAML: the character U+{ord(bad[0]):04X} must not stand here")
    try:
        return _Builder(mistakes).build(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = Position(mark.line + 1, mark.column + 1) if mark else Position(1, 1)
        mistakes.stop(where, _explain(error, text, where))


def _explain(error: yaml.MarkedYAMLError, text: str, where: Position) -> str:
    """What PyYAML says, and what it means where that is a common slip."""
    problem = f"not YAML: {error.problem}"
    if error.context:
        problem = f"{problem} {error.context}"
    lines = text.split("\n")
    line = lines[where.line - 1] if where.line <= len(lines) else ""
    if error.context == "while scanning an alias":
        return f'{problem}; a text that starts with "*" must stand in quotes, as in "*.example.org"'
    if line[where.column - 1 : where.column] == "\t":
        return f"{problem}; YAML is indented with spaces, not with tabs"
    return problem


class _Builder:
    """Puts the parser's events together."""

    def __init__(self, mistakes: Mistakes) -> None:
        self._mistakes = mistakes
        self._anchors: dict[str, Node] = {}
        self._open: list[tuple[Sequence | Mapping, str | None]] = []  # containers not closed yet, with their anchors

    def build(self, text: str) -> Node | None:
        """The tree of the one document of ``text``."""
        root: Node | None = None
        event: Any  # the stubs do not tell the kinds apart
        for event in yaml.parse(text, Loader=_Loader):
            kind = type(event)
            if kind is yaml.ScalarEvent:
                mark = event.start_mark
                node: Node = Scalar(event.value, not event.implicit[0], mark.line + 1, mark.column + 1)
                self._see(event, event.tag, node)
                if event.anchor:
                    self._anchors[event.anchor] = node
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                self._start(event, Mapping if kind is yaml.MappingStartEvent else Sequence)
                continue
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                node, anchor = self._open.pop()
                if anchor:
                    self._anchors[anchor] = node
            elif kind is yaml.AliasEvent:
                node = self._follow(event)
            else:
                if kind is yaml.DocumentStartEvent and root is not None:
                    self._mistakes.stop(_position(event), 'there must be one document only, and no second "---"')
                continue
            if self._open:
                parent = self._open[-1][0]
                (parent.items if isinstance(parent, Sequence) else parent.nodes).append(node)
            else:
                root = node
        return root

    def _start(self, event: Any, container: type[Sequence] | type[Mapping]) -> None:
        node = container(*_position(event))
        self._see(event, event.tag, node)
        if len(self._open) == MAX_DEPTH:
            self._mistakes.stop(node, f"too deep: at most {MAX_DEPTH} blocks may stand within each other")
        self._open.append((node, event.anchor))

    def _see(self, event: Any, tag: str | None, node: Node) -> None:
        if tag not in _TAGS:
            name = f"!!{tag.removeprefix(_YAML_TAG)}" if tag and tag.startswith(_YAML_TAG) else tag
            self._mistakes.add(node, None, f"the tag {name} is not supported: plain values only")

    def _follow(self, event: Any) -> Node:
        node: Node | None = self._anchors.get(event.anchor)
        if node is None:
            if any(anchor == event.anchor for _, anchor in self._open):
                problem = "stands within what it names"
            else:
                problem = 'names no anchor before it; a text that starts with "*" must stand in quotes'
            self._mistakes.stop(_position(event), f"the alias *{event.anchor} {problem}")
        return node


def _position(event: Any) -> Position:
    return Position(event.start_mark.line + 1, event.start_mark.column + 1)


class Walk:
    """A walk down a tree that merges ``<<``, refuses duplicate keys, and never takes too long.

    Aliases let a short file stand for a very long one; the walk gives up after ``MAX_VALUES`` values.
    """

    def __init__(self, mistakes: Mistakes) -> None:
        self._mistakes = mistakes
        self._left = MAX_VALUES

    def items(self, node: Sequence) -> list[Node]:
        """The items of a list."""
        self._count(node, len(node.items))
        return node.items

    def entries(self, node: Mapping, path: KeyPath, depth: int = 0) -> dict[str, Entry]:
        """The entries of a mapping by key; what ``<<`` merges comes last, and the mapping's own keys win.

        ``depth`` says how many merges lie around this one.
        """
        if depth > MAX_DEPTH:
            self._mistakes.stop(node, f"too deep: at most {MAX_DEPTH} merges may stand within each other")
        self._count(node, len(node.nodes))
        found: dict[str, Entry] = {}
        merged: list[Mapping] = []
        nodes = iter(node.nodes)
        for key, value in zip(nodes, nodes, strict=True):
            if type(key) is not Scalar:
                self._mistakes.add(key, path, "a key must be plain text")
            elif key.text in found:
                first = found[key.text].key.line
                self._mistakes.add(key, path, f'duplicate key "{key.text}", first on line {first}')
            elif key.text == MERGE and not key.quoted:
                merged += self._mappings(value, path)
            else:
                found[key.text] = Entry(key, value)
        for mapping in merged:
            for text, entry in self.entries(mapping, path, depth + 1).items():
                found.setdefault(text, entry)
        return found

    def _mappings(self, value: Node, path: KeyPath) -> list[Mapping]:
        """What ``<<`` names: a mapping, or a list of some."""
        nodes = value.items if type(value) is Sequence else [value]
        mappings = [node for node in nodes if type(node) is Mapping]
        if len(mappings) < len(nodes):
            self._mistakes.add(value, path, '"<<" merges a mapping or a list of mappings, as in "<<: *defaults"')
        return mappings

    def _count(self, node: Node, values: int) -> None:
        self._left -= values + 1
        if self._left < 0:
            self._mistakes.stop(node, f"too large: more than {MAX_VALUES} values once every alias is followed")


def find(node: Node, path: str, walk: Walk) -> Node:
    """The value at a key path such as ``pools.web.backends[1]``, or what is nearest around it.

    A block that stands for a list of one, and a scalar that stands for a block, answer for what is in them.
    """
    if not path:
        return node
    if type(node) is Mapping:
        longest = ""
        for text in (entries := walk.entries(node, None)):
            part = key_text(text)[1:]
            if path.startswith(part) and path[len(part) : len(part) + 1] in ("", ".", "[") and len(text) > len(longest):
                longest = text
        if longest:
            return find(entries[longest].value, path[len(key_text(longest)) - 1 :].removeprefix("."), walk)
    index = _INDEX.match(path)
    if index is None:
        return node
    rest = path[index.end() :].removeprefix(".")
    if type(node) is not Sequence:
        return find(node, rest, walk) if index[1] == "0" else node
    items = walk.items(node)
    return find(items[int(index[1])], rest, walk) if int(index[1]) < len(items) else node
