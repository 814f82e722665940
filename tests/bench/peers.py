"""The proxies of the bench. A new one is one function and one line in ``PEERS``.

Each gets a ``Site`` and answers on a port of 127.0.0.1. All of them keep connections open on both sides, pass bodies on
as they come, let WebSockets through, and write an access log to a file.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench.backends import CONNECTIONS, KEPT_REQUESTS, ROOT, Running, nginx, until_answering
from tests.bench.machine import path_of
from tests.processes import Process, free_port


@dataclass(frozen=True)
class Site:
    """Where a proxy is put: its own empty folder, its cores, and what it is to do.

    ``/sink/`` goes to ``sink_port``, everything else to ``backends`` (host:port, picked by least connections where
    there are several), over one of so many ``routes`` by path prefix, ``/r000000/`` and on.
    """

    folder: Path
    cores: tuple[int, ...]
    backends: tuple[str, ...]
    sink_port: int
    routes: int = 0

    @property
    def prefixes(self) -> list[str]:
        """The path prefix of each route, without a slash at its end, in order."""
        return [f"/r{number:06d}" for number in range(self.routes)]


@dataclass(frozen=True)
class Peer:
    """A proxy to measure; ``tool`` is the program that must be installed, empty for our own."""

    name: str
    tool: str
    run: Callable[[Site, int], Process]

    def start(self, site: Site) -> Running:
        """Start it and wait until it answers."""
        port = free_port()
        return Running(self.name, port, until_answering(self.run(site, port), port))


def _run_nginx(site: Site, port: int) -> Process:
    servers = " ".join(f"server {address};" for address in site.backends)
    kept = max(64, 2 * len(site.backends))
    locations = "\n".join(f"location {prefix}/ {{ proxy_pass http://web; }}" for prefix in site.prefixes)
    http = f"""
        access_log {site.folder}/access.log combined;
        map $http_upgrade $kept_or_upgraded {{ default upgrade; "" ""; }}
        upstream web {{
            {"least_conn;" * (len(site.backends) > 1)}
            {servers}
            keepalive {kept};
            keepalive_requests {KEPT_REQUESTS};
        }}
        upstream sink {{
            server 127.0.0.1:{site.sink_port};
            keepalive 64;
            keepalive_requests {KEPT_REQUESTS};
        }}
        server {{
            listen 127.0.0.1:{port} backlog=1024;
            client_max_body_size 0;
            proxy_request_buffering off;
            proxy_http_version 1.1;
            proxy_set_header Connection $kept_or_upgraded;
            proxy_set_header Upgrade $http_upgrade;
            location /sink/ {{ proxy_pass http://sink; }}
            {locations}
            location / {{ proxy_pass http://web; }}
        }}"""
    return nginx(site.folder, site.cores, http, "nginx")


def _run_haproxy(site: Site, port: int) -> Process:
    # the ratios: by default 5,000 clients, a quarter of 20,000 files, would keep it from keeping backend connections
    config, routes = site.folder / "haproxy.cfg", site.folder / "routes.map"
    routes.write_text("".join(f"{prefix}/ web\n" for prefix in site.prefixes))
    servers = "\n".join(f"    server s{number} {address}" for number, address in enumerate(site.backends))
    config.write_text(f"""
global
    nbthread 1
    maxconn {CONNECTIONS}
    no strict-limits
    tune.pool-low-fd-ratio 80
    tune.pool-high-fd-ratio 90
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
    use_backend sink if {{ path_beg /sink/ }}
    {f"use_backend %[path,map_beg({routes},web)]" if site.routes else ""}
    default_backend web
backend sink
    server one 127.0.0.1:{site.sink_port}
backend web
    {"balance leastconn" if len(site.backends) > 1 else ""}
{servers}
""")
    argv: list[str | Path] = [path_of("haproxy"), "-db", "-f", config]
    return Process(argv, site.folder / "access.log", name="haproxy", cores=site.cores)


def _run_wsgiproxy(site: Site, port: int) -> Process:
    config = site.folder / "wsgiproxy.yaml"
    backends = ", ".join(f'"http://{address}"' for address in site.backends)
    routes = "\n".join(f'  - {{match: {{path: "{prefix}"}}, pool: web}}' for prefix in site.prefixes)
    config.write_text(f"""
daemon:
  listeners: [{{address: "127.0.0.1:{port}"}}]
  access_log: {{path: {site.folder}/access.log, format: combined}}
pools:
  web: {{balance: {"least_conn" if len(site.backends) > 1 else "round_robin"}, backends: [{backends}]}}
  sink: {{backends: ["http://127.0.0.1:{site.sink_port}"]}}
routes:
  - {{match: {{path: /sink}}, pool: sink}}
{routes}
  - {{pool: web}}
""")
    argv: list[str | Path] = [sys.executable, "-m", "wsgiproxy", "run", config]
    return Process(argv, site.folder / "output.log", name="wsgiproxy", cwd=ROOT, cores=site.cores)


OURS = "wsgiproxy"
PEERS = (
    Peer(OURS, "", _run_wsgiproxy),
    Peer("nginx", "nginx", _run_nginx),
    Peer("haproxy", "haproxy", _run_haproxy),
)
