"""What the control process says of each slot, read whole: the new verdict or the one before, never half of each.

The rule of the room: one process writes, all read. The words of a verdict stand behind a sequence number which is odd
while they are being written (a seqlock, as in the kernel's ``seqlock.h``), and before a sum over them and that number:
a reader that meets another number, or a wrong sum, looks again. The sum is for machines and interpreters that do not
keep the order of stores (see ``cells``), and for a writer that died half-way. Instants are of ``time.monotonic()``,
which is CLOCK_MONOTONIC, one clock for all processes of a machine; they are stored bit by bit, as C doubles.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Literal, NamedTuple

from wsgiproxy.scoreboard.layout import H_CHANGES, H_SLOTS_USED
from wsgiproxy.scoreboard.segment import Segment

Health = Literal["checking", "healthy", "draining", "unhealthy"]
AdminState = Literal["ready", "drain", "maint"]
HEALTHS: tuple[Health, ...] = ("checking", "healthy", "draining", "unhealthy")  # numbers in a segment: only add
ADMIN_STATES: tuple[AdminState, ...] = ("ready", "drain", "maint")

_TRIES = 64  # a writer that is stopped half-way may stay so for long: its readers go on with what they knew
_SEQUENCE, _WORDS, _SUM = 0, 1, 5
_MASK = 0xFFFF_FFFF_FFFF_FFFF


class Verdict(NamedTuple):
    """What is said of a slot. Instants in seconds; 0: it is not ejected, does not start slowly."""

    health: Health = "checking"
    admin_state: AdminState = "ready"
    ejected_until: float = 0.0
    ramp_from: float = 0.0  # when a slow start began
    flags: int = 0  # 63 bits for whoever writes


def write_verdict(segment: Segment, slot: int, verdict: Verdict) -> None:
    """Say this of a slot from now on; for one thread of one process. ``segment.changes`` grows."""
    cells, at = segment.cells, segment.layout.verdict(slot)
    words = _encode(verdict)
    busy = cells.load(at + _SEQUENCE) + 1 | 1  # also behind a number that a dead writer left odd
    cells.store(at + _SEQUENCE, busy)
    for place, word in enumerate(words, at + _WORDS):
        cells.store(place, word)
    cells.store(at + _SUM, _mix(busy + 1, words))
    cells.store(at + _SEQUENCE, busy + 1)
    cells.add(H_CHANGES, 1)


def read_verdict(segment: Segment, slot: int) -> Verdict | None:
    """What is said of a slot; None where nothing is, or nothing whole: a reader keeps what it knew.

    Look at ``segment.changes`` first: it grows again once a verdict that could not be read is whole.
    """
    cells, at = segment.cells, segment.layout.verdict(slot)
    for _ in range(_TRIES):
        before = cells.load(at + _SEQUENCE)
        if not before:
            return None
        words = [cells.load(place) for place in range(at + _WORDS, at + _SUM)]
        told = cells.load(at + _SUM)
        if not before & 1 and cells.load(at + _SEQUENCE) == before and told == _mix(before, words):
            return _decode(words)
    return None


class VerdictNews:
    """What one process has not seen yet. To ask costs one load while nothing has changed, else one for each slot."""

    __slots__ = ("_changes", "_seen", "_segment")

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._changes = 0
        self._seen: dict[int, int] = {}  # the sequence number of each slot's verdict

    def news(self) -> list[tuple[int, Verdict]]:
        """Slots with verdicts that were written since the last time, some perhaps once more; at first, all."""
        segment = self._segment
        changes = segment.changes  # before the verdicts: what changes meanwhile counts as news the next time
        if changes == self._changes:
            return []
        found = []
        for slot in range(segment.cells.load(H_SLOTS_USED)):
            sequence = segment.cells.load(segment.layout.verdict(slot) + _SEQUENCE)
            if sequence != self._seen.get(slot, 0):
                verdict = read_verdict(segment, slot)
                if verdict is not None:
                    self._seen[slot] = sequence
                    found.append((slot, verdict))
        self._changes = changes
        return found


def _encode(verdict: Verdict) -> list[int]:
    health, admin_state = HEALTHS.index(verdict.health), ADMIN_STATES.index(verdict.admin_state)
    instants = struct.unpack("=2q", struct.pack("=2d", verdict.ejected_until, verdict.ramp_from))
    return [health | admin_state << 8, *instants, verdict.flags]


def _decode(words: Sequence[int]) -> Verdict:
    ejected_until, ramp_from = struct.unpack("=2d", struct.pack("=2q", *words[1:3]))
    return Verdict(HEALTHS[words[0] & 0xFF], ADMIN_STATES[words[0] >> 8], ejected_until, ramp_from, words[3])


def _mix(sequence: int, words: Sequence[int]) -> int:
    """63 bits that tell these words apart from others, well enough for what never happens twice (FNV-1a's scheme)."""
    bits = sequence
    for word in words:
        bits = ((bits ^ word) * 0x9E37_79B9_7F4A_7C15) & _MASK
        bits ^= bits >> 29
    return bits >> 1
