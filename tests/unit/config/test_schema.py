"""The JSON Schema: what an editor is told agrees with what the loader takes."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from wsgiproxy.config import kinds, schema, values
from wsgiproxy.config.json_schema import json_schema


@pytest.fixture(name="document", scope="module")
def fixture_document() -> dict[str, Any]:
    return json_schema()


def test_the_schema_is_made_of_json_types_alone(document: dict[str, Any]) -> None:
    assert json.loads(json.dumps(document)) == document
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert document["title"]
    assert document["$ref"] == "#/$defs/Config"


def test_every_key_and_every_block_is_described(document: dict[str, Any]) -> None:
    for name, block in document["$defs"].items():
        assert block["description"], name
        properties = block.get("properties") or block["anyOf"][1]["properties"]
        for key, part in properties.items():
            assert part.get("description"), f"{name}.{key}"


def test_every_reference_names_a_block_that_is_there(document: dict[str, Any]) -> None:
    references = {
        part.removeprefix("#/$defs/") for part in json.dumps(document).split('"') if part.startswith("#/$defs/")
    }
    assert references == set(document["$defs"])


def test_a_block_with_a_shorthand_may_be_a_text(document: dict[str, Any]) -> None:
    short, long = document["$defs"]["Backend"]["anyOf"]
    assert short["type"] == "string"
    assert long["type"] == "object"
    assert long["required"] == ["address"]


def test_one_may_stand_for_many(document: dict[str, Any]) -> None:
    one, many = document["$defs"]["Match"]["properties"]["method"]["anyOf"]
    assert one["type"] == "string"
    assert many == {"type": "array", "items": one}


def test_durations_and_sizes_may_be_text_or_numbers(document: dict[str, Any]) -> None:
    connect = document["$defs"]["Timeouts"]["properties"]["connect"]
    assert connect["type"] == ["number", "string"]
    assert connect["pattern"] == kinds.DURATION_PATTERN
    header_bytes = document["$defs"]["Limits"]["properties"]["header_bytes"]
    assert header_bytes["type"] == ["integer", "string"]
    assert '"also"' not in json.dumps(document)


def test_exclusive_keys_are_exclusive_in_the_schema_too(document: dict[str, Any]) -> None:
    assert {"required": ["pool"]} in document["$defs"]["Route"]["oneOf"]
    assert document["$defs"]["Redirect"]["not"] == {"required": ["path", "path_prefix"]}


def kinds_in(part: Any) -> set[str]:
    """Every kind that the types below ``part`` name."""
    found = set()
    if isinstance(part, msgspec.inspect.Metadata):
        found = {part.extra["kind"]} if part.extra and "kind" in part.extra else set()
        found |= kinds_in(part.type)
    for name in ("types", "fields"):
        for inner in getattr(part, name, ()):
            found |= kinds_in(inner.type if name == "fields" else inner)
    for name in ("item_type", "key_type", "value_type"):
        found |= kinds_in(getattr(part, name, None)) if hasattr(part, name) else set()
    return found


def test_every_kind_of_the_schema_has_a_reader() -> None:
    named = kinds_in(msgspec.inspect.type_info(schema.Config))
    assert {kinds.DURATION, kinds.ADDRESS, kinds.HEADER_NAME, kinds.REGEX} <= named
    for kind in named:
        read, noun = values.reader(kind)
        assert callable(read)
        assert noun
