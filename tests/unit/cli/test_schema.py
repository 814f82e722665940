"""``wsgiproxy schema``."""

from __future__ import annotations

import json

import pytest

from wsgiproxy.cli import main
from wsgiproxy.config.json_schema import json_schema


def test_it_prints_the_schema_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(json_schema()))
