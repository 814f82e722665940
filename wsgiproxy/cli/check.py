"""``wsgiproxy check CONFIG``: every mistake in the file, without serving it."""

from __future__ import annotations

import argparse

from wsgiproxy.runtime import Runtime, count_parts


def run(arguments: argparse.Namespace) -> int:
    """Say what the file holds, or raise ``InvalidConfigError`` with all that is wrong, applications included."""
    config = Runtime(arguments.config).config
    print(f"{arguments.config}: ok, {count_parts(config)}", flush=True)
    return 0
