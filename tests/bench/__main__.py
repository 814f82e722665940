"""``python -m tests.bench``: wsgiproxy beside nginx and HAProxy, on one core, in the same run. See README.md here."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

from tests.bench import machine
from tests.bench.backends import DIRECT, Running, start_backend, start_sink
from tests.bench.growth import AXES, Growth, grow, one_address
from tests.bench.memory import Weights, weigh
from tests.bench.peers import OURS, PEERS, Peer, Site
from tests.bench.plot import svg
from tests.bench.report import Results, verdict_table
from tests.bench.works import SMALL, WORKS, Sample, Work, measure

NONE = "none"  # as an option's value
FAILED, UNABLE = 1, 2  # exit statuses: something went wrong while measuring; a tool or an option is missing


def main(argv: Sequence[str] | None = None) -> int:
    """Run the bench; the exit status."""
    options = parse(argv)
    tools = {"nginx", "wrk", "taskset"} | {peer.tool for peer in options.only if peer.tool}
    missing = machine.missing_tools(tools)
    if missing:
        print("\n".join(missing), file=sys.stderr)
        return UNABLE
    cores = machine.Cores.of(sorted(os.sched_getaffinity(0)))
    about = machine.description()
    print(f"{about}\n{cores}\n{options.rounds} rounds of {options.seconds} s each\n", flush=True)
    machine.raise_open_files()
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM)
    )  # so that everything is stopped and removed
    try:
        found = run(options, cores)
    except AssertionError as error:  # a server did not start; the message holds its output
        print(error, file=sys.stderr)
        return FAILED
    return show(found, options, f"{about}; {cores}")


@dataclass(frozen=True)
class Found:
    """Everything that one run has measured."""

    works: list[Results]
    weights: list[Weights]  # one, or none
    growths: list[Growth]


def show(found: Found, options: argparse.Namespace, about: str) -> int:
    """Print the tables and write the files; the exit status."""
    peers = [peer.name for peer in options.only if peer.name != OURS]
    tables = [result.table(peers) for result in found.works]
    tables += [weights.table() for weights in found.weights] + [growth.table() for growth in found.growths]
    parts: list[Results | Weights | Growth] = [*found.works, *found.weights, *found.growths]
    verdicts = [row for part in parts for row in part.verdicts(OURS)]
    tables += [verdict_table(verdicts)] if verdicts else []
    print("\n\n".join(tables), end="\n\n")
    if options.json:
        document: dict[str, object] = {"about": about, "seconds": options.seconds}
        document["works"] = {result.work.name: result.as_dict(peers) for result in found.works}
        document["memory"] = [asdict(weights) for weights in found.weights]
        document["growth"] = {growth.axis.name: growth.as_dict() for growth in found.growths}
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    if options.plot:
        options.plot.write_text(svg([part.chart() for part in parts], about))
    errors = [error for result in found.works for error in result.errors()]
    errors += [error for growth in found.growths for error in growth.errors()]
    print("\n".join(errors) or "no errors", file=sys.stderr if errors else sys.stdout)
    return FAILED if errors else 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options; exits with ``UNABLE`` on a wrong one."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=positive, default=5, help="runs of each proxy and work (5)")
    parser.add_argument("--seconds", type=positive, default=3, help="seconds of one run (3)")
    works, peers, axes = (",".join(thing.name for thing in things) for things in (WORKS, PEERS, AXES))
    parser.add_argument("--work", default=works, help=f"any of {works} (all), or none")
    parser.add_argument("--only", default=peers, help=f"any of {peers} (all)")
    parser.add_argument("--idle", type=int, default=1000, help="connections to weigh, 0 for none (1000)")
    parser.add_argument("--growth", nargs="?", const=axes, default=NONE, help=f"any of {axes} (all, where it is given)")
    parser.add_argument("--json", type=Path, help="write every sample to this file")
    parser.add_argument("--plot", type=Path, help="draw the tables into this file, as SVG")
    options = parser.parse_args(argv)
    for path in (options.json, options.plot):
        if path and not path.absolute().parent.is_dir():
            parser.error(f"{path}: there is no such folder")
    for key, things in (("work", WORKS), ("only", PEERS), ("growth", AXES)):
        names = {name for name in getattr(options, key).split(",") if name != NONE}
        known = [thing.name for thing in things]
        if names - set(known):
            parser.error(f"--{key}: {', '.join(sorted(names - set(known)))}: choose from {', '.join(known)}")
        setattr(options, key, [thing for thing in things if thing.name in names])
    return options


def positive(text: str) -> int:
    """A whole number from 1."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def run(options: argparse.Namespace, cores: machine.Cores) -> Found:
    """Start everything, measure in turn, stop and remove everything. Memory and growth get servers of their own."""
    found = Found([], [], [])
    if options.work:
        with workshop() as (folder, stack):
            targets = start_all(folder, options.only, cores, stack)
            for work in options.work:
                rate = half_of_peak(found.works, targets, options.seconds, cores) if work.drive == "paced" else 0.0
                found.works.append(measure_all(work, targets, options.rounds, options.seconds, cores, rate))
    if options.idle:
        with workshop() as (folder, stack):
            direct, *proxies = start_all(folder, options.only, cores, stack)
            found.weights.append(weigh(proxies, direct.at("/sink/").port, options.idle))
    if options.growth:
        with workshop() as (folder, _):
            found.growths.extend(grow(options.growth, options.only, options.rounds, options.seconds, cores, folder))
    return found


@contextlib.contextmanager
def workshop() -> Iterator[tuple[Path, contextlib.ExitStack]]:
    """A folder for servers, and a stack that ends them before the folder goes."""
    with tempfile.TemporaryDirectory(prefix="wsgiproxy-bench-") as name, contextlib.ExitStack() as stack:
        yield Path(name), stack


def start_all(folder: Path, peers: Sequence[Peer], cores: machine.Cores, stack: contextlib.ExitStack) -> list[Running]:
    """The backends and every peer, running until ``stack`` ends; only one is given work at a time."""
    for name in (DIRECT, *(peer.name for peer in peers)):
        (folder / name).mkdir()
    [address] = one_address()
    backend = start_backend(folder / DIRECT, cores.backend, [address])
    stack.enter_context(backend.process)
    sink = start_sink(folder / DIRECT, cores.backend)
    stack.enter_context(sink.process)
    targets = [replace(backend, sink=sink)]
    for peer in peers:
        targets.append(peer.start(Site(folder / peer.name, cores.proxy, (address,), sink.port)))
        stack.enter_context(targets[-1].process)
    return targets


def half_of_peak(done: Sequence[Results], targets: Sequence[Running], seconds: int, cores: machine.Cores) -> float:
    """Half of nginx's rate with ``SMALL``, measured now where it was not; of the first proxy's without nginx."""
    proxy = next((target for target in targets if target.name == "nginx"), targets[1])
    samples = [sample for results in done if results.work is SMALL for sample in results.samples[proxy.name]]
    samples = samples or [measure(SMALL, proxy, seconds, cores.load)]
    rate = median([sample.rate for sample in samples]) / 2
    print(f"  paced: {rate:,.0f} requests/s, half of what {proxy.name} reaches")
    return rate


def measure_all(
    work: Work, targets: Sequence[Running], rounds: int, seconds: int, cores: machine.Cores, rate: float
) -> Results:
    """Every target once a round; each round begins with another one, so that none has the best place."""
    samples: dict[str, list[Sample]] = {target.name: [] for target in targets}
    for number in range(rounds):
        first = number % len(targets)
        for target in (*targets[first:], *targets[:first]):
            sample = measure(work, target, seconds, cores.load, rate)
            samples[target.name].append(sample)
            line = f"  {work.name} {number + 1}/{rounds} {target.name:10} {sample.rate:10,.0f} {work.metric}"
            print(line + (f", p99 {sample.p99_ms:.2f} ms" if work.by_p99 else ""), flush=True)
    print()
    return Results(work, samples)


if __name__ == "__main__":
    sys.exit(main())
