"""From nodes to blocks: the walk through the file, led by the schema's own type information.

Each type of the schema becomes one converter, made once per file; a converter takes a node and returns its value, or
writes down what is wrong and returns ``INVALID``, so that one walk finds every mistake. What the keys of one block mean
for each other is asked of ``config.contradictions``. Files and YAML syntax are not known here.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

import msgspec

from wsgiproxy.config import schema, values
from wsgiproxy.config.contradictions import contradictions
from wsgiproxy.config.kinds import Block
from wsgiproxy.config.mistakes import KeyPath, Mistakes
from wsgiproxy.config.tree import Entry, Mapping, Node, Scalar, Sequence, Walk, find

INVALID: Any = object()  # stands for a value that was refused; its mistake is written down already
MAX_SUGGESTIONS = 100  # mistakes in one file for which the right word is looked for, which takes time


def convert(root: Node | None, mistakes: Mistakes) -> schema.Config:
    """The whole file as blocks. What is wrong with it goes into ``mistakes``; the result counts only without any."""
    if root is None:
        return schema.Config()
    config: schema.Config = _Compiler(root, mistakes).block(schema.Config).convert(root, None)
    return config


class _Converter(Protocol):
    """Turns the nodes of one type into values."""

    @property
    def noun(self) -> str:
        """The type's name in messages."""

    def convert(self, node: Node, path: KeyPath) -> Any:
        """The value of a node, or ``INVALID``."""


class _Compiler:
    """Makes converters of types."""

    def __init__(self, root: Node, mistakes: Mistakes) -> None:
        self._root = root
        self._mistakes = mistakes
        self._walk = Walk(mistakes)
        self._blocks: dict[type[Block], _Block] = {}

    def block(self, cls: type[Block]) -> _Block:
        """The converter of a block; one for each class."""
        if cls not in self._blocks:
            self._blocks[cls] = converter = _Block(cls, self._mistakes, self._walk)
            for field in msgspec.inspect.type_info(cls).fields:  # type: ignore[attr-defined]
                converter.fields[field.name] = self._make(field.type, field.name.replace("_", " "), {})
                if field.required:
                    converter.required.append(field.name)
        return self._blocks[cls]

    def _make(self, kind: msgspec.inspect.Type, noun: str, extra: dict[str, Any]) -> _Converter:
        """The converter of a type; ``noun`` is what its key calls it, ``extra`` what ``Meta`` says about it."""
        match kind:
            case msgspec.inspect.Metadata():
                return self._make(kind.type, noun, {**extra, **(kind.extra or {})})
            case msgspec.inspect.UnionType():
                (inner,) = (part for part in kind.types if not isinstance(part, msgspec.inspect.NoneType))
                return _Optional(self._make(inner, noun, extra))
            case msgspec.inspect.StructType():
                return self.block(cast(type[Block], kind.cls))
            case msgspec.inspect.VarTupleType():
                return _List(
                    self._make(kind.item_type, noun, {}), noun, kind.min_length, extra, self._mistakes, self._walk
                )
            case msgspec.inspect.DictType():
                key, value = self._make(kind.key_type, "key", {}), self._make(kind.value_type, noun, {})
                return _Names(key, value, noun, self._mistakes, self._walk)
            case _:
                return self._scalar(kind, extra)

    def _scalar(self, kind: msgspec.inspect.Type, extra: dict[str, Any]) -> _Converter:
        read: values.Reader
        plain = False  # whether the value must stand without quotes
        if "kind" in extra:
            read, noun = values.reader(extra["kind"])
        elif "refers_to" in extra:
            read, noun = self._reference(extra["refers_to"]), "a name"
        elif isinstance(kind, msgspec.inspect.LiteralType):
            read, noun = values.choice(kind.values), "one of " + ", ".join(str(value) for value in kind.values)
        elif isinstance(kind, msgspec.inspect.BoolType):
            read, noun, plain = values.read_flag, "true or false", True
        elif isinstance(kind, msgspec.inspect.IntType):
            read, noun, plain = values.read_whole_number, "a whole number", True
        elif isinstance(kind, msgspec.inspect.FloatType):
            read, noun, plain = values.read_number, "a number", True
        else:
            read, noun = values.read_text, "text"
        if isinstance(kind, msgspec.inspect.IntType | msgspec.inspect.FloatType):
            read = values.bounded(read, ge=kind.ge, gt=kind.gt, le=kind.le)
        if isinstance(kind, msgspec.inspect.StrType) and kind.min_length:
            read = values.not_empty(read)
        return _Scalar(read, noun, plain, self._mistakes)

    def _reference(self, block: str) -> values.Reader:
        """The reader of a name that must stand under the top-level key ``block``."""
        names, mistakes = self._names(block), self._mistakes

        def read(text: str) -> str:
            if names is None or text in names:
                return text
            if not names:
                raise ValueError(f"unknown {block[:-1]} {values.quote(text)}; no {block} are defined")
            known = names if len(mistakes) < MAX_SUGGESTIONS else ()
            raise ValueError(values.unknown(block[:-1], text, known, f"the {block} are"))

        return read

    def _names(self, block: str) -> dict[str, Entry] | None:
        """The names under a top-level key; None where something else stands there, a mistake of its own."""
        if type(self._root) is not Mapping:
            return None
        entry = self._walk.entries(self._root, None).get(block)
        if entry is None or (type(entry.value) is Scalar and entry.value.is_null):
            return {}
        return self._walk.entries(entry.value, (None, block)) if type(entry.value) is Mapping else None


class _Scalar:
    """One text, and what it means."""

    def __init__(self, read: values.Reader, noun: str, plain: bool, mistakes: Mistakes) -> None:
        self.noun = noun
        self._read = read
        self._plain = plain
        self._mistakes = mistakes

    def convert(self, node: Node, path: KeyPath) -> Any:
        if type(node) is not Scalar or node.is_null or (self._plain and node.quoted):
            self._mistakes.add(node, path, f"expected {self.noun}, got {_describe(node)}")
            return INVALID
        try:
            return self._read(node.text)
        except ValueError as error:
            self._mistakes.add(node, path, str(error))
            return INVALID


class _Optional:
    """A value, or nothing."""

    def __init__(self, inner: _Converter) -> None:
        self.noun = inner.noun
        self._inner = inner

    def convert(self, node: Node, path: KeyPath) -> Any:
        return None if type(node) is Scalar and node.is_null else self._inner.convert(node, path)


class _List:
    """A list of one type; where ``one_or_many`` is set, one item may stand for a list of one."""

    def __init__(
        self, item: _Converter, noun: str, least: int | None, extra: dict[str, Any], mistakes: Mistakes, walk: Walk
    ) -> None:
        self.noun = f"a list of {noun}"
        self._item = item
        self._least = least or 0
        self._one_or_many: bool = extra.get("one_or_many", False)
        self._unique: str | None = extra.get("unique")
        self._mistakes = mistakes
        self._walk = walk

    def convert(self, node: Node, path: KeyPath) -> Any:
        if type(node) is Sequence:
            return self._convert_items(node, path)
        if type(node) is Scalar and node.is_null:
            if not self._least:
                return ()
        elif self._one_or_many:
            value = self._item.convert(node, path)
            return value if value is INVALID else (value,)
        self._mistakes.add(node, path, f"expected {self.noun}, got {_describe(node)}")
        return INVALID

    def _convert_items(self, node: Sequence, path: KeyPath) -> Any:
        if len(node.items) < self._least:
            self._mistakes.add(node, path, f"needs at least {self._least}, got an empty list")
            return INVALID
        found = []
        first_lines: dict[str, int] = {}  # of what must be unique
        valid = True
        for index, item in enumerate(self._walk.items(node)):
            item_path = (path, index)
            if type(item) is Scalar and item.is_null:
                self._mistakes.add(item, item_path, f"expected {self._item.noun}, got nothing")
                value = INVALID
            else:
                value = self._item.convert(item, item_path)
            if value is INVALID:
                valid = False
            elif self._unique and (identity := getattr(value, self._unique)):
                if identity in first_lines:
                    problem = (
                        f"duplicate {self._unique} {values.quote(identity)}, first on line {first_lines[identity]}"
                    )
                    self._mistakes.add(item, item_path, problem)
                first_lines.setdefault(identity, item.line)
            found.append(value)
        return tuple(found) if valid else INVALID


class _Names:
    """A mapping of names that the operator chooses."""

    def __init__(self, key: _Converter, value: _Converter, noun: str, mistakes: Mistakes, walk: Walk) -> None:
        self.noun = f"a mapping of {noun}"
        self._key = key
        self._value = value
        self._mistakes = mistakes
        self._walk = walk

    def convert(self, node: Node, path: KeyPath) -> Any:
        if type(node) is Scalar and node.is_null:
            return {}
        if type(node) is not Mapping:
            self._mistakes.add(node, path, f"expected {self.noun}, got {_describe(node)}")
            return INVALID
        found = {}
        valid = True
        for text, entry in self._walk.entries(node, path).items():
            key = self._key.convert(entry.key, path)
            value = self._value.convert(entry.value, (path, text))
            if key is INVALID or value is INVALID:
                valid = False
            else:
                found[key] = value
        return found if valid else INVALID


class _Block:
    """A block of keys that the schema knows."""

    def __init__(self, cls: type[Block], mistakes: Mistakes, walk: Walk) -> None:
        self.fields: dict[str, _Converter] = {}  # filled by the compiler: a block may hold blocks of its own kind
        self.required: list[str] = []
        self._cls = cls
        self._mistakes = mistakes
        self._walk = walk

    @property
    def noun(self) -> str:
        """Known once the fields are."""
        keys = ", ".join(self.fields)
        shorthand = self._cls.SHORTHAND
        return f"{self.fields[shorthand].noun}, or a block of {keys}" if shorthand else f"a block of {keys}"

    def convert(self, node: Node, path: KeyPath) -> Any:
        shorthand = self._cls.SHORTHAND
        if type(node) is Mapping:
            return self._convert_entries(node, path)
        if type(node) is Scalar and node.is_null:
            return self._convert_entries(Mapping(node.line, node.column), path)
        if type(node) is Scalar and shorthand:
            value = self.fields[shorthand].convert(node, path)
            return INVALID if value is INVALID else self._cls(**{shorthand: value})
        self._mistakes.add(node, path, f"expected {self.noun}, got {_describe(node)}")
        return INVALID

    def _convert_entries(self, node: Mapping, path: KeyPath) -> Any:
        found: dict[str, Any] = {}
        meant: set[str] = set()  # keys that were probably meant by unknown ones: they are not missing as well
        valid = True
        for text, entry in self._walk.entries(node, path).items():
            field = self.fields.get(text)
            if field is None:
                meant.add(self._refuse(entry.key, path))
                valid = False
                continue
            found[text] = value = field.convert(entry.value, (path, text))
            valid = valid and value is not INVALID
        for name in self.required:
            if name not in found and name not in meant:
                self._mistakes.add(node, path, f'missing key "{name}"')
                valid = False
        if not (self._has_the_right_number(node, path, found, meant) and valid):
            return INVALID
        block = self._cls(**found)
        for key, problem in contradictions(block):
            where = find(node, key, Walk(self._mistakes))
            self._mistakes.add(where, (path, key) if key else path, problem)
            valid = False
        return block if valid else INVALID

    def _refuse(self, key: Scalar, path: KeyPath) -> str:
        """Write down an unknown key; the key that was probably meant, or an empty text."""
        known = self.fields if len(self._mistakes) < MAX_SUGGESTIONS else ()
        self._mistakes.add(key, path, values.unknown("key", key.text, known, "the keys here are"))
        return values.suggest(key.text, known) or ""

    def _has_the_right_number(self, node: Node, path: KeyPath, found: dict[str, Any], meant: set[str]) -> bool:
        """Whether exactly one of some keys is given, and at most one of some others."""
        for keys, least in ((self._cls.EXACTLY_ONE, 1), (self._cls.AT_MOST_ONE, 0)):
            given = [key for key in keys if found.get(key) is not None or key in meant]
            if keys and not least <= len(given) <= 1:
                needed = "exactly one of {} is needed" if least else "at most one of {} may be given"
                are = f"{' and '.join(given)} are given" if given else "none is given"
                self._mistakes.add(node, path, f"{needed.format(', '.join(keys))}; {are}")
                return False
        return True


def _describe(node: Node) -> str:
    """What stands there, in words."""
    if type(node) is Scalar:
        return "nothing" if node.is_null else f"text {values.quote(node.text)}"
    return "a list" if type(node) is Sequence else "a mapping"
