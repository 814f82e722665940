"""Large bodies with the curl program, up and down, compared bit for bit."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

from tests.functional.backends import digest_of, generated


def write_generated(path: Path, size: int) -> str:
    """Write ``size`` bytes to a file; their SHA-256."""
    with path.open("wb") as stream:
        for piece in generated(size):
            stream.write(piece)
    return digest_of(generated(size))[0]


def upload(curl: str, url: str, source: Path, *options: str | Path) -> str:
    """Send a file by POST to ``url``, an echoing backend's ``/upload``; the SHA-256 that arrived."""
    done = _run([curl, "-X", "POST", "-H", "Expect:", "-T", source, *options, url])
    return str(json.loads(done)["sha256"])


def download(curl: str, url: str, *options: str | Path) -> str:
    """The SHA-256 of what ``url`` answers."""
    words = [curl, "--silent", "--show-error", "--fail", *options, url]
    with subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        digest = hashlib.file_digest(process.stdout, "sha256").hexdigest()  # type: ignore[arg-type]
    assert process.returncode == 0, f"curl ended with {process.returncode}"
    return digest


def _run(words: list[str | Path]) -> str:
    command = [str(words[0]), "--silent", "--show-error", "--fail", *map(str, words[1:])]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"curl ended with {done.returncode}: {done.stderr}"
    return done.stdout
