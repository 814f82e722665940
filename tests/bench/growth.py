"""How the cost of a request grows: with routes, backends, idle connections, header fields and body size.

The cost is one divided by the rate at saturation. A new axis is one line in ``AXES``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from tests.bench import machine
from tests.bench.backends import LARGE_BYTES, Running, start_backend
from tests.bench.memory import idle_connections
from tests.bench.peers import Peer, Site
from tests.bench.plot import Chart
from tests.bench.report import Verdict
from tests.bench.works import SMALL, Sample, Work, measure
from tests.processes import free_port

MOST_BACKENDS = 1000
PATHS = {120: "/", 16 * 1024: "/medium", 1 << 20: "/mega", LARGE_BYTES: "/large"}  # by the size of the answer


@dataclass(frozen=True)
class Step:
    """One point: what is asked, what the proxies are told, and how many clients only wait."""

    work: Work = SMALL
    routes: int = 0
    backends: int = 1
    idle: int = 0


@dataclass(frozen=True)
class Axis:
    """Something that grows; ``limit`` is the wanted most of the last cost to the first (issue 4), 0 for none."""

    name: str
    about: str
    points: tuple[int, ...]
    step: Callable[[int], Step]
    limit: float = 0


def _settings(**settings: int) -> Work:
    return replace(SMALL, settings=settings)


# fmt: off
AXES = (
    Axis("routes", "path prefixes, requests all over them", (10, 1000, 100_000),
         lambda n: Step(_settings(BENCH_ROUTES=n), routes=n), 1.1),
    Axis("backends", "in one pool, least connections", (2, 100, MOST_BACKENDS), lambda n: Step(backends=n), 1.2),
    Axis("idle", "other clients that have asked once and wait", (0, 1000, 10_000), lambda n: Step(idle=n)),
    Axis("fields", "header fields of a request", (5, 20, 80), lambda n: Step(_settings(BENCH_FIELDS=n))),
    Axis("body", "bytes of an answer, 16 connections", tuple(PATHS),
         lambda n: Step(replace(SMALL, path=PATHS[n], connections=16))),
)
# fmt: on


@dataclass(frozen=True)
class Growth:
    """Samples of one axis: ``samples[proxy][point][round]``."""

    axis: Axis
    samples: dict[str, dict[int, list[Sample]]]

    def relative(self, name: str, point: int) -> float:
        """The cost at ``point`` to the cost at the first: the median of the rounds; 0 where nothing was answered."""
        points = self.samples[name]
        pairs = zip(points[self.axis.points[0]], points[point], strict=True)
        return median([first.rate / here.rate if here.rate else 0.0 for first, here in pairs])

    def table(self) -> str:
        """A row for each point; for each proxy microseconds a request, and that to the first row's."""
        lines = [f"growth, {self.axis.name}: {self.axis.about}"]
        lines.append(" " * 12 + "".join(f"{name + ' us':>15}{'relative':>10}" for name in self.samples))
        for point in self.axis.points:
            row = f"{point:12,}"
            for name, points in self.samples.items():
                rate = median([sample.rate for sample in points[point]])
                row += f"{1e6 / rate if rate else 0:15,.1f}{self.relative(name, point):10.2f}"
            lines.append(row)
        return "\n".join(lines)

    def chart(self) -> Chart:
        """The relative costs for the plot."""
        values = {name: [self.relative(name, point) for point in self.axis.points] for name in self.samples}
        labels = [f"{point:,}" for point in self.axis.points]
        return Chart(self.axis.name, self.axis.about, "cost to the first", labels, values)

    def verdicts(self, name: str) -> list[Verdict]:
        """The limit for ``name``, where there is one."""
        if not self.axis.limit or name not in self.samples:
            return []
        first, last = self.axis.points[0], self.axis.points[-1]
        cost = self.relative(name, last)
        return [(f"{last:,} {self.axis.name}", f"of {first:,}", cost, self.axis.limit, 0 < cost <= self.axis.limit)]

    def errors(self) -> list[str]:
        """Everything that went wrong, one line each."""
        return [
            f"growth, {self.axis.name} {point}, {name}: {error}"
            for name, points in self.samples.items()
            for point, samples in points.items()
            for sample in samples
            for error in sample.errors
        ]

    def as_dict(self) -> dict[str, object]:
        """Everything as JSON takes it."""
        return {
            name: {str(point): [sample.as_dict() for sample in samples] for point, samples in points.items()}
            for name, points in self.samples.items()
        }


def grow(
    axes: Sequence[Axis], peers: Sequence[Peer], rounds: int, seconds: int, cores: machine.Cores, folder: Path
) -> list[Growth]:
    """Measure each axis with servers of its own. ``folder`` exists and is ours."""
    addresses = many_addresses(free_port()) if any(axis.name == "backends" for axis in axes) else one_address()
    home = folder / "backend"
    home.mkdir()
    backend = start_backend(home, cores.backend, addresses)
    with backend.process:
        return [grow_axis(axis, peers, addresses, rounds, seconds, cores, folder / axis.name) for axis in axes]


def one_address() -> list[str]:
    """A free port of 127.0.0.1."""
    return [f"127.0.0.1:{free_port()}"]


def many_addresses(port: int) -> list[str]:
    """The same port of 127.0.0.1 and of its neighbours, ``MOST_BACKENDS`` in all."""
    return [f"127.0.{number // 250}.{number % 250 + 1}:{port}" for number in range(MOST_BACKENDS)]


def grow_axis(
    axis: Axis,
    peers: Sequence[Peer],
    addresses: Sequence[str],
    rounds: int,
    seconds: int,
    cores: machine.Cores,
    folder: Path,
) -> Growth:
    """Every point of every proxy once a round, each round beginning with another one."""
    steps = {point: axis.step(point) for point in axis.points}
    samples: dict[str, dict[int, list[Sample]]] = {peer.name: {point: [] for point in steps} for peer in peers}
    with contextlib.ExitStack() as stack:
        proxies: dict[tuple[str, int, int], Running] = {}
        for peer in peers:
            for step in steps.values():
                key = (peer.name, step.routes, step.backends)
                if key not in proxies:
                    (home := folder / "-".join(map(str, key))).mkdir(parents=True)
                    site = Site(home, cores.proxy, tuple(addresses[: step.backends]), 9, step.routes)  # 9: no sink
                    proxies[key] = peer.start(site)
                    stack.enter_context(proxies[key].process)
        turns = [(peer.name, point, step) for point, step in steps.items() for peer in peers]
        for number in range(rounds):
            first = number % len(turns)
            for name, point, step in (*turns[first:], *turns[:first]):
                proxy = proxies[name, step.routes, step.backends]
                with idle_connections(proxy.port, step.idle):
                    sample = measure(step.work, proxy, seconds, cores.load)
                samples[name][point].append(sample)
                print(
                    f"  {axis.name} {point} {number + 1}/{rounds} {name:10} {sample.rate:10,.0f} requests/s", flush=True
                )
    print()
    return Growth(axis, samples)
