"""``wsgiproxy schema``: the JSON Schema of the YAML file, on standard output."""

from __future__ import annotations

import argparse
import json

from wsgiproxy.config.json_schema import json_schema


def run(arguments: argparse.Namespace) -> int:
    """Print the schema, to be named in an editor's settings or the file's first line."""
    print(json.dumps(json_schema(), indent=2, ensure_ascii=False), flush=True)
    return 0
