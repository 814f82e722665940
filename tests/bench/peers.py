"""The servers of the bench: one backend, and the proxies before it.

A new peer is one function and one line in ``PEERS``. Each gets an empty folder, its cores and the backend's port, and
answers on a port of 127.0.0.1. All of them keep connections open on both sides and write an access log to a file.
"""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench.machine import path_of
from tests.processes import Process, free_port

ROOT = Path(__file__).resolve().parents[2]
SMALL_ANSWER = b"A fixed answer of 120 bytes, the last one a line feed: ".ljust(119, b".") + b"\n"
LARGE_BYTES = 10 * 1000 * 1000
KEPT_REQUESTS = 1_000_000_000  # on one connection: nginx closes it after 1000 by default, which would be measured too


@dataclass(frozen=True)
class Running:
    """A server that answers on ``port`` of 127.0.0.1."""

    name: str
    port: int
    process: Process


@dataclass(frozen=True)
class Site:
    """Where a server is put: its own empty folder, its cores, and the backend's port (its own for the backend)."""

    folder: Path
    cores: tuple[int, ...]
    backend_port: int


@dataclass(frozen=True)
class Peer:
    """A proxy to measure; ``tool`` is the program that must be installed, empty for our own."""

    name: str
    tool: str
    run: Callable[[Site, int], Process]

    def start(self, site: Site) -> Running:
        """Start it and wait until it answers."""
        return _answering(self.name, self.run(site, port := free_port()), port)


def start_backend(site: Site) -> Running:
    """nginx on ``site.backend_port``, answering ``/`` with ``SMALL_ANSWER`` and ``/large`` with ``LARGE_BYTES``."""
    (site.folder / "large").write_bytes(large_answer())
    text = SMALL_ANSWER.decode().rstrip("\n")
    server = f"""
        access_log off;
        sendfile on;
        tcp_nopush on;
        server {{
            listen 127.0.0.1:{site.backend_port} backlog=1024;
            location = / {{ return 200 "{text}\\n"; }}
            location = /large {{ root {site.folder}; }}
        }}"""
    return _answering("direct", _nginx(site, server, "backend"), site.backend_port)


def large_answer() -> bytes:
    """The large answer: the same on each call, and no piece of it like another."""
    return b"".join(number.to_bytes(8, "big") for number in range(LARGE_BYTES // 8))


def _answering(name: str, process: Process, port: int) -> Running:
    try:
        process.wait_for_port(port)
    except BaseException:
        process.kill()
        raise
    return Running(name, port, process)


def _nginx(site: Site, http: str, name: str) -> Process:
    # root's nginx hands its worker to another user, who may not read our folder
    user = f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""
    temporary = "\n".join(
        f"{kind}_temp_path {site.folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = site.folder / "nginx.conf"
    config.write_text(f"""
    {user}
    daemon off;
    pid {site.folder}/nginx.pid;
    worker_processes 1;
    error_log {site.folder}/error.log;
    events {{ worker_connections 4096; }}
    http {{
        default_type text/plain;
        keepalive_requests {KEPT_REQUESTS};
        {temporary}
        {http}
    }}
    """)
    argv: list[str | Path] = [path_of("nginx"), "-p", site.folder, "-c", config, "-e", "stderr"]
    return Process(argv, site.folder / "output.log", name=name, cores=site.cores)


def _run_nginx(site: Site, port: int) -> Process:
    http = f"""
        access_log {site.folder}/access.log combined;
        upstream web {{
            server 127.0.0.1:{site.backend_port};
            keepalive 64;
            keepalive_requests {KEPT_REQUESTS};
        }}
        server {{
            listen 127.0.0.1:{port} backlog=1024;
            location / {{
                proxy_pass http://web;
                proxy_http_version 1.1;
                proxy_set_header Connection "";
            }}
        }}"""
    return _nginx(site, http, "nginx")


def _run_haproxy(site: Site, port: int) -> Process:
    config = site.folder / "haproxy.cfg"
    config.write_text(f"""
global
    nbthread 1
    maxconn 4096
    log stdout format raw local0 info
defaults
    mode http
    log global
    option httplog
    option http-keep-alive
    http-reuse always
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend clients
    bind 127.0.0.1:{port} backlog 1024
    default_backend web
backend web
    server one 127.0.0.1:{site.backend_port}
""")
    argv: list[str | Path] = [path_of("haproxy"), "-db", "-f", config]
    return Process(argv, site.folder / "access.log", name="haproxy", cores=site.cores)


def _run_wsgiproxy(site: Site, port: int) -> Process:
    config = site.folder / "wsgiproxy.yaml"
    config.write_text(f"""
daemon:
  listeners: [{{address: "127.0.0.1:{port}"}}]
  access_log: {{path: {site.folder}/access.log, format: combined}}
pools:
  web: {{backends: ["http://127.0.0.1:{site.backend_port}"]}}
routes: [{{pool: web}}]
""")
    argv: list[str | Path] = [sys.executable, "-m", "wsgiproxy", "run", config]
    return Process(argv, site.folder / "output.log", name="wsgiproxy", cwd=ROOT, cores=site.cores)


OURS = "wsgiproxy"
PEERS = (
    Peer(OURS, "", _run_wsgiproxy),
    Peer("nginx", "nginx", _run_nginx),
    Peer("haproxy", "haproxy", _run_haproxy),
)
