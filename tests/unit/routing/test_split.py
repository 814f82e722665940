"""Who of several is drawn."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from wsgiproxy.routing.split import Split

PICKS = 100_000


@pytest.mark.parametrize("weights", [(9, 1), (1, 1), (99, 1, 0), (5, 3, 2), (1,), (0, 7), (1_000_000, 1)])
def test_weights_are_honoured_within_one_percent_of_the_requests(weights: tuple[int, ...]) -> None:
    split = Split(range(len(weights)), weights, random.Random(5).random)
    drawn = Counter(split.draw() for _ in range(PICKS))
    for part, weight in enumerate(weights):
        assert drawn[part] / PICKS == pytest.approx(weight / sum(weights), abs=0.01)
        assert weight or not drawn[part], "a part without weight is never drawn"


@pytest.mark.parametrize("weights", [(3, 1), (0, 1, 0), (1_000_000,) * 7, (1, 0)])
def test_every_chance_draws_a_part_that_has_a_weight(weights: tuple[int, ...]) -> None:
    for chance in (0.0, 5e-324, 0.5, 1 - 2**-53):
        split = Split(range(len(weights)), weights, lambda chance=chance: chance)  # type: ignore[misc]
        assert weights[split.draw()]
