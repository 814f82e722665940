"""Load, store, add and sum 64-bit words of a shared mapping: compiled where that was built, in Python elsewhere.

The rule of the room: words have numbers here and no meaning. Why nobody ever sees half a word:

* every word is aligned to 8 bytes, for a mapping begins on a page and words are counted from there. An aligned load or
  store of 8 bytes is one access and cannot be torn, on x86-64 (Intel SDM volume 3, "Guaranteed Atomic Operations")
  as on aarch64 (Arm ARM, "Requirements for single-copy atomicity"), whoever else is at it;
* compiled, they are ``__atomic_load_n`` with acquire and ``__atomic_store_n`` with release, which the compiler may not
  split; both are plain moves on x86-64, LDAR and STLR on aarch64. So what one process stores in an order, others see
  in that order;
* in Python, an item of ``memoryview.cast("q")`` is copied by a ``memcpy`` of a constant 8 bytes between a register's
  worth of C and the mapping, which compilers make one move. ``struct`` with an explicit byte order (``"<q"``) goes
  byte by byte and would tear: it must not be used on a mapping. Nothing orders two of Python's stores on aarch64, so
  what is read together carries a sum of its own (see ``verdicts``).

``add`` is a load and a store, no atomic operation: each word has one writing process. Threads of it do not lose one of
another's either, as long as there is a GIL: nothing between the two lets go of it (CPython 3.11 and later look for who
else wants it at jumps back and after calls only). ``WordCells`` is the pure form, ``Cells`` the one to use.
"""

from __future__ import annotations

from array import array
from mmap import mmap
from typing import TYPE_CHECKING


class WordCells:
    """The words of a mapping. ``IndexError`` beyond its ends, ``ValueError`` after ``release``, in every method."""

    __slots__ = ("_words",)

    def __init__(self, mapping: mmap | bytearray) -> None:
        """``mapping`` cannot be closed before ``release``; bytes behind the last whole word are not used."""
        with memoryview(mapping) as view:
            self._words = view[: len(view) // 8 * 8].cast("B").cast("q")

    def __len__(self) -> int:
        return len(self._words)

    def release(self) -> None:
        """Let go of the mapping. Idempotent."""
        self._words.release()

    def load(self, index: int) -> int:
        """A word."""
        if index < 0:
            raise IndexError(index)
        return self._words[index]

    def store(self, index: int, value: int) -> None:
        """Set a word."""
        if index < 0:
            raise IndexError(index)
        self._words[index] = value

    def add(self, index: int, by: int) -> None:
        """Change a word that only this process writes."""
        if index < 0:
            raise IndexError(index)
        self._words[index] += by

    def clear(self, first: int, count: int) -> None:
        """Set so many words to 0."""
        self._check(first, 0, 1, count)
        words = self._words
        for index in range(first, first + count):
            words[index] = 0

    def sum_one(self, first: int, stride: int, rows: int) -> int:
        """The sum of the words ``first``, ``first + stride``, ...: as many as there are ``rows``."""
        self._check(first, stride, rows, 1)
        words = self._words
        total = 0
        for index in range(first, first + stride * rows, stride):
            total += words[index]
        return total

    def sum_each(self, first: int, stride: int, rows: int, slots: array[int], into: array[int]) -> None:
        """For each of ``slots``, the sum as of ``sum_one`` from ``first`` + slot on, into the items of ``into``.

        ``slots`` and ``into`` are as long as one another, of type ``"q"``.
        """
        if len(slots) != len(into):
            raise ValueError("not as many sums as slots")
        self._check(first, stride, rows, 0)
        if not slots:
            return
        low, high = min(slots), max(slots)
        self._check(first + low, stride, rows, high - low + 1)
        columns = [
            self._words[start : start + high - low + 1].tolist()
            for start in range(first + low, first + low + stride * rows, stride)
        ]
        sums = list(map(sum, zip(*columns, strict=True))) or [0] * (high - low + 1)
        into[:] = array("q", [sums[slot - low] for slot in slots])

    def _check(self, first: int, stride: int, rows: int, width: int) -> None:
        count = len(self._words)
        if first < 0 or stride < (rows > 1) or rows < 0 or width < 0:
            raise IndexError(f"{rows} rows of {width} words from {first} on, {stride} apart")
        if rows and first + stride * (rows - 1) + width > count:
            raise IndexError(f"{rows} rows of {width} words from {first} on, {stride} apart, in {count}")


if TYPE_CHECKING:
    Cells = WordCells
else:
    try:
        from wsgiproxy.scoreboard._cells import Cells
    except ImportError:
        Cells = WordCells

__all__ = ["Cells", "WordCells"]
