"""Verdicts come whole or not at all."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.scoreboard import hammer
from wsgiproxy.scoreboard.board import give_slots
from wsgiproxy.scoreboard.layout import make_layout
from wsgiproxy.scoreboard.segment import Segment, create_memory
from wsgiproxy.scoreboard.verdicts import ADMIN_STATES, HEALTHS, Verdict, VerdictNews, read_verdict, write_verdict

VERDICTS = st.builds(
    Verdict,
    st.sampled_from(HEALTHS),
    st.sampled_from(ADMIN_STATES),
    st.floats(allow_nan=False),
    st.floats(allow_nan=False),
    st.integers(-(1 << 63), (1 << 63) - 1),
)


@pytest.fixture(scope="module")
def segment() -> Iterator[Segment]:
    """One with three slots."""
    with create_memory(make_layout(2, 3)) as made:
        yield made


@given(verdicts=st.lists(st.tuples(st.integers(0, 1), VERDICTS), min_size=1, max_size=5))
def test_the_last_verdict_is_read_bit_by_bit(segment: Segment, verdicts: list[tuple[int, Verdict]]) -> None:
    for slot, verdict in verdicts:
        before = segment.changes
        write_verdict(segment, slot, verdict)
        assert segment.changes > before
    for slot, verdict in dict(verdicts).items():
        assert read_verdict(segment, slot) == verdict


def test_where_nothing_was_said_there_is_nothing(segment: Segment) -> None:
    assert read_verdict(segment, 2) is None
    with pytest.raises(IndexError):
        read_verdict(segment, 3)


def test_what_a_dead_writer_left_half_written_is_not_read_until_somebody_writes_again() -> None:
    with create_memory(make_layout(1, 1)) as segment:
        at = segment.layout.verdict(0)
        write_verdict(segment, 0, hammer.told(1))
        segment.cells.add(at, 1)
        assert read_verdict(segment, 0) is None
        write_verdict(segment, 0, hammer.told(2))
        assert read_verdict(segment, 0) == hammer.told(2)


@pytest.mark.parametrize("word", [1, 2, 3, 4, 5])
def test_words_that_do_not_belong_together_are_not_read(word: int) -> None:
    with create_memory(make_layout(1, 1)) as segment:
        write_verdict(segment, 0, hammer.told(1))
        segment.cells.add(segment.layout.verdict(0) + word, 1)
        assert read_verdict(segment, 0) is None


def test_a_reader_beside_a_busy_writer_meets_no_half_verdict() -> None:
    with create_memory(make_layout(1, 1)) as segment:
        process = hammer.start(segment, "judge", 0)
        try:
            seen = set()
            deadline = time.monotonic() + 20
            while len(seen) < 500 and time.monotonic() < deadline:
                verdict = read_verdict(segment, 0)
                if verdict is not None:
                    assert verdict == hammer.told(int(verdict.ejected_until))
                    seen.add(verdict)
            assert len(seen) >= 500
        finally:
            hammer.end(process)
        write_verdict(segment, 0, hammer.told(7))
        assert read_verdict(segment, 0) == hammer.told(7)


def test_news_are_what_was_written_since_the_last_time() -> None:
    with create_memory(make_layout(1, 3)) as segment:
        give_slots(segment, ["a", "b", "c"])
        news = VerdictNews(segment)
        assert news.news() == []
        for number in (1, 2):
            write_verdict(segment, 2, hammer.told(number))
        write_verdict(segment, 0, hammer.told(3))
        assert news.news() == [(0, hammer.told(3)), (2, hammer.told(2))]
        assert news.news() == []
        write_verdict(segment, 2, hammer.told(4))
        assert news.news() == [(2, hammer.told(4))]
        assert VerdictNews(segment).news() == [(0, hammer.told(3)), (2, hammer.told(4))]


def test_what_could_not_be_read_whole_is_news_once_it_is() -> None:
    with create_memory(make_layout(1, 1)) as segment:
        give_slots(segment, ["a"])
        news = VerdictNews(segment)
        write_verdict(segment, 0, hammer.told(1))
        segment.cells.add(segment.layout.verdict(0), 1)  # another has begun
        assert news.news() == []
        write_verdict(segment, 0, hammer.told(2))
        assert news.news() == [(0, hammer.told(2))]
