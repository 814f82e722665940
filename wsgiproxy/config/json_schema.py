"""The JSON Schema of the YAML file, made from the schema's own type information, for editors."""

from __future__ import annotations

from typing import Any

import msgspec

from wsgiproxy.config.kinds import Block
from wsgiproxy.config.schema import Config


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the YAML file, with descriptions, for editors. Made of JSON types alone."""
    schema = msgspec.json.schema(Config)
    blocks: dict[str, type[Block]] = {block.__name__: block for block in Block.__subclasses__()}
    definitions = {name: _block_schema(blocks[name], part) for name, part in schema["$defs"].items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The configuration of wsgiproxy",
        "$ref": schema["$ref"],
        "$defs": _with_other_types(definitions),
    }


def _block_schema(block: type[Block], part: dict[str, Any]) -> dict[str, Any]:
    """msgspec's schema of one block, and what only the loader knows: shorthands, one or many, exclusive keys."""
    for field in msgspec.inspect.type_info(block).fields:  # type: ignore[attr-defined]
        extra = field.type.extra if isinstance(field.type, msgspec.inspect.Metadata) else None
        if extra and extra.get("one_or_many"):
            many = part["properties"][field.name]
            about = {key: many.pop(key) for key in ("description", "default") if key in many}
            part["properties"][field.name] = {**about, "anyOf": [many["items"], many]}
    if block.EXACTLY_ONE:
        part["oneOf"] = [{"required": [key]} for key in block.EXACTLY_ONE]
    if block.AT_MOST_ONE:
        part["not"] = {"required": list(block.AT_MOST_ONE)}
    if block.SHORTHAND is None:
        return part
    about = {"title": part.pop("title"), "description": part.pop("description")}
    short = dict(part["properties"][block.SHORTHAND])
    short.pop("default", None)
    return {**about, "anyOf": [short, part]}


def _with_other_types(part: Any) -> Any:
    """A copy of a schema, of JSON types, in which every ``also`` (see ``_kind``) has become a choice of types."""
    if isinstance(part, list | tuple):
        return [_with_other_types(item) for item in part]
    if not isinstance(part, dict):
        return part
    copy = {key: _with_other_types(value) for key, value in part.items()}
    also = copy.pop("also", None)
    return copy if also is None else {**copy, "type": [copy["type"], *also]}
