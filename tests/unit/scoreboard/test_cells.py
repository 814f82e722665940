"""Words of a mapping: compiled and in Python, the same answers."""

from __future__ import annotations

import sys
import threading
from array import array
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgiproxy.scoreboard.cells import Cells, WordCells

FORMS = [pytest.param(WordCells, id="pure"), pytest.param(Cells, id="built")]
WORDS = st.integers(-(1 << 50), 1 << 50)


@pytest.fixture(params=FORMS)
def cells(request: pytest.FixtureRequest) -> Iterator[WordCells]:
    """Eight words."""
    made = request.param(bytearray(64))
    yield made
    made.release()


def test_what_is_stored_is_loaded_and_added_to(cells: WordCells) -> None:
    cells.store(7, -(1 << 63))
    cells.store(0, (1 << 63) - 1)
    cells.add(1, 5)
    cells.add(1, -7)
    assert [cells.load(index) for index in range(len(cells))] == [(1 << 63) - 1, -2, 0, 0, 0, 0, 0, -(1 << 63)]
    cells.clear(1, 7)
    assert cells.sum_one(0, 1, 8) == (1 << 63) - 1


@pytest.mark.parametrize("index", [-1, 8, 1 << 40])
def test_there_is_nothing_beyond_the_ends(cells: WordCells, index: int) -> None:
    for call in (cells.load, lambda at: cells.store(at, 1), lambda at: cells.add(at, 1), lambda at: cells.clear(at, 1)):
        with pytest.raises(IndexError):
            call(index)
    with pytest.raises(IndexError):
        cells.sum_one(index, 1, 1)
    with pytest.raises(IndexError):
        cells.sum_each(0, 1, 1, array("q", [index]), array("q", [0]))


@pytest.mark.parametrize("shape", [(0, 3, 4), (0, 0, 2), (0, -1, 2), (-1, 1, 1), (0, 1, -1), (0, 1 << 60, 1 << 60)])
def test_a_sum_that_would_leave_the_mapping_is_refused(cells: WordCells, shape: tuple[int, int, int]) -> None:
    with pytest.raises(IndexError):
        cells.sum_one(*shape)
    with pytest.raises(IndexError):
        cells.sum_each(*shape, array("q", [0]), array("q", [0]))


def test_after_release_there_are_no_words(cells: WordCells) -> None:
    cells.release()
    cells.release()
    calls = (lambda: cells.load(0), lambda: cells.store(0, 1), lambda: cells.add(0, 1), lambda: cells.sum_one(0, 1, 1))
    for call in calls:
        with pytest.raises(ValueError, match="released"):
            call()
    with pytest.raises(ValueError, match="released"):
        cells.sum_each(0, 1, 1, array("q", [0]), array("q", [0]))


def test_as_many_sums_as_slots(cells: WordCells) -> None:
    with pytest.raises(ValueError, match="as many"):
        cells.sum_each(0, 1, 1, array("q", [0, 1]), array("q", [0]))
    cells.sum_each(0, 1, 1, array("q"), array("q"))


@pytest.mark.parametrize("form", FORMS)
@given(data=st.data(), rows=st.integers(0, 4), width=st.integers(1, 9), words=st.lists(WORDS, min_size=45, max_size=45))
def test_sums_are_those_of_the_words(
    form: type[WordCells], data: st.DataObject, rows: int, width: int, words: list[int]
) -> None:
    first, stride = data.draw(st.integers(0, 9)), width
    cells = form(bytearray(array("q", words).tobytes()))
    slots = array("q", data.draw(st.lists(st.integers(0, width - 1), max_size=12)))
    sums = array("q", [77] * len(slots))
    cells.sum_each(first, stride, rows, slots, sums)
    wanted = [sum(words[first + stride * row + slot] for row in range(rows)) for slot in slots]
    assert list(sums) == wanted
    assert [cells.sum_one(first + slot, stride, rows) for slot in slots] == wanted


def test_threads_of_one_process_lose_nothing_of_one_another(cells: WordCells) -> None:
    def count() -> None:
        for _ in range(20_000):
            cells.add(3, 1)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert cells.load(3) == 80_000
