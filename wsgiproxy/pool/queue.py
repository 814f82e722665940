"""Requests that wait because every backend has as much work as it may have: first come, first served.

The rule of the room: a place that becomes free is handed to who has waited longest before anybody else can see it;
that is decided under the roster's lock, and told outside it. Who waits when the pool gets a new generation is served by
that one: backends that were added because all were full are of use at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Generic, TypeVar

from wsgiproxy.pool.backend import Backend, Roster
from wsgiproxy.pool.wait import Wait
from wsgiproxy.upstream.messages import OnCancel

Place = TypeVar("Place")  # what is waited for: a lease
Take = Callable[[Collection[Backend], int | None, Backend | None], Place | None]  # ``Pool.take``


class Waiter(Generic[Place]):
    """A request in the queue, from its making, which is to be under the roster's lock, until ``leave``."""

    __slots__ = ("_place", "_roster", "_since", "_wait", "exclude", "key", "prefer", "take", "waited")

    def __init__(
        self,
        roster: Roster,
        take: Take[Place],
        exclude: Collection[Backend],
        key: int | None,
        prefer: Backend | None = None,
    ) -> None:
        self._roster = roster
        self.take = take
        self.exclude = exclude
        self.key = key
        self.prefer = prefer
        self.waited = 0.0  # seconds, once it is over
        self._place: Place | None = None
        self._wait = Wait(roster.driver)
        self._since = roster.clock()
        roster.waiting.append(self)

    def __repr__(self) -> str:
        return f"<Waiter since {self._since:.3f}{', served' if self._place is not None else ''}>"

    def wait(self, timeout: float, on_cancel: OnCancel | None) -> None:
        """Until there is a place, for at most ``timeout`` seconds; raises why the client's end ended it."""
        try:
            self._wait.run(timeout, on_cancel)
        finally:
            self.waited = self._roster.clock() - self._since

    def leave(self) -> Place | None:
        """The end of it in any case: the place, if there is one."""
        with self._roster.lock:
            if self._place is None:
                self._roster.waiting.remove(self)
        return self._place

    def serve(self) -> bool:
        """Whether there is a place for it now; called under the lock, and then it is to be woken outside."""
        self._place = self.take(self.exclude, self.key, self.prefer)
        return self._place is not None

    def wake(self) -> None:
        """Let it see that it has a place."""
        self._wait.end()


def serve(roster: Roster) -> None:
    """Hand out what is free: to be called, outside the lock, after whatever may have made a place."""
    if not roster.waiting:
        return
    with roster.lock:
        served = hand_out(roster)
    for waiter in served:
        waiter.wake()


def hand_out(roster: Roster) -> list[Waiter[object]]:
    """Give places to those who can have one, in their order; they are to be woken. Called under the lock.

    O(1) where nothing is free: only who cannot have every backend is passed over.
    """
    served = []
    waiting, index = roster.waiting, 0
    while index < len(waiting):
        waiter = waiting[index]
        if waiter.serve():
            del waiting[index]
            served.append(waiter)
        elif waiter.exclude:
            index += 1
        else:
            break
    return served
