"""What stands behind the proxies: an nginx with fixed answers, and ``sink.py`` for what nginx cannot answer."""

from __future__ import annotations

import os
import pwd
import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.machine import path_of
from tests.processes import Process, free_port

ROOT = Path(__file__).resolve().parents[2]
SMALL_ANSWER = b"A fixed answer of 120 bytes, the last one a line feed: ".ljust(119, b".") + b"\n"
LARGE_BYTES = 10 * 1000 * 1000
DIRECT = "direct"  # the row of the backends without a proxy
KEPT_REQUESTS = 1_000_000_000  # on one connection: nginx closes it after 1000 by default, which would be measured too
CONNECTIONS = 16000  # that each server may have open
START = 60.0  # seconds that a server with 100,000 routes may take to answer


@dataclass(frozen=True)
class Running:
    """A server that answers on ``port`` of 127.0.0.1; ``sink`` answers ``/sink/...`` where it does not."""

    name: str
    port: int
    process: Process
    sink: Running | None = None

    def at(self, path: str) -> Running:
        """Who answers ``path``."""
        return self.sink if self.sink and path.startswith("/sink/") else self


def distinct_bytes(count: int) -> bytes:
    """So many bytes: the same on each call, and no piece of them like another."""
    return b"".join(number.to_bytes(8, "big") for number in range(count // 8 + 1))[:count]


# The whole body of each answer of the backend; "/" stands for every other path too.
ANSWERS: Mapping[str, Callable[[], bytes]] = {
    "/": lambda: SMALL_ANSWER,
    "/medium": lambda: distinct_bytes(16 * 1024),
    "/mega": lambda: distinct_bytes(1024 * 1024),
    "/large": lambda: distinct_bytes(LARGE_BYTES),
}


def start_backend(folder: Path, cores: tuple[int, ...], addresses: Sequence[str]) -> Running:
    """nginx on ``addresses`` (host:port, the first of 127.0.0.1), with ``ANSWERS``."""
    for path in ANSWERS.keys() - {"/"}:
        (folder / path[1:]).write_bytes(ANSWERS[path]())
    listens = "\n".join(f"listen {address} backlog=1024;" for address in addresses)
    files = "\n".join(f"location = {path} {{ root {folder}; }}" for path in ANSWERS if path != "/")
    text = SMALL_ANSWER.decode().rstrip("\n")
    server = f"""
        access_log off;
        sendfile on;
        tcp_nopush on;
        open_file_cache max=16;
        server {{
            {listens}
            location / {{ return 200 "{text}\\n"; }}
            {files}
        }}"""
    port = int(addresses[0].rpartition(":")[2])
    return Running(DIRECT, port, until_answering(nginx(folder, cores, server, "backend"), port))


def start_sink(folder: Path, cores: tuple[int, ...]) -> Running:
    """``sink.py``."""
    port = free_port()
    argv = [sys.executable, "-m", "tests.bench.sink", str(port)]
    process = Process(argv, folder / "sink.log", name="sink", cwd=ROOT, cores=cores)
    return Running("sink", port, until_answering(process, port))


def until_answering(process: Process, port: int) -> Process:
    """The process, as soon as it accepts connections on ``port``; ended where it does not."""
    try:
        process.wait_for_port(port, START)
    except BaseException:
        process.kill()
        raise
    return process


def nginx(folder: Path, cores: tuple[int, ...], http: str, name: str) -> Process:
    """nginx with one worker and the given ``http`` block."""
    # root's nginx hands its worker to another user, who may not read our folder
    user = f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""
    temporary = "\n".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(f"""
    {user}
    daemon off;
    pid {folder}/nginx.pid;
    worker_processes 1;
    worker_rlimit_nofile {resource.getrlimit(resource.RLIMIT_NOFILE)[1]};
    error_log {folder}/error.log;
    events {{ worker_connections {CONNECTIONS}; }}
    http {{
        default_type text/plain;
        keepalive_requests {KEPT_REQUESTS};
        {temporary}
        {http}
    }}
    """)
    argv: list[str | Path] = [path_of("nginx"), "-p", folder, "-c", config, "-e", "stderr"]
    return Process(argv, folder / "output.log", name=name, cores=cores)
