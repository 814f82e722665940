"""How a simulated backend behaves, and when it begins to behave otherwise.

The rule of the room: pure; told of the time and given its chance. All times are seconds; instants are seconds since the
simulation began.
"""

from __future__ import annotations

import bisect
import random
from dataclasses import dataclass, field
from math import inf, log
from typing import ClassVar, Literal, NamedTuple

UnderWay = Literal["go on", "reset", "stand still"]


class Fate(NamedTuple):
    """What one attempt meets at a backend.

    ``connect`` is how long a connection takes (``inf``: it never comes), ``refused`` that it is then refused;
    ``head`` how long the backend works before it answers with ``status``, or resets the connection where it ``resets``;
    ``body`` how long the body, of ``size`` bytes, takes after the head, and ``cut`` that it ends half-way.
    """

    connect: float = 0.0
    refused: bool = False
    head: float = 0.0
    resets: bool = False
    status: int = 200
    body: float = 0.0
    size: int = 1000
    cut: bool = False


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """How a backend behaves for a while; a subclass says what becomes of attempts.

    ``well``: it is no trouble that a pool should find out about. ``under_way`` says what becomes of exchanges that are
    under way when it begins: they go on, are reset, or stand still until it ends. ``workers``: how many exchanges are
    worked on at a time, the others wait for their turn (None: all at once). ``fools_checks``: its health checks are
    answered as if it were well.
    """

    well: ClassVar[bool] = False
    under_way: ClassVar[UnderWay] = "go on"
    workers: int | None = None
    fools_checks: bool = False

    def fate(self, chance: random.Random) -> Fate:
        """What becomes of one attempt."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Answers(Behaviour):
    """Works: the time to the head is log-normally distributed, with that ``median`` and ``spread`` (its sigma).

    With a spread of 0.5 one in a hundred takes 3.2 times the median or longer; with 0 all take the same.
    """

    well: ClassVar[bool] = True
    median: float = 0.02
    spread: float = 0.5
    body: float = 0.0
    size: int = 1000
    status: int = 200

    def fate(self, chance: random.Random) -> Fate:
        """An answer."""
        head = chance.lognormvariate(log(self.median), self.spread) if self.spread else self.median
        return Fate(head=head, status=self.status, body=self.body, size=self.size)

    def slowed(self, times: float) -> Slow:
        """The same, so many times slower."""
        values = {name: getattr(self, name) for name in ("workers", "fools_checks", "spread", "size", "status")}
        return Slow(median=self.median * times, body=self.body * times, **values)


@dataclass(frozen=True, kw_only=True)
class Slow(Answers):
    """Works, but slower than it should: ten times than ``Answers`` unless told otherwise."""

    well: ClassVar[bool] = False
    median: float = 0.2


@dataclass(frozen=True, kw_only=True)
class Fails(Answers):
    """Answers with an error of its own, and quickly."""

    well: ClassVar[bool] = False
    median: float = 0.005
    status: int = 500


@dataclass(frozen=True, kw_only=True)
class Down(Behaviour):
    """The process was killed: what was under way is reset, new connections are refused."""

    under_way: ClassVar[UnderWay] = "reset"

    def fate(self, chance: random.Random) -> Fate:
        """A refusal."""
        return Fate(refused=True)


@dataclass(frozen=True, kw_only=True)
class Hangs(Behaviour):
    """The process was stopped: connections are made, by its kernel, but nothing is answered until this ends."""

    under_way: ClassVar[UnderWay] = "stand still"
    head: float = 0.02

    def fate(self, chance: random.Random) -> Fate:
        """An answer, were it not for the standstill."""
        return Fate(head=self.head)


@dataclass(frozen=True, kw_only=True)
class Unreachable(Behaviour):
    """The machine cannot be reached: SYNs are lost, and on connections that are open nothing comes any more."""

    under_way: ClassVar[UnderWay] = "stand still"

    def fate(self, chance: random.Random) -> Fate:
        """No connection."""
        return Fate(connect=inf)


@dataclass(frozen=True, kw_only=True)
class Resets(Behaviour):
    """Takes the request, works for ``head`` seconds and resets the connection."""

    head: float = 0.005

    def fate(self, chance: random.Random) -> Fate:
        """A reset."""
        return Fate(head=self.head, resets=True)


@dataclass(frozen=True, kw_only=True)
class Cuts(Answers):
    """Answers with a head, and closes the connection half-way through the body."""

    well: ClassVar[bool] = False

    def fate(self, chance: random.Random) -> Fate:
        """Half an answer."""
        return super().fate(chance)._replace(cut=True)


@dataclass(frozen=True, kw_only=True)
class Flaps(Behaviour):
    """Is ``down`` for ``period`` seconds, then ``up`` for as long, and so on."""

    down: Behaviour = field(default_factory=Down)
    up: Behaviour = field(default_factory=Answers)
    period: float = 1.0

    def now(self, since: float, at: float) -> tuple[Behaviour, float]:
        """What it is at an instant, and until when, where it began to flap at ``since``."""
        turn = int((at - since) / self.period)
        ends = since + (turn + 1) * self.period
        if ends <= at:  # what a float makes of it
            turn, ends = turn + 1, ends + self.period
        return (self.up if turn % 2 else self.down), ends


class Spell(NamedTuple):
    """A time of trouble in a script: from when to when (``inf``: for good), and the first behaviour in it."""

    begin: float
    end: float
    behaviour: Behaviour


class Script:
    """What a backend does when: ``usual`` until the first of the phases, each an instant and a behaviour."""

    def __init__(self, usual: Behaviour, *phases: tuple[float, Behaviour]) -> None:
        """``ValueError`` unless the phases are in the order of their instants."""
        self._phases = [(0.0, usual), *phases]
        self._instants = [at for at, _ in self._phases]
        if self._instants != sorted(self._instants):
            raise ValueError(f"the phases of a script must be in the order of time: {self._instants[1:]}")

    def at(self, instant: float) -> tuple[Behaviour, float]:
        """The behaviour at an instant, never ``Flaps``, and when the next one follows (``inf``: never)."""
        index = bisect.bisect_right(self._instants, instant) - 1
        since, behaviour = self._phases[index]
        ends = self._instants[index + 1] if index + 1 < len(self._instants) else inf
        if isinstance(behaviour, Flaps):
            behaviour, turns = behaviour.now(since, instant)
            ends = min(ends, turns)
        return behaviour, ends

    def finish(self, instant: float, seconds: float) -> tuple[float, bool]:
        """When work of so many seconds that begins at ``instant`` ends; and whether it ends in a reset."""
        behaviour, ends = self.at(instant)
        while True:
            if behaviour.under_way != "stand still":
                if instant + seconds <= ends:
                    return instant + seconds, False
                seconds -= ends - instant
            if ends == inf:
                return inf, False
            instant = ends
            behaviour, ends = self.at(instant)
            if behaviour.under_way == "reset":
                return instant, True

    def spells(self) -> list[Spell]:
        """The times in which it is not well; phases of trouble that follow one another are one."""
        spells: list[Spell] = []
        for index, (begin, behaviour) in enumerate(self._phases):
            end = self._instants[index + 1] if index + 1 < len(self._phases) else inf
            if behaviour.well or begin == end:
                continue
            if spells and spells[-1].end == begin:
                spells[-1] = spells[-1]._replace(end=end)
            else:
                spells.append(Spell(begin, end, behaviour))
        return spells


def restart(at: float, seconds: float, then: Behaviour) -> tuple[tuple[float, Behaviour], tuple[float, Behaviour]]:
    """The phases of a restart that takes so many seconds, for ``script(address, *restart(10, 2, Answers()))``."""
    return (at, Down()), (at + seconds, then)
