"""1 GB with curl, up and down, HTTP and HTTPS: bit for bit, and in little memory."""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from tests import certificates
from tests.functional.curl_transfers import download, upload, write_generated
from tests.functional.scene import Backend, Daemon, start_daemon
from tests.soak.stage import Stage

SIZE = 1_000_000_000
GROWTH = 10 * 1024 * 1024  # bytes by which the daemon may grow


def run(stage: Stage, _options: argparse.Namespace) -> list[str]:
    """Each way; what did not hold."""
    curl = shutil.which("curl")
    if curl is None:
        return ["curl is not installed: apt-get install curl"]
    source = stage.folder / "source"
    digest = write_generated(source, SIZE)
    authority = certificates.Authority(stage.folder)
    leaf = authority.issue("localhost")
    backend = Backend(stage.start, "a")
    failures: list[str] = []
    for scheme, tls in (
        ("http", ""),
        ("https", f", tls: {{certificates: [{{certificate: {leaf.certificate}, key: {leaf.key}}}]}}"),
    ):
        daemon = start_daemon(stage.start, stage.folder, config(backend, tls))
        url = f"{scheme}://localhost:{daemon.port}"
        options: list[str | Path] = ["--cacert", authority.certificate]
        ways: dict[str, Callable[[], str]] = {
            "upload": lambda url=url, options=options: upload(curl, f"{url}/upload", source, *options),
            "download": lambda url=url, options=options: download(curl, f"{url}/download/{SIZE}", *options),
        }
        for way, move in ways.items():
            failures += one_way(f"{scheme} {way}", daemon, move, digest)
    return failures


def config(backend: Backend, tls: str) -> str:
    """One listener, one pool."""
    return (
        f'daemon:\n  listeners: [{{address: "127.0.0.1:0"{tls}}}]\n  access_log: {{format: "off"}}\n'
        f"pools: {{web: {{backends: ['{backend.address}']}}}}\nroutes: [{{pool: web}}]\n"
    )


def one_way(name: str, daemon: Daemon, move: Callable[[], str], digest: str) -> list[str]:
    """Move the bytes; what did not hold."""
    daemon.ask("/warm") if name.startswith("http ") else None
    before, begin = daemon.memory("VmRSS"), time.monotonic()
    arrived = move()
    growth = daemon.memory("VmHWM") - before
    rate = SIZE / 1e6 / (time.monotonic() - begin)
    print(f"{name}: {rate:.0f} MB/s, memory grew by {growth / 1024 / 1024:.1f} MiB", flush=True)
    failures = [] if arrived == digest else [f"{name}: other bytes arrived"]
    return failures if growth < GROWTH else [*failures, f"{name}: memory grew by {growth} bytes"]
