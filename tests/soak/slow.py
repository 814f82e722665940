"""slowhttptest's modes: clients that send heads slowly, send bodies slowly, or read answers slowly."""

from __future__ import annotations

from pathlib import Path

from tests.processes import Process

# Arguments by mode (slowhttptest(1)): -H slow heads, -B slow bodies, -X slow reading.
MODES = {
    "heads": ["-H", "-i", "1", "-x", "24"],
    "bodies": ["-B", "-i", "1", "-s", "8192", "-x", "10", "-t", "POST"],
    "reading": ["-X", "-k", "3", "-n", "2", "-z", "8", "-w", "10", "-y", "20"],
}
LARGE = "/download/2000000"  # what the slow readers ask for


def attack(program: str, mode: str, port: int, connections: int, seconds: int, log: Path) -> Process:
    """A running slowhttptest: so many connections at once for so many seconds."""
    target = LARGE if mode == "reading" else "/slow"
    argv = [program, *MODES[mode], "-c", str(connections), "-r", str(connections), "-l", str(seconds), "-p", "5"]
    return Process([*argv, "-u", f"http://127.0.0.1:{port}{target}"], log, name=f"slowhttptest, slow {mode}")
