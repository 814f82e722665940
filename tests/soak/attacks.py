"""Slow clients for a minute: what others notice, what it costs, and whether everything comes back."""

from __future__ import annotations

import argparse
import shutil
import time

from tests.functional.scene import FRONT, Backend, Daemon, start_daemon
from tests.processes import wait_until
from tests.soak.slow import MODES, attack
from tests.soak.stage import Others, Stage

QUIET_SECONDS = 10
GROWTH_PER_CONNECTION = 320 * 1024  # bytes that one slow client may cost: one piece of an answer, and itself


def run(stage: Stage, options: argparse.Namespace) -> list[str]:
    """Every mode against one daemon; what did not hold."""
    program = shutil.which("slowhttptest")
    if program is None:
        return ["slowhttptest is not installed: apt-get install slowhttptest"]
    backend = Backend(stage.start, "a")
    text = f"{FRONT}pools: {{web: {{backends: ['{backend.address}']}}}}\nroutes: [{{pool: web}}]\n"
    daemon = start_daemon(stage.start, stage.folder, text)
    daemon.ask("/warm")
    failures = []
    for mode in MODES:
        failures += run_mode(stage, options, daemon, program, mode)
    return failures


def run_mode(stage: Stage, options: argparse.Namespace, daemon: Daemon, program: str, mode: str) -> list[str]:
    """One mode; what did not hold."""
    descriptors, memory = daemon.descriptors(), daemon.memory("VmRSS")
    with Others.asking(daemon.port) as others:
        time.sleep(QUIET_SECONDS)
    quiet, failures = others.p99_ms(), list(others.failures)
    log = stage.folder / f"slow-{mode}.log"
    most = 0
    with attack(program, mode, daemon.port, options.connections, options.seconds, log) as process:
        wait_until(lambda: daemon.descriptors() > descriptors + options.connections // 2, 30, f"slow {mode}")
        with Others.asking(daemon.port) as others:
            while process.returncode is None:
                most = max(most, daemon.descriptors() - descriptors)
                time.sleep(0.2)
    failures += others.failures
    wait_until(lambda: daemon.descriptors() <= descriptors + 8, 30, "the descriptors to come back")
    growth = daemon.memory("VmHWM") - memory
    print(
        f"slow {mode}: {options.connections} clients for {options.seconds} s, at most {most} descriptors; "
        f"p99 of others {quiet:.1f} ms before, {others.p99_ms():.1f} ms meanwhile ({len(others.latencies)} answers); "
        f"memory grew by at most {growth / 1024 / 1024:.1f} MiB; descriptors came back",
        flush=True,
    )
    if growth > options.connections * GROWTH_PER_CONNECTION:
        failures.append(f"memory grew by {growth / options.connections / 1024:.0f} KiB for each connection")
    if others.p99_ms() > 2 * quiet:
        failures.append(f"others' p99 more than doubled: {quiet:.1f} ms to {others.p99_ms():.1f} ms")
    return [f"slow {mode}: {failure}" for failure in failures]
