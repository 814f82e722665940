"""Names have slots, for as long as the segment lives; those that are wanted go along to a larger one."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgiproxy.errors import ScoreboardError
from wsgiproxy.scoreboard.board import Sums, carry_names_over, fit_name, give_slots, grown, moves, slots_by_name
from wsgiproxy.scoreboard.layout import MAX_SLOTS, make_layout
from wsgiproxy.scoreboard.segment import attach, create_memory
from wsgiproxy.scoreboard.verdicts import Verdict, read_verdict, write_verdict

NAMES = st.lists(st.text(st.characters(codec="utf-8"), max_size=300), max_size=8)


@given(batches=st.lists(NAMES, max_size=4))
def test_each_name_has_one_slot_which_it_keeps(batches: list[list[str]]) -> None:
    with create_memory(make_layout(1, 40)) as segment:
        given_out: dict[str, int] = {}
        for batch in batches:
            for name, slot in zip(batch, give_slots(segment, batch), strict=True):
                assert given_out.setdefault(fit_name(name), slot) == slot
        assert slots_by_name(segment) == given_out
        assert sorted(given_out.values()) == list(range(len(given_out)))


def test_names_are_read_by_whoever_has_the_descriptor() -> None:
    with create_memory(make_layout(1, 4)) as segment:
        give_slots(segment, ["web http://10.0.0.1:80", "web unix:/run/\udcffé"])
        with attach(os.dup(segment.fd)) as other:
            assert slots_by_name(other) == {"web http://10.0.0.1:80": 0, "web unix:/run/\udcffé": 1}


def test_names_that_are_too_long_are_told_apart() -> None:
    long = "web http://" + "é" * 300
    assert fit_name("short") == "short"
    assert fit_name(long) != fit_name(long + "x")
    assert fit_name(fit_name(long)) == fit_name(long)
    with create_memory(make_layout(1, 4)) as segment:
        assert give_slots(segment, [long, long + "x", long]) == [0, 1, 0]
        assert all(len(name.encode()) <= 248 for name in slots_by_name(segment))


def test_where_slots_do_not_suffice_none_is_given() -> None:
    with create_memory(make_layout(1, 3)) as segment:
        give_slots(segment, ["a", "b"])
        with pytest.raises(ScoreboardError, match="2 names more than the 2 of 3 slots do not fit"):
            give_slots(segment, ["a", "c", "d"])
        assert slots_by_name(segment) == {"a": 0, "b": 1}


def test_the_next_generation_holds_what_is_wanted_and_its_verdicts() -> None:
    layout = make_layout(2, 3)
    with create_memory(layout) as old:
        give_slots(old, ["a", "b", "c"])
        write_verdict(old, 2, Verdict("unhealthy", "maint", 5.5, 0.0, 1))
        names = ["c", "new", "a"]
        with create_memory(grown(layout, len(names)), old.generation + 1) as new:
            assert carry_names_over(old, new, names) == [0, 1, 2]
            assert moves(old, new) == {0: 2, 2: 0}
            assert read_verdict(new, 0) == Verdict("unhealthy", "maint", 5.5, 0.0, 1)
            assert read_verdict(new, 1) is read_verdict(new, 2) is None


def test_growth_leaves_room_and_ends_somewhere() -> None:
    layout = make_layout(7, 3)
    assert grown(layout, 4) == make_layout(7, 64)
    assert grown(layout, 1000) == make_layout(7, 2000)
    assert grown(layout, MAX_SLOTS) == make_layout(7, MAX_SLOTS)
    with pytest.raises(ScoreboardError, match="more than a scoreboard can hold"):
        grown(layout, MAX_SLOTS + 1)


def test_sums_of_slots_that_are_not_there_are_refused() -> None:
    with create_memory(make_layout(1, 3)) as segment:
        assert list(Sums(segment, "requests", [2, 0, 2]).all()) == [0, 0, 0]
        with pytest.raises(IndexError):
            Sums(segment, "requests", [3])
