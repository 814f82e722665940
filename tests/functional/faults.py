"""Five real backends behind a real daemon under steady load, of which one (or all) goes wrong: what that costs whom.

``run_fault`` makes one fault, ends it, and tells in a ``Report`` what the clients saw, what reached the backends, and
how long both turns took. ``FAULTS`` says how each is made and what must hold; ``tests.soak.faults`` and
``test_faults.py`` only choose how long.
"""

from __future__ import annotations

import http.client
import itertools
import random
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import Start
from tests.functional.faulty_backend import Book
from tests.functional.network import Neighbour
from tests.functional.scene import FRONT, ROOT, Daemon, ask_on, kept, start_daemon
from tests.processes import Process, wait_until

PROGRAM = ROOT / "tests" / "functional" / "faulty_backend.py"
BACKENDS = 5
CLIENTS = 16
RATE = 10  # requests a second of each client, as long as it is not kept waiting
POSTS = 0.25  # the share of requests that are POSTs, as near as chance comes
BUDGET, BUDGET_RATE = 0.2, 3  # the default of retries.budget
WINDOW = 10  # seconds that it looks back
# Attempts beside the budget: where an idle connection was dead; from a bad backend to a good one while a pool panics.
UNCOUNTED = 2 * CLIENTS * BACKENDS
SLACK = 5.0  # seconds that a busy machine may add to a return
PATIENCE = 30.0  # seconds for any turn
WORD = re.compile(r"(http://\S+) is (healthy|unhealthy|no longer ejected|ejected)\b")

# What a careful user would write: checks at short intervals, timeouts, 5xx counted, everything else as it comes.
CONFIG = """\
pools:
  web:
    backends: [{addresses}]
    health_check: {{path: /healthz, interval: {interval}, timeout: 400ms, healthy_threshold: 2, unhealthy_threshold: 2}}
    outliers: {{consecutive_5xx: 5, base_ejection_time: {ejection}, max_ejection_time: {ejection}}}
    timeouts: {{connect: 500ms, first_byte: 1s, read: 2s}}
routes: [{{pool: web}}]
"""


@dataclass(frozen=True)
class Answered:
    """One request: when it began and ended, and how; ``problem`` is empty for a good answer of backend ``name``."""

    began: float
    ended: float
    method: str
    problem: str
    name: str = ""


class SteadyLoad:
    """Clients at a steady rate, each a thread with a connection that is kept while it is good."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._ending = threading.Event()
        self.done: list[Answered] = []
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(CLIENTS)]

    def __enter__(self) -> SteadyLoad:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def between(self, start: float, end: float) -> list[Answered]:
        """The requests that began then."""
        return [one for one in self.done if start <= one.began < end]

    def served_by(self, name: str, since: float) -> Answered | None:
        """The first good answer to what was asked since then, of this backend, or of any for an empty name."""
        return next(
            (one for one in self.done if one.began >= since and not one.problem and name in ("", one.name)), None
        )

    def _run(self, client: int) -> None:
        chance = random.Random(client)
        due = time.monotonic() + client / RATE / CLIENTS
        with kept(self._port) as connection:
            for number in itertools.count():
                if self._ending.wait(max(0.0, due - time.monotonic())):
                    return
                due = max(due + 1 / RATE, time.monotonic())
                self.done.append(
                    self._ask(connection, "POST" if chance.random() < POSTS else "GET", f"/{client}/{number}")
                )

    def _ask(self, connection: http.client.HTTPConnection, method: str, target: str) -> Answered:
        began, name, problem = time.monotonic(), "", ""
        try:
            answer = ask_on(connection, target, method, b"x" * 300 if method == "POST" else None)
            problem = "" if answer.status == 200 else str(answer.status)
            name = answer.body[:1].decode() if not problem else ""
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            problem = "cut" if isinstance(error, http.client.IncompleteRead) else type(error).__name__
        return Answered(began, time.monotonic(), method, problem, name)


class Server:
    """One backend's process, its book, and where it listens."""

    def __init__(self, start: Start, folder: Path, name: str, place: Neighbour | None = None) -> None:
        self.name = name
        self.place = place
        self._start = start
        self._path = folder / f"book-{name}"
        self.book = Book(self._path)
        self._at = f"{place.host if place else '127.0.0.1'}:0"
        self.launch()

    def launch(self) -> None:
        """Start it, where it was if it was."""
        prefix = self.place.prefix if self.place else []
        command = [*prefix, sys.executable, PROGRAM, self.name, self._at, self._path]
        self.process: Process = self._start(command, name=self.name)
        self.address = self.process.wait_for_line("listening on ").removeprefix("listening on ")
        self._at = self.address.removeprefix("http://")

    def kill(self) -> None:
        """SIGKILL."""
        self.process.stop(signal.SIGKILL)


class Site:
    """The backends, the last of which may be a neighbour's, their daemon, and its clients once they ask."""

    def __init__(
        self, start: Start, folder: Path, interval: float, ejection: float, place: Neighbour | None = None
    ) -> None:
        """``interval`` is between two checks, ``ejection`` the length of each, however often: both in seconds."""
        names = "abcde"[:BACKENDS]
        self.interval = interval
        self.servers = [Server(start, folder, name, place if name == names[-1] else None) for name in names]
        self.victim = self.servers[-1]
        addresses = ", ".join(f"'{server.address}'" for server in self.servers)
        text = CONFIG.format(addresses=addresses, interval=interval, ejection=ejection)
        self.daemon: Daemon = start_daemon(start, folder, FRONT + text)
        wait_until(self.all_in_rotation, PATIENCE, "every backend to be in rotation")

    def all_in_rotation(self) -> bool:
        """Whether, by the daemon's log, each backend is healthy and none is ejected."""
        state = {server.address: [False, True] for server in self.servers}
        for address, what in WORD.findall(self.daemon.process.output()):
            state[address][what.endswith("ejected")] = what in ("healthy", "no longer ejected")
        return all(healthy and kept for healthy, kept in state.values())


Act = Callable[[Site], None]


@dataclass(frozen=True)
class Fault:
    """How to make and how to end it, and what must hold.

    ``idempotent`` and ``posts`` are how many requests may fail for each time that a backend is put out of rotation;
    None: not counted.
    """

    name: str
    begin: Act
    end: Act
    idempotent: int | None = 0
    posts: int | None = 0
    noticed: bool = True  # the backend has to leave the rotation
    whole_pool: bool = False


@dataclass
class Report:
    """What one fault has cost."""

    fault: Fault
    seconds: float = 0.0  # from the fault's beginning until work has returned
    requests: int = 0
    posts: int = 0
    before: int = 0  # requests in the window before, on whose account retries may be made
    late: int = 0  # requests that failed though they began after the fault's end
    arrived: int = 0  # attempts that reached a backend
    shares: dict[str, float] = field(default_factory=dict)  # backend: what arrived, by its fair share of the requests
    failed: Counter[str] = field(default_factory=Counter)
    p50: float = 0.0  # seconds, of good answers
    p99: float = 0.0
    detected: float | None = None  # seconds until the log said that a backend is out of rotation
    turned: int = 0  # how often one was put out of rotation
    healthy_interval: float = 0.0  # seconds that checks need to find a backend healthy
    returned: float = 0.0  # seconds from the fault's end to the first good answer of whoever failed

    HEAD = (
        f"{'fault':<13}{'requests':>9}{'posts':>7}{'att/req':>9}{'victim':>8}{'others':>8}{'p50 ms':>8}{'p99 ms':>8}"
        f"{'detect s':>10}{'outs':>6}{'return s':>10}  failed"
    )

    def __str__(self) -> str:
        victim, others = self.shares.get("e", 0.0), max(share for name, share in self.shares.items() if name != "e")
        detected = "-" if self.detected is None else f"{self.detected:.2f}"
        failed = ", ".join(f"{count} {kind}" for kind, count in sorted(self.failed.items())) or "none"
        return (
            f"{self.fault.name:<13}{self.requests:>9}{self.posts:>7}{self.arrived / max(1, self.requests):>9.3f}"
            f"{victim:>8.2f}{others:>8.2f}{self.p50 * 1000:>8.1f}{self.p99 * 1000:>8.1f}{detected:>10}{self.turned:>6}"
            f"{self.returned:>10.2f}  {failed}"
        )

    def broken(self) -> list[str]:
        """What did not hold."""
        fault, found = self.fault, []
        for kind, bound in (("GET", fault.idempotent), ("POST", fault.posts)):
            count = sum(many for what, many in self.failed.items() if what.startswith(kind))
            if bound is not None and count > bound * (self.turned + 1):
                found.append(f"{count} {kind}s failed, at most {bound} for each of {self.turned} + 1 turns may")
        most = self.requests + BUDGET * (self.requests + self.before) + BUDGET_RATE * WINDOW + UNCOUNTED
        if self.arrived > most:
            found.append(f"{self.arrived} attempts arrived for {self.requests} requests, at most {most:.0f} may")
        if fault.noticed and self.detected is None:
            found.append("no backend was put out of rotation")
        if fault.whole_pool and self.returned > self.healthy_interval + SLACK:
            found.append(f"work returned after {self.returned:.2f} s")
        if self.late:
            found.append(f"{self.late} requests failed that began after the fault's end")
        if self.requests < CLIENTS:
            found.append(f"there were {self.requests} requests only")
        return [f"{fault.name}: {what}" for what in found]


def run_fault(site: Site, load: SteadyLoad, fault: Fault, seconds: float) -> Report:
    """Make the fault for so many seconds, end it, and wait until work has returned."""
    wait_for_all(load, site)
    mark, before = site.daemon.mark, [server.book.requests for server in site.servers]
    began = time.monotonic()
    fault.begin(site)
    detected = None
    while (now := time.monotonic()) < began + seconds or (fault.noticed and not detected and now < began + PATIENCE):
        if not detected and outs(site.daemon.process.output()[mark:]):
            detected = time.monotonic() - began
        time.sleep(0.01)
    fault.end(site)
    ended = time.monotonic()
    name = "" if fault.whole_pool else site.victim.name
    first = wait_until(lambda: load.served_by(name, ended), PATIENCE, f"{fault.name}: work to return")
    wait_for_all(load, site)
    over = time.monotonic()
    arrived = [server.book.requests - old for server, old in zip(site.servers, before, strict=True)]
    asked = load.between(began, over)
    report = Report(fault, over - began, len(asked), sum(one.method == "POST" for one in asked))
    report.before, report.arrived = len(load.between(began - WINDOW, began)), sum(arrived)
    report.late = sum(bool(one.problem) for one in load.between(ended, over))
    fair = max(1, len(asked)) / BACKENDS
    report.shares = {server.name: count / fair for server, count in zip(site.servers, arrived, strict=True)}
    report.failed = Counter(f"{one.method} {one.problem}" for one in asked if one.problem)
    good = sorted(one.ended - one.began for one in asked if not one.problem) or [0.0]
    report.p50, report.p99 = good[len(good) // 2], good[int(len(good) * 0.99)]
    report.healthy_interval = 2 * 1.1 * site.interval
    report.detected, report.returned = detected, first.ended - ended
    report.turned = outs(site.daemon.process.output()[mark:])
    return report


def outs(log: str) -> int:
    """How often a backend was put out of rotation, in these lines."""
    return log.count(" is unhealthy: ") + log.count(" is ejected for ")


def wait_for_all(load: SteadyLoad, site: Site) -> None:
    """Until each backend is in rotation and gives good answers."""
    wait_until(site.all_in_rotation, PATIENCE, "every backend to be in rotation")
    since = time.monotonic()

    def all_answer() -> bool:
        return all(load.served_by(server.name, since) for server in site.servers)

    wait_until(all_answer, PATIENCE, "good answers of every backend")


def _set(fault: str) -> Act:
    def act(site: Site) -> None:
        site.victim.book.fault = fault

    return act


def _set_all(fault: str) -> Act:
    def act(site: Site) -> None:
        for server in site.servers:
            server.book.fault = fault

    return act


def _vanish(site: Site) -> None:
    assert site.victim.place is not None
    site.victim.place.vanish()


def _reappear(site: Site) -> None:
    assert site.victim.place is not None
    site.victim.place.reappear()


def _kill_all(site: Site) -> None:
    for server in site.servers:
        server.kill()


def _launch_all(site: Site) -> None:
    for server in site.servers:
        server.launch()


# What may fail: a POST that a backend has taken; five in a row before it is ejected, and what is under way then.
SOME = 5 + CLIENTS
ONE_FAULT = (
    Fault("kill", lambda site: site.victim.kill(), lambda site: site.victim.launch(), posts=SOME),
    Fault("reset", _set("reset"), _set("none"), posts=SOME),
    Fault("hang", _set("hang"), _set("none"), posts=SOME),
    Fault("500", _set("error"), _set("none"), idempotent=SOME, posts=SOME),
    Fault("500, check ok", _set("app_error"), _set("none"), idempotent=SOME, posts=SOME),
    Fault("cut mid-body", _set("cut"), _set("none"), idempotent=SOME, posts=SOME),
    Fault("slow tenfold", _set("slow"), _set("none"), noticed=False),
    Fault("flap", _set("flap"), _set("none"), posts=SOME),
)
VANISHED = Fault("SYNs dropped", _vanish, _reappear, posts=SOME)
WHOLE_POOL = (
    Fault("all reset", _set_all("reset"), _set_all("none"), None, None, whole_pool=True),
    Fault("all killed", _kill_all, _launch_all, None, None, whole_pool=True),
)
