"""No two numbers of a segment share a word, and a segment that this code did not make is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgiproxy.errors import ScoreboardError
from wsgiproxy.scoreboard import layout as places
from wsgiproxy.scoreboard.layout import Layout, make_layout, read_header

LAYOUTS = st.builds(make_layout, st.integers(1, 6), st.integers(1, 40))


def header(layout: Layout, generation: int = 3, boot: int = 9) -> list[int]:
    """The first words of a segment."""
    words = [0] * places.HEADER_WORDS
    for place, word in layout.header(generation, boot).items():
        words[place] = word
    return words


@given(layout=LAYOUTS, generation=st.integers(1, 1 << 60), boot=st.integers(0, (1 << 63) - 1))
def test_what_a_header_says_is_read_again(layout: Layout, generation: int, boot: int) -> None:
    assert read_header(header(layout, generation, boot), layout.size, boot) == (layout, generation)


@given(layout=LAYOUTS)
def test_no_two_numbers_share_a_word(layout: Layout) -> None:
    found = list(range(places.HEADER_WORDS))
    for slot in range(layout.slots):
        found += range(layout.verdict(slot), layout.verdict(slot) + places.VERDICT_WORDS)
        found += range(layout.name(slot), layout.name(slot) + places.NAME_BYTES // places.WORD)
    for row in range(layout.rows):
        offset = layout.row_words * row
        found += range(layout.row(row), layout.row(row) + places.ROW_HEAD_WORDS)
        found += [layout.counter(name) + offset for name in places.COUNTERS]
        found += [layout.histogram + bucket + offset for bucket in range(places.BUCKETS)]
        found += [layout.column(kind) + slot + offset for kind in places.CELLS for slot in range(layout.slots)]
    assert len(found) == len(set(found))
    assert max(found) < layout.size // places.WORD


@given(layout=LAYOUTS)
def test_rows_share_no_cache_line(layout: Layout) -> None:
    assert layout.row_words % places.LINE == 0
    assert layout.first_row % places.LINE == 0


@given(layout=LAYOUTS)
def test_a_change_of_any_word_that_is_written_once_is_noticed(layout: Layout) -> None:
    for place in layout.header(3, 9):
        words = header(layout)
        words[place] += 1
        if place == places.H_GENERATION:
            assert read_header(words, layout.size, 9) == (layout, 4)
        else:
            with pytest.raises(ScoreboardError):
                read_header(words, layout.size, 9)


@pytest.mark.parametrize(
    ("place", "value", "what"),
    [
        (places.H_MAGIC, 0, "never finished"),
        (places.H_VERSION, 7, r"layout version 7, this wsgiproxy reads version 1"),
        (places.H_ROWS, 0, "0 rows and 5 slots: it is damaged"),
        (places.H_SIZE, 8, r"the scoreboard is \d+ bytes, its header says 8, 2 rows and 5 slots take \d+"),
        (places.H_BOOT, 1, "before this machine was started"),
        (places.H_BUCKETS, 1, "word 10 of the scoreboard's header is 1, not 104"),
    ],
)
def test_a_refusal_says_why(place: int, value: int, what: str) -> None:
    layout = make_layout(2, 5)
    words = header(layout)
    words[place] = value
    with pytest.raises(ScoreboardError, match=what):
        read_header(words, layout.size, 9)


@pytest.mark.parametrize(("rows", "slots"), [(0, 1), (1, 0), (places.MAX_ROWS + 1, 1), (1, places.MAX_SLOTS + 1)])
def test_sizes_have_limits(rows: int, slots: int) -> None:
    with pytest.raises(ValueError, match="a scoreboard has"):
        make_layout(rows, slots)


def test_rows_and_slots_that_are_not_there_have_no_place() -> None:
    layout = make_layout(2, 5)
    for call, number in ((layout.row, 2), (layout.row, -1), (layout.verdict, 5), (layout.name, -1)):
        with pytest.raises(IndexError):
            call(number)
