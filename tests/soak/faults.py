"""One of five backends goes wrong in each way that there is, and then all of them: a table of what that costs whom."""

from __future__ import annotations

import argparse
import contextlib

from tests.functional.faults import ONE_FAULT, VANISHED, WHOLE_POOL, Report, Site, SteadyLoad, run_fault
from tests.functional.network import neighbour, unusable
from tests.soak.stage import Stage

INTERVAL = 0.5  # seconds between two checks
EJECTION = 10.0  # seconds of an ejection


def run(stage: Stage, options: argparse.Namespace) -> list[str]:
    """Each fault for a quarter of the seconds of a long mode; what did not hold."""
    lacking = unusable()
    faults = (*ONE_FAULT, *(() if lacking else (VANISHED,)), *WHOLE_POOL)
    failures = [f"faults: {VANISHED.name} was left out: {lacking}"] if lacking else []
    print(Report.HEAD, flush=True)
    with contextlib.ExitStack() as stack:
        place = None if lacking else stack.enter_context(neighbour())
        site = Site(stage.start, stage.folder, INTERVAL, EJECTION, place)
        with SteadyLoad(site.daemon.port) as load:
            for fault in faults:
                report = run_fault(site, load, fault, options.seconds / 4)
                print(report, flush=True)
                failures += report.broken()
        failures += [line for line in site.daemon.process.output().splitlines() if "Traceback" in line]
    return [f"faults: {failure}" for failure in failures]
