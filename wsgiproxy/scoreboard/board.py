"""What stands in which slot, and the sums over all processes.

The rule of the room: names are texts that mean nothing here (of a backend, its pool and address; of a pool, its name).
One process, control, hands out slots. A slot keeps its name for as long as its segment lives, so that nobody counts for
one what another did; when slots run out, the next generation has those names only that are still wanted.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Sequence
from hashlib import blake2b

from wsgiproxy.errors import ScoreboardError
from wsgiproxy.scoreboard.layout import (
    BUCKETS,
    COUNTERS,
    H_ROWS_USED,
    H_SLOTS_USED,
    MAX_SLOTS,
    NAME_BYTES,
    WORD,
    CellKind,
    Counter,
    Layout,
    make_layout,
)
from wsgiproxy.scoreboard.segment import Segment
from wsgiproxy.scoreboard.verdicts import read_verdict, write_verdict

_ROOM = NAME_BYTES - WORD  # bytes of a name
_MIN_SLOTS = 64


class Sums:
    """The sums over all processes of one kind of number, for some slots."""

    __slots__ = ("_before", "_cells", "_first", "_places", "_slots", "_stride", "_sums")

    def __init__(self, segment: Segment, kind: CellKind, slots: Sequence[int], old: Segment | None = None) -> None:
        """``slots`` in any order; the sums come in the same.

        ``old`` is the segment before this one, while processes still have rows there: their numbers are added. One that
        moves at this moment may be counted twice, none is missed.
        """
        for slot in slots:
            segment.layout.check_slot(slot)
        self._cells = segment.cells
        self._first = segment.layout.column(kind)
        self._stride = segment.layout.row_words
        self._slots = array("q", slots)
        self._sums = array("q", bytes(WORD * len(slots)))
        known = {} if old is None else {new: slot for slot, new in moves(old, segment).items()}
        self._places = [place for place, slot in enumerate(slots) if slot in known]
        self._before: Sums | None = None
        if old is not None:
            self._before = Sums(old, kind, [known[slots[place]] for place in self._places])

    def all(self) -> array[int]:
        """The sums as of now; the same array each time, filled anew."""
        # who moves fills its new row before it clears the old one: so the old ones must be read first
        before = None if self._before is None else self._before.all()
        self._cells.sum_each(self._first, self._stride, self._cells.load(H_ROWS_USED), self._slots, self._sums)
        if before is not None:
            for place, count in zip(self._places, before, strict=True):
                self._sums[place] += count
        return self._sums

    def one(self, place: int) -> int:
        """The sum of the slot that stands there in ``slots``, as of now."""
        before = 0
        if self._before is not None and place in self._places:
            before = self._before.one(self._places.index(place))
        first = self._first + self._slots[place]
        return before + self._cells.sum_one(first, self._stride, self._cells.load(H_ROWS_USED))


def counter_sums(segment: Segment) -> dict[Counter, int]:
    """Each counter, of all processes together."""
    return {name: _sum(segment, segment.layout.counter(name)) for name in COUNTERS}


def latency_sums(segment: Segment) -> list[int]:
    """The latency histogram of all processes together; see ``histogram`` for what its buckets are."""
    return [_sum(segment, segment.layout.histogram + bucket) for bucket in range(BUCKETS)]


def _sum(segment: Segment, first: int) -> int:
    return segment.cells.sum_one(first, segment.layout.row_words, segment.cells.load(H_ROWS_USED))


def slots_by_name(segment: Segment) -> dict[str, int]:
    """All names that have slots."""
    return {_read_name(segment, slot): slot for slot in range(segment.cells.load(H_SLOTS_USED))}


def give_slots(segment: Segment, names: Iterable[str]) -> list[int]:
    """The slots of these names, each its own, in their order; for one thread of the control process.

    ``ScoreboardError`` where there are too few: then nothing is changed, and ``grow`` is the answer.
    """
    wanted = [fit_name(name) for name in names]
    known = slots_by_name(segment)
    used = len(known)
    new = [name for name in dict.fromkeys(wanted) if name not in known]
    if used + len(new) > segment.layout.slots:
        raise ScoreboardError(f"{len(new)} names more than the {used} of {segment.layout.slots} slots do not fit")
    for slot, name in enumerate(new, used):
        _write_name(segment, slot, name)
        known[name] = slot
    segment.cells.store(H_SLOTS_USED, used + len(new))
    return [known[name] for name in wanted]


def grown(layout: Layout, names: int) -> Layout:
    """The layout of the generation after one of ``layout`` that is to hold so many names: with as many again free.

    ``ScoreboardError`` where even the largest cannot hold them.
    """
    if names > MAX_SLOTS:
        raise ScoreboardError(f"{names} names are more than a scoreboard can hold: {MAX_SLOTS}")
    return make_layout(layout.rows, min(MAX_SLOTS, max(_MIN_SLOTS, 2 * names)))


def carry_names_over(old: Segment, new: Segment, names: Iterable[str]) -> list[int]:
    """Give these names slots in an empty segment, with the verdicts that they had in the one before; their slots."""
    names = list(names)
    slots = give_slots(new, names)
    before = slots_by_name(old)
    for name, slot in zip(names, slots, strict=True):
        known = before.get(fit_name(name))
        verdict = None if known is None else read_verdict(old, known)
        if verdict is not None:
            write_verdict(new, slot, verdict)
    return slots


def moves(old: Segment, new: Segment) -> dict[int, int]:
    """For each slot of the old segment whose name has one in the new: that; for ``Row.carry_over``."""
    after = slots_by_name(new)
    return {slot: after[name] for name, slot in slots_by_name(old).items() if name in after}


def fit_name(name: str) -> str:
    """The name as it is stored: one that is too long keeps its beginning, and a hash of the whole."""
    raw = name.encode("utf-8", "surrogateescape")
    if len(raw) <= _ROOM:
        return name
    digest = blake2b(raw, digest_size=16).hexdigest()
    return raw[: _ROOM - 4 - len(digest)].decode("utf-8", "ignore") + "…#" + digest


def _write_name(segment: Segment, slot: int, name: str) -> None:
    at = segment.layout.name(slot)
    raw = name.encode("utf-8", "surrogateescape")
    padded = raw.ljust(_ROOM, b"\0")
    for place in range(0, _ROOM, WORD):
        word = int.from_bytes(padded[place : place + WORD], sys.byteorder, signed=True)
        segment.cells.store(at + 1 + place // WORD, word)
    segment.cells.store(at, len(raw))


def _read_name(segment: Segment, slot: int) -> str:
    at = segment.layout.name(slot)
    words = [segment.cells.load(place) for place in range(at + 1, at + NAME_BYTES // WORD)]
    raw = b"".join([word.to_bytes(WORD, sys.byteorder, signed=True) for word in words])
    return raw[: segment.cells.load(at)].decode("utf-8", "surrogateescape")
