"""How long a backend keeps an idle connection, learned from what it does.

A request that is sent while the backend closes the connection is lost, or answered with a reset; so a connection is
given up a while before the backend would. Every server has its own patience (gunicorn: 2 s, uvicorn: 5, nginx: 75) and
few say so. The rule of the room: pure, told of ages and instants in seconds; it must not know streams.
"""

from __future__ import annotations

from math import inf

_SHORTEST = 0.25  # an earlier close is no patience that ran out: a last answer, a worker that is done
_TOGETHER = 0.1  # closes within so little time have one cause
_RISE = 1.05  # a late close raises the limit by so much: servers look around now and then (gunicorn gthread: 1 s)
_SPREAD = 0.25  # seconds, or of the age: connections that one timeout closes at once are of one age


def _safe(age: float) -> float:
    """Until when a connection that is closed at that age may be used."""
    return age - max(0.1 * age, 0.2)


class IdleLimit:
    """``seconds`` is the age at which an idle connection is no longer used; ``inf`` while nothing is known."""

    __slots__ = ("_before", "_seen_age", "_seen_at", "seconds")

    def __init__(self) -> None:
        self.seconds = inf
        self._before = inf  # what it was before the last close taught us
        self._seen_at = -inf
        self._seen_age = 0.0

    def __repr__(self) -> str:
        return f"<IdleLimit {self.seconds:.1f} s>"

    def closed(self, age: float, now: float) -> None:
        """The backend has closed a connection that had been idle for ``age`` seconds.

        Connections of different ages that are closed at once are a backend that stops: that teaches nothing.
        """
        together = now - self._seen_at < _TOGETHER
        self._seen_at, seen_age = now, self._seen_age
        if together and abs(age - seen_age) > max(_SPREAD, _SPREAD * seen_age):
            self.seconds = self._before
            return
        self._seen_age = age
        if together or age < _SHORTEST:
            return
        self._before = self.seconds
        self.seconds = min(_safe(age), self.seconds * _RISE)

    def still_open(self, age: float) -> None:
        """A connection was found open at that age: far beyond the limit, it shows that the limit is wrong."""
        if age > 2 * self.seconds:
            self.seconds = _safe(age)
