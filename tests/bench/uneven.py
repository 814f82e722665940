"""``python -m tests.bench.uneven``: one of five backends is ten times slower; what each balance makes of it.

wsgiproxy's balances beside HAProxy's, on the same backends (``slots.py``) and under the same wrk. See README.md here.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from tests.bench import machine
from tests.bench.backends import ROOT, Running, until_answering
from tests.bench.drive import drive_wrk
from tests.processes import Process, free_port, wait_until

SLOTS = 4  # requests that a backend works on at once
SECONDS = (0.1, 0.01, 0.01, 0.01, 0.01)  # that each backend takes for a request
OURS, PEER = "wsgiproxy", "haproxy"
BALANCES = {  # by proxy, in the order of the rows; those of one row are the same idea
    OURS: ("round_robin", "least_conn", "random_two", "least_time"),
    PEER: ("roundrobin", "leastconn", "random"),
}
FAILED, UNABLE = 1, 2  # exit statuses, as of tests.bench


@dataclass(frozen=True)
class Sample:
    """One run: answers a second, latencies in milliseconds, the slow backend's part of the answers."""

    rate: float
    p50_ms: float
    p99_ms: float
    slow_part: float
    errors: tuple[str, ...]


Samples = dict[tuple[str, str], list[Sample]]  # by proxy and balance


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.uneven", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="runs of each balance (5)")
    parser.add_argument("--seconds", type=int, default=5, help="seconds of one run (5)")
    parser.add_argument("--connections", type=int, default=32, help="clients at once (32)")
    parser.add_argument("--json", type=Path, help="write every sample to this file")
    options = parser.parse_args(argv)
    missing = machine.missing_tools({"haproxy", "wrk", "taskset"})
    if missing:
        print("\n".join(missing), file=sys.stderr)
        return UNABLE
    cores = machine.Cores.of(sorted(os.sched_getaffinity(0)))
    about = f"{machine.description()}\n{cores}\n{options.rounds} rounds of {options.seconds} s each"
    print(f"{about}, {options.connections} connections\n", flush=True)
    samples = run(options, cores)
    print("\n" + table(samples), end="\n\n")
    if options.json:
        found = {" ".join(key): [asdict(sample) for sample in given] for key, given in samples.items()}
        options.json.write_text(json.dumps({"about": about, "samples": found}, indent=2) + "\n")
    errors = [f"{' '.join(key)}: {error}" for key, given in samples.items() for one in given for error in one.errors]
    print("\n".join(errors) or "no errors", file=sys.stderr if errors else sys.stdout)
    return FAILED if errors else 0


def run(options: argparse.Namespace, cores: machine.Cores) -> Samples:
    """Every balance once a round, wsgiproxy's and HAProxy's in turns; each round begins with another one."""
    turns = [
        (proxy, balances[place])
        for place in range(max(map(len, BALANCES.values())))
        for proxy, balances in BALANCES.items()
        if place < len(balances)
    ]
    samples: Samples = {turn: [] for turn in turns}
    with tempfile.TemporaryDirectory(prefix="wsgiproxy-bench-") as name, contextlib.ExitStack() as stack:
        ports = [free_port() for _ in SECONDS]
        places = [f"{port}={seconds}" for port, seconds in zip(ports, SECONDS, strict=True)]
        argv = [sys.executable, "-m", "tests.bench.slots", str(SLOTS), *places]
        backends = Process(argv, Path(name) / "backends.log", name="backends", cwd=ROOT, cores=cores.backend)
        stack.enter_context(until_answering(backends, ports[-1]))
        running = {OURS: start_wsgiproxy(Path(name), cores, ports), PEER: start_haproxy(Path(name), cores, ports)}
        for one in running.values():
            stack.enter_context(one.process)
        for number in range(options.rounds):
            first = number % len(turns)
            for turn in (*turns[first:], *turns[:first]):
                proxy, balance = turn
                sample = measure(running[proxy], balance, ports[0], options, cores)
                samples[turn].append(sample)
                print(
                    f"  {number + 1}/{options.rounds} {proxy:10} {balance:12} p99 {sample.p99_ms:7.1f} ms", flush=True
                )
    return samples


def measure(proxy: Running, balance: str, slow: int, options: argparse.Namespace, cores: machine.Cores) -> Sample:
    """One run, begun once all backends are idle; ``slow`` is the port of the first one, which is slow."""
    wait_until(lambda: not any(busy + waiting for _, busy, waiting in books(slow)), what="the backends to be idle")
    before = [answered for answered, _, _ in books(slow)]
    url = f"http://127.0.0.1:{proxy.port}/{balance}"
    driven = drive_wrk(url, options.connections, options.seconds, cores.load, {})
    gained = [answered - old for (answered, _, _), old in zip(books(slow), before, strict=True)]
    errors = driven.errors if driven.answers else (*driven.errors, "not one answer")
    part = gained[0] / max(sum(gained), 1)
    return Sample(driven.answers / driven.seconds, driven.p50_ms, driven.p99_ms, part, errors)


def books(port: int) -> list[tuple[int, int, int]]:
    """Of each backend: how many it has answered, has at work, and keeps waiting."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", "/control/books")
        return [tuple(row) for row in json.loads(connection.getresponse().read())]


def start_wsgiproxy(folder: Path, cores: machine.Cores, ports: Sequence[int]) -> Running:
    """wsgiproxy with a pool of all backends for each balance, by path."""
    port, config = free_port(), folder / "wsgiproxy.yaml"
    backends = ", ".join(f'"http://127.0.0.1:{one}"' for one in ports)
    pools = "\n".join(f"  {balance}: {{balance: {balance}, backends: [{backends}]}}" for balance in BALANCES[OURS])
    routes = "\n".join(f"  - {{match: {{path: /{balance}}}, pool: {balance}}}" for balance in BALANCES[OURS])
    config.write_text(f"""
daemon:
  listeners: ["127.0.0.1:{port}"]
  access_log: {{path: {folder}/wsgiproxy.log, format: combined}}
pools:
{pools}
routes:
{routes}
""")
    argv: list[str | Path] = [sys.executable, "-m", "wsgiproxy", "run", config]
    process = Process(argv, folder / "wsgiproxy.output", name=OURS, cwd=ROOT, cores=cores.proxy)
    return Running(OURS, port, until_answering(process, port))


def start_haproxy(folder: Path, cores: machine.Cores, ports: Sequence[int]) -> Running:
    """HAProxy, the same."""
    port, config = free_port(), folder / "haproxy.cfg"
    servers = "\n".join(f"    server s{one} 127.0.0.1:{one}" for one in ports)
    rules = "\n".join(f"    use_backend {balance} if {{ path /{balance} }}" for balance in BALANCES[PEER])
    pools = "\n".join(f"backend {balance}\n    balance {balance}\n{servers}" for balance in BALANCES[PEER])
    config.write_text(f"""
global
    nbthread 1
    log stdout format raw local0 info
defaults
    mode http
    log global
    option httplog
    http-reuse always
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend clients
    bind 127.0.0.1:{port} backlog 1024
{rules}
{pools}
""")
    argv: list[str | Path] = [machine.path_of("haproxy"), "-db", "-f", config]
    process = Process(argv, folder / "haproxy.log", name=PEER, cores=cores.proxy)
    return Running(PEER, port, until_answering(process, port))


def table(samples: Samples) -> str:
    """Medians of the rounds, wsgiproxy's on the left, HAProxy's on the right."""
    head = f"{'':12}{'p99 ms':>9}{'p50 ms':>9}{'rate':>8}{'slow one':>10}"
    lines = [f"{OURS:48}    HAProxy", f"{head}    {head}"]
    for place, balance in enumerate(BALANCES[OURS]):
        row = _cells(balance, samples[OURS, balance])
        if place < len(BALANCES[PEER]):
            other = BALANCES[PEER][place]
            row += "    " + _cells(other, samples[PEER, other])
        lines.append(row)
    return "\n".join(lines)


def _cells(balance: str, given: Sequence[Sample]) -> str:
    p99, p50 = median([sample.p99_ms for sample in given]), median([sample.p50_ms for sample in given])
    rate, part = median([sample.rate for sample in given]), median([sample.slow_part for sample in given])
    return f"{balance:12}{p99:9.1f}{p50:9.1f}{rate:8,.0f}{part:10.1%}"


if __name__ == "__main__":
    sys.exit(main())
