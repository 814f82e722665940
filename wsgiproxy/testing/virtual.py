"""Time that passes only when nobody has anything to do: the driver of a simulation.

The rule of the room: tasks are greenlets, run strictly one at a time in the order of their instants, those of one
instant in the order in which they were called for; so whatever runs here runs the same way each time. No sockets, no
threads, and the machine's own clock is never looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from math import inf
from typing import Any, NoReturn

from greenlet import getcurrent, greenlet

BEGIN = 1000.0  # the first instant: above 0, which stands for "never" in many places

# What is to happen: its instant, its number among all, and what to ``switch()`` to; None once it is called off.
Entry = list[Any]


class VirtualTime:
    """A clock, tasks and events: a ``transport.stream.Driver`` without connections. Made and run in one greenlet."""

    name = "virtual"

    def __init__(self) -> None:
        self.now = BEGIN  # seconds
        self._agenda: list[Entry] = []
        self._number = 0
        self._hub = getcurrent()

    def __repr__(self) -> str:
        return f"<VirtualTime {self.elapsed:.3f} s, {len(self._agenda)} to come>"

    def clock(self) -> float:
        """The instant, in seconds, as ``time.monotonic`` would tell it."""
        return self.now

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return self.now - BEGIN

    def run(self, until: float = inf, goes_on: Callable[[], bool] = lambda: True) -> None:
        """Let time pass until that instant, until nothing is left to do, or for as long as it ``goes_on``.

        ``goes_on`` is asked after each step. What a task raises is raised here.
        """
        assert getcurrent() is self._hub, "a simulation is run where it was made"
        agenda = self._agenda
        while agenda and agenda[0][0] <= until:
            entry = heappop(agenda)
            target = entry[2]
            if target is None:
                continue
            entry[2] = None
            self.now = entry[0]
            target.switch()
            if not goes_on():
                return
        if until < inf:
            self.now = max(self.now, until)

    def start(self, function: Callable[[], object], at: float = 0.0) -> None:
        """Run ``function`` in a task of its own, from that instant on, at once where it has passed."""
        self._plan(max(at, self.now), greenlet(function, self._hub))

    def call_at(self, instant: float, function: Callable[[], object]) -> Callable[[], None]:
        """Call ``function``, which must not wait, at that instant; what is returned calls that off."""
        entry = self._plan(instant, _Call(function))

        def call_off() -> None:
            entry[2] = None

        return call_off

    def sleep(self, seconds: float) -> None:
        """Let other tasks run for so many seconds."""
        self._plan(self.now + seconds, getcurrent())
        self.pause()

    def pause(self) -> None:
        """Let other tasks run, until somebody switches back."""
        assert getcurrent() is not self._hub, "only a task may wait: start one"
        self._hub.switch()

    def _plan(self, instant: float, target: Any) -> Entry:
        self._number += 1
        entry = [instant, self._number, target]
        if instant < inf:
            heappush(self._agenda, entry)
        return entry

    # --- as a driver --------------------------------------------------------------------------------------------------

    def spawn(self, function: Callable[[], None], name: str) -> _Task:
        """Run ``function`` in the background, from now on."""
        task = _Task(self, function)
        self.start(task.run)
        return task

    def event(self) -> VirtualEvent:
        """A new flag."""
        return VirtualEvent(self)

    def connect_tcp(self, host: str, port: int, deadline: float) -> NoReturn:
        """There are no connections: a ``RuntimeError``."""
        raise RuntimeError(f"a simulation connects to nobody, not to {host}:{port} either")

    def connect_unix(self, path: str, deadline: float) -> NoReturn:
        """There are no connections: a ``RuntimeError``."""
        raise RuntimeError(f"a simulation connects to nobody, not to {path} either")


class VirtualEvent:
    """A flag to wait for, as ``threading.Event``."""

    __slots__ = ("_flag", "_time", "_waiting")

    def __init__(self, time: VirtualTime) -> None:
        self._time = time
        self._flag = False
        self._waiting: list[Entry] = []

    def __repr__(self) -> str:
        return f"<VirtualEvent {'set' if self._flag else f'{len(self._waiting)} waiting'}>"

    def set(self) -> None:
        """Raise the flag and wake whoever waits."""
        self._flag = True
        waiting, self._waiting = self._waiting, []
        for entry in waiting:
            task, entry[2] = entry[2], None
            if task is not None:  # else its time is over in this very instant
                self._time._plan(self._time.now, task)

    def is_set(self) -> bool:
        """Whether the flag is up."""
        return self._flag

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the flag for at most ``timeout`` seconds; whether it is up."""
        if self._flag or (timeout is not None and timeout <= 0):
            return self._flag
        time = self._time
        entry = time._plan(inf if timeout is None else time.now + timeout, getcurrent())
        self._waiting.append(entry)
        time.pause()
        if not self._flag:
            self._waiting.remove(entry)
        return self._flag


class _Task:
    """Work in the background."""

    __slots__ = ("_function", "_over")

    def __init__(self, time: VirtualTime, function: Callable[[], None]) -> None:
        self._function = function
        self._over = time.event()

    def run(self) -> None:
        try:
            self._function()
        finally:
            self._over.set()

    def join(self, timeout: float | None = None) -> None:
        self._over.wait(timeout)


class _Call:
    """A function in the place of a task."""

    __slots__ = ("switch",)

    def __init__(self, function: Callable[[], object]) -> None:
        self.switch = function
