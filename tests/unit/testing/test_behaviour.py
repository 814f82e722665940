"""Scripts: what a backend does when, and what becomes of work that a change overtakes."""

from __future__ import annotations

import random
from math import inf

import pytest

from wsgiproxy.testing import Answers, Down, Fails, Flaps, Hangs, Script, Slow, restart
from wsgiproxy.testing.behaviour import Spell

UP, DOWN, HANGS = Answers(), Down(), Hangs()


def test_a_script_says_what_a_backend_does_and_until_when() -> None:
    script = Script(UP, (10, DOWN), (20, UP))
    assert [script.at(instant) for instant in (0, 9.9, 10, 20, 99)] == [
        (UP, 10), (UP, 10), (DOWN, 20), (UP, inf), (UP, inf)
    ]  # fmt: skip


def test_phases_must_be_in_the_order_of_time() -> None:
    with pytest.raises(ValueError, match="in the order of time"):
        Script(UP, (10, DOWN), (5, UP))


def test_who_flaps_is_down_and_up_by_turns() -> None:
    script = Script(UP, (10, Flaps(period=2.0)), (15, UP))
    assert [script.at(instant) for instant in (10, 11.9, 12, 14, 15)] == [
        (DOWN, 12), (DOWN, 12), (UP, 14), (DOWN, 15), (UP, inf)
    ]  # fmt: skip


def test_flapping_ends_at_no_rounding() -> None:
    script = Script(UP, (0.3, Flaps(period=0.1)), (50, UP))
    instant, seen = 0.3, [UP]
    while instant < 50:
        behaviour, ends = script.at(instant)
        assert ends > instant
        instant = ends
        if behaviour != seen[-1]:
            seen.append(behaviour)
    assert 496 <= len(seen) <= 499


@pytest.mark.parametrize(
    ("phases", "ends"),
    [
        (((10, Fails()),), (11.0, False)),  # what is under way goes on
        (((10, DOWN),), (10, True)),
        (((10, HANGS),), (inf, False)),
        (((10, HANGS), (20, UP)), (21.0, False)),  # stands still, and is done later
        (((10, HANGS), (20, DOWN)), (20, True)),
        (((10.5, Flaps()),), (10.5, True)),
    ],
)
def test_work_that_a_phase_overtakes(phases: tuple[tuple[float, Answers], ...], ends: tuple[float, bool]) -> None:
    assert Script(UP, *phases).finish(9.0, 2.0) == ends


def test_troubles_that_follow_one_another_are_one() -> None:
    script = Script(UP, (10, HANGS), (15, DOWN), (20, UP), (30, Slow()))
    assert script.spells() == [Spell(10, 20, HANGS), Spell(30, inf, Slow())]
    assert Script(UP, *restart(5, 2, UP)).spells() == [Spell(5, 7, DOWN)]


def test_latencies_have_the_median_and_the_spread_that_were_asked_for() -> None:
    chance = random.Random(1)
    heads = sorted(Answers(median=0.1, spread=0.5).fate(chance).head for _ in range(20_001))
    assert heads[10_000] == pytest.approx(0.1, rel=0.03)
    assert heads[19_800] == pytest.approx(0.32, rel=0.06)
    assert Answers(median=0.1, spread=0).fate(chance).head == 0.1


def test_who_is_slowed_stays_what_it_was_otherwise() -> None:
    slow = Answers(median=0.03, body=0.1, workers=4, status=204).slowed(10)
    assert (slow.median, slow.body, slow.workers, slow.status, slow.well) == (0.3, 1.0, 4, 204, False)
