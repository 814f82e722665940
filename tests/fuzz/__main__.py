"""``python -m tests.fuzz [--seconds 20] [requests] [answers] [chunks]``: fuzz the grammar with atheris. See README.md.

Each target is a process of its own (libFuzzer never returns), all at the same time, from the corpus on. The exit status
is 1 where one found something; what it found is printed as bytes to be pasted into a case.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.corpus.strategies import ANSWER_FRAGMENTS, FRAGMENTS
from tests.fuzz.targets import TARGETS, seeds

ROOT = Path(__file__).resolve().parents[2]
GRACE = 60.0  # seconds beyond its time in which a target must have ended
LONGEST = 16 * 1024  # bytes of one input
SLOWEST = 5  # seconds for one input; more is a finding


def main() -> int:
    """Fuzz what is asked for; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], help=f"any of {', '.join(TARGETS)} (all)")
    parser.add_argument("--seconds", type=int, default=20, help="how long (20)")
    options = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print("nothing was fuzzed: atheris is not installed (pip install '.[fuzz]')", file=sys.stderr)
        return 1 if os.environ.get("CI") == "true" else 0
    with tempfile.TemporaryDirectory(prefix="wsgiproxy-fuzz-") as folder:
        running = [Fuzzing(name, Path(folder) / name, options.seconds) for name in options.targets or TARGETS]
        return max([fuzzing.end() for fuzzing in running])


class Fuzzing:
    """One target's process, which works in ``folder``."""

    def __init__(self, name: str, folder: Path, seconds: int) -> None:
        self.name = name
        self._folder = folder
        self._seconds = seconds
        (folder / "seeds").mkdir(parents=True)
        for number, seed in enumerate(seeds(name)):
            (folder / "seeds" / str(number)).write_bytes(seed)
        words = "".join(f'"{escaped(word)}"\n' for word in {*FRAGMENTS, *ANSWER_FRAGMENTS})
        (folder / "words").write_text(words)
        (folder / "found").mkdir()
        command = [
            sys.executable, "-m", "tests.fuzz.run", name, str(folder / "seeds"), f"-dict={folder / 'words'}",
            f"-max_total_time={seconds}", f"-max_len={LONGEST}", f"-timeout={SLOWEST}",
            f"-artifact_prefix={folder / 'found'}/", "-print_final_stats=1",
        ]  # fmt: skip
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)

    def end(self) -> int:
        """Wait for the end and tell; 1 where it found something, or did not work."""
        try:
            status = self._process.wait(self._seconds + GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        log = (self._folder / "log").read_text(errors="replace")
        runs = next((line.split()[-1] for line in log.splitlines() if "number_of_executed_units" in line), "no")
        found = sorted((self._folder / "found").iterdir())
        print(f"{self.name}: {runs} inputs in {self._seconds} s, {len(found)} findings, status {status}")
        for path in found:
            print(f"  {path.name}: {path.read_bytes()!r}")
        if status or found:
            print(log[-6000:])
        return 1 if status or found else 0


def escaped(word: bytes) -> str:
    """A word of a libFuzzer dictionary."""
    return "".join(f"\\x{code:02x}" for code in word)


if __name__ == "__main__":
    sys.exit(main())
