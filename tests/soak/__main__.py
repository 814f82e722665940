"""``python -m tests.soak [RUN ...]``: the long runs, by hand. See README.md here.

Each prints what it measured and fails with exit status 1 where something that must hold did not.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.soak import attacks, faults, keepalive, rolling, transfers, tunnels
from tests.soak.stage import Stage

RUNS: dict[str, Callable[[Stage, argparse.Namespace], list[str]]] = {
    "slow": attacks.run,
    "websocket": tunnels.run,
    "transfers": transfers.run,
    "rolling": rolling.run,
    "keepalive": keepalive.run,
    "faults": faults.run,
}


def main() -> int:
    """Run what is asked for; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("runs", nargs="*", choices=[*RUNS, []], help=f"any of {', '.join(RUNS)} (all)")
    parser.add_argument(
        "--seconds", type=int, default=60, help="seconds of each slow mode, and of rolling; four faults (60)"
    )
    parser.add_argument("--connections", type=int, default=1000, help="slow clients at once (1000)")
    parser.add_argument("--messages", type=int, default=100_000, help="WebSocket messages (100000)")
    parser.add_argument("--requests", type=int, default=100_000, help="requests to backends that close (100000)")
    options = parser.parse_args()
    failures: list[str] = []
    for name in options.runs or RUNS:
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wsgiproxy-soak-")))
            failures += RUNS[name](Stage(folder, stack), options)
    print("\n".join(failures) or "all that must hold held", file=sys.stderr if failures else sys.stdout)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
