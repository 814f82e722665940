"""The fuzz targets at their seeds, so that they work without atheris too."""

from __future__ import annotations

import pytest

from tests.fuzz.targets import TARGETS, seeds


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_finds_nothing_in_the_corpus(name: str) -> None:
    wire = seeds(name)
    assert len(wire) > 50
    for data in wire:
        TARGETS[name](data)
