"""``python -m tests.bench``: wsgiproxy beside nginx and HAProxy, on one core, in the same run. See README.md here."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.bench import machine
from tests.bench.memory import idle_table
from tests.bench.peers import OURS, PEERS, Peer, Running, Site, start_backend
from tests.bench.report import Results
from tests.bench.works import WORKS, Sample, Work, measure
from tests.processes import free_port

DIRECT = "direct"  # the row of the backend without a proxy
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
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM)
    )  # so that everything is stopped and removed
    try:
        results = run(options, cores)
    except AssertionError as error:  # a server did not start; the message holds its output
        print(error, file=sys.stderr)
        return FAILED
    peers = [peer.name for peer in options.only if peer.name != OURS]
    for result in results:
        print(result.table(peers), end="\n\n")
    if options.json:
        document = {"machine": about, "cores": str(cores), "seconds": options.seconds}
        works = {result.work.name: result.as_dict(peers) for result in results}
        options.json.write_text(json.dumps({**document, "works": works}, indent=2) + "\n")
    errors = [error for result in results for error in result.errors()]
    print("\n".join(errors) or "no errors", file=sys.stderr if errors else sys.stdout)
    return FAILED if errors else 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options; exits with ``UNABLE`` on a wrong one."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=positive, default=5, help="runs of each proxy and work (5)")
    parser.add_argument("--seconds", type=positive, default=5, help="seconds of one run (5)")
    works, peers = ",".join(work.name for work in WORKS), ",".join(peer.name for peer in PEERS)
    parser.add_argument("--work", default=works, help=f"any of {works} (all)")
    parser.add_argument("--only", default=peers, help=f"any of {peers} (all)")
    parser.add_argument("--idle", type=int, default=1000, help="idle connections to weigh, 0 for none (1000)")
    parser.add_argument("--json", type=Path, help="write every sample to this file")
    options = parser.parse_args(argv)
    for key, things in (("work", WORKS), ("only", PEERS)):
        names = getattr(options, key).split(",")
        unknown = set(names) - {thing.name for thing in things}
        if unknown:
            parser.error(f"--{key}: {', '.join(sorted(unknown))}: choose from {works if key == 'work' else peers}")
        setattr(options, key, [thing for thing in things if thing.name in names])
    return options


def positive(text: str) -> int:
    """A whole number from 1."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def run(options: argparse.Namespace, cores: machine.Cores) -> list[Results]:
    """Start everything, measure in turn, stop and remove everything."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wsgiproxy-bench-")))
        targets = start_all(folder, options.only, cores, stack)
        results = [measure_all(work, targets, options.rounds, options.seconds, cores) for work in options.work]
        if options.idle:
            print(idle_table(targets[1:], options.idle), end="\n\n", flush=True)
        return results


def start_all(folder: Path, peers: Sequence[Peer], cores: machine.Cores, stack: contextlib.ExitStack) -> list[Running]:
    """The backend and every peer, running until ``stack`` ends; only one is given work at a time."""
    port = free_port()

    def site(name: str, where: tuple[int, ...]) -> Site:
        (folder / name).mkdir()
        return Site(folder / name, where, port)

    targets = [start_backend(site(DIRECT, cores.backend))]
    stack.enter_context(targets[0].process)
    for peer in peers:
        targets.append(peer.start(site(peer.name, cores.proxy)))
        stack.enter_context(targets[-1].process)
    return targets


def measure_all(work: Work, targets: Sequence[Running], rounds: int, seconds: int, cores: machine.Cores) -> Results:
    """Every target once a round; each round begins with another one, so that none has the best place."""
    samples: dict[str, list[Sample]] = {target.name: [] for target in targets}
    for number in range(rounds):
        first = number % len(targets)
        for target in (*targets[first:], *targets[:first]):
            sample = measure(work, target, seconds, cores.load)
            samples[target.name].append(sample)
            print(
                f"  {work.name} {number + 1}/{rounds} {target.name:10} {sample.rate:10,.0f} {work.metric}", flush=True
            )
    print()
    return Results(work, samples)


if __name__ == "__main__":
    sys.exit(main())
