"""``python -m tests.fuzz.run TARGET [libFuzzer options]``: one target under atheris, until libFuzzer ends it."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["wsgiproxy.http1"]):
    pass

from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    target = TARGETS[sys.argv.pop(1)]
    atheris.enabled_hooks.add("RegEx")
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
