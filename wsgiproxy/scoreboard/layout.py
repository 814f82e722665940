"""Where each number of a segment stands, and whether a segment is one that this code can read.

The rule of the room: pure arithmetic. A segment is a row of 64-bit words in the machine's own byte order, each of which
is loaded and stored whole (see ``cells``). It holds, one behind the other, each part beginning on a cache line::

    header     who made it, in what shape; then the few words that change
    verdicts   VERDICT_WORDS for each slot: what the control process says of it
    names      NAME_BYTES for each slot: what it stands for
    rows       one for each process: owner, counters, histogram, then for each kind of cell a word for each slot

So what one process writes shares no cache line with what another does, and the cells of one kind lie side by side, in
the order in which a sum over all slots reads them. Whatever changes the place or the meaning of a word changes
``VERSION``: a segment of another version is refused, and whoever finds it makes a new one.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from wsgiproxy.errors import ScoreboardError

WORD = 8  # bytes
LINE = 8  # words of a cache line (x86-64 and most of aarch64: 64 bytes)
MAGIC = int.from_bytes(b"wsgiprox", "big")  # in the machine's order: one of the other order does not match
VERSION = 1
MAX_ROWS = 1024  # processes: far more than there are cores, yet a damaged header cannot ask for terabytes
MAX_SLOTS = 1 << 20

# Header words that are written once
H_MAGIC, H_VERSION, H_SIZE, H_ROWS, H_SLOTS, H_GENERATION, H_BOOT = range(7)
H_CELLS, H_COUNTERS, H_BUCKETS, H_VERDICT_WORDS, H_NAME_BYTES, H_ROW_WORDS = range(8, 14)
# and those that change, on a cache line of their own; only the control process writes them, and who claims a row
H_SUCCESSOR = 16  # the generation of the segment that takes this one's place; 0: there is none
H_CHANGES = 17  # grows with each verdict: who has seen this number need not look at the verdicts again
H_SLOTS_USED = 18
H_ROWS_USED = 19  # rows beyond this number were never claimed
HEADER_WORDS = 24

# Words of a row before its counters
R_PID, R_STARTED = 0, 1  # pid 0: the row is free; started: clock ticks since boot, /proc/pid/stat
ROW_HEAD_WORDS = LINE

CellKind = Literal["in_flight", "waiting", "requests", "failures", "retries"]
CELLS: tuple[CellKind, ...] = ("in_flight", "waiting", "requests", "failures", "retries")

Counter = Literal[
    "connections", "tunnels", "requests", "retries", "hedges", "refused", "bytes_in", "bytes_out",
    "answers_1xx", "answers_2xx", "answers_3xx", "answers_4xx", "answers_5xx", "latency_us", "cuts", "queue_timeouts",
]  # fmt: skip
COUNTERS: tuple[Counter, ...] = (
    "connections", "tunnels", "requests", "retries", "hedges", "refused", "bytes_in", "bytes_out",
    "answers_1xx", "answers_2xx", "answers_3xx", "answers_4xx", "answers_5xx", "latency_us", "cuts", "queue_timeouts",
)  # fmt: skip

BUCKETS = 104  # of the latency histogram, see ``histogram``
VERDICT_WORDS = LINE
NAME_BYTES = 256  # of UTF-8 behind a word with their number, both together


def _lines(words: int) -> int:
    """Words, rounded up to whole cache lines."""
    return -(-words // LINE) * LINE


class Layout(NamedTuple):
    """The shape of one segment: how many processes and slots it has room for. All places are numbers of words."""

    rows: int
    slots: int

    @property
    def verdicts(self) -> int:
        """Where the verdicts begin."""
        return HEADER_WORDS

    @property
    def names(self) -> int:
        """Where the names begin."""
        return self.verdicts + VERDICT_WORDS * self.slots

    @property
    def first_row(self) -> int:
        """Where the first row begins."""
        return self.names + NAME_BYTES // WORD * self.slots

    @property
    def row_words(self) -> int:
        """The distance between two rows."""
        return ROW_HEAD_WORDS + _lines(len(COUNTERS)) + _lines(BUCKETS) + _lines(self.slots) * len(CELLS)

    @property
    def size(self) -> int:
        """Bytes of the whole segment."""
        return (self.first_row + self.row_words * self.rows) * WORD

    def row(self, row: int) -> int:
        """Where a row begins."""
        if not 0 <= row < self.rows:
            raise IndexError(f"row {row} of {self.rows}")
        return self.first_row + self.row_words * row

    def counter(self, name: Counter) -> int:
        """Where a counter stands in the first row."""
        return self.first_row + ROW_HEAD_WORDS + COUNTERS.index(name)

    @property
    def histogram(self) -> int:
        """Where the latency histogram begins in the first row."""
        return self.first_row + ROW_HEAD_WORDS + _lines(len(COUNTERS))

    def column(self, kind: CellKind) -> int:
        """Where the cells of a kind begin in the first row: slot 0; the other slots follow."""
        return self.histogram + _lines(BUCKETS) + _lines(self.slots) * CELLS.index(kind)

    def verdict(self, slot: int) -> int:
        """Where what is said of a slot begins."""
        self.check_slot(slot)
        return self.verdicts + VERDICT_WORDS * slot

    def name(self, slot: int) -> int:
        """Where the name of a slot begins."""
        self.check_slot(slot)
        return self.names + NAME_BYTES // WORD * slot

    def check_slot(self, slot: int) -> None:
        """``IndexError`` for a slot that is not there: its words would be another's."""
        if not 0 <= slot < self.slots:
            raise IndexError(f"slot {slot} of {self.slots}")

    def header(self, generation: int, boot: int) -> dict[int, int]:
        """The words of the header that are written once, by place; the magic last: before it, all is unfinished."""
        return {
            H_VERSION: VERSION,
            H_SIZE: self.size,
            H_ROWS: self.rows,
            H_SLOTS: self.slots,
            H_GENERATION: generation,
            H_BOOT: boot,
            H_CELLS: len(CELLS),
            H_COUNTERS: len(COUNTERS),
            H_BUCKETS: BUCKETS,
            H_VERDICT_WORDS: VERDICT_WORDS,
            H_NAME_BYTES: NAME_BYTES,
            H_ROW_WORDS: self.row_words,
            H_MAGIC: MAGIC,
        }


def make_layout(rows: int, slots: int) -> Layout:
    """The layout for so many processes and slots; ``ValueError`` beyond ``MAX_ROWS`` and ``MAX_SLOTS``."""
    if not 1 <= rows <= MAX_ROWS:
        raise ValueError(f"a scoreboard has 1 to {MAX_ROWS} rows, not {rows}")
    if not 1 <= slots <= MAX_SLOTS:
        raise ValueError(f"a scoreboard has 1 to {MAX_SLOTS} slots, not {slots}")
    return Layout(rows, slots)


def read_header(words: list[int], size: int, boot: int) -> tuple[Layout, int]:
    """The layout and the generation of a segment with these first ``HEADER_WORDS`` words and ``size`` bytes.

    ``boot`` says since which start of the machine its clock counts. ``ScoreboardError`` says what is wrong with one
    that was not made by this code, on this machine, since then.
    """
    if words[H_MAGIC] != MAGIC:
        raise ScoreboardError("this is no scoreboard of wsgiproxy, or one that was never finished")
    if words[H_VERSION] != VERSION:
        raise ScoreboardError(
            f"the scoreboard has layout version {words[H_VERSION]}, this wsgiproxy reads version {VERSION}: "
            "processes of both cannot share one"
        )
    if not (1 <= words[H_ROWS] <= MAX_ROWS and 1 <= words[H_SLOTS] <= MAX_SLOTS):
        raise ScoreboardError(f"the scoreboard claims {words[H_ROWS]} rows and {words[H_SLOTS]} slots: it is damaged")
    layout = Layout(words[H_ROWS], words[H_SLOTS])
    if not words[H_SIZE] == layout.size == size:
        raise ScoreboardError(
            f"the scoreboard is {size} bytes, its header says {words[H_SIZE]}, "
            f"{layout.rows} rows and {layout.slots} slots take {layout.size}"
        )
    if words[H_BOOT] != boot:
        raise ScoreboardError("the scoreboard was made before this machine was started: its instants mean nothing now")
    for place, word in layout.header(words[H_GENERATION], boot).items():
        if words[place] != word:
            raise ScoreboardError(f"word {place} of the scoreboard's header is {words[place]}, not {word}: other rows")
    return layout, words[H_GENERATION]
