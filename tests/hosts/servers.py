"""The host servers that the proxy is mounted in: how each is started, and what a test asks of a running one.

This module must not know what is tested. What a host cannot do stands in a table of the test module.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.conftest import Start, lack
from tests.functional.scene import ROOT, Answer, ask, ask_on, kept
from tests.processes import Process, free_port

APP = "tests.hosts.mounted_app:application"
PREFIX = "/shop"  # where the proxy is mounted in our own server
SLACK = 8  # most threads of a host's pool, and most idle connections to a backend, so that no more can come late


class Host(NamedTuple):
    """A WSGI server: its command, in which ``{port}`` and ``{app}`` are filled in, and what is particular about it."""

    name: str
    command: tuple[str, ...]
    driver: str = "thread"  # the one that must be at work in it
    modules: tuple[str, ...] = ()  # distributions that it needs
    workers: int = 1  # processes that serve requests
    prefix: str = ""  # where it mounts the proxy
    exit_status: int = 0  # after SIGTERM


def _gunicorn(name: str, worker_class: str, *options: str, driver: str = "thread", workers: int = 1) -> Host:
    command = (
        *("-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--worker-class", worker_class, "--workers", str(workers)),
        *("--worker-tmp-dir", "/dev/shm", "--graceful-timeout", "3", "--keep-alive", "15", "--no-control-socket"),
        *("--forwarded-allow-ips", ""),  # or it would believe the X-Forwarded-Proto of our forging clients
        *(*options, "{app}"),
    )
    modules = ("gunicorn", "gevent", "packaging") if worker_class == "gevent" else ("gunicorn",)
    return Host(f"gunicorn {name}", command, driver, modules, workers)


_SIGTERM = -15  # the exit status of those that leave the signal to do its default work
_WAITRESS = ("-m", "waitress", "--listen", "127.0.0.1:{port}", "--threads", str(SLACK), "{app}")

GTHREAD = _gunicorn("gthread", "gthread", "--threads", str(SLACK))
GTHREAD_PRELOADED = _gunicorn("gthread preloaded", "gthread", "--threads", str(SLACK // 2), "--preload", workers=2)
GEVENT = _gunicorn("gevent", "gevent", driver="greenlet")
GEVENT_PRELOADED = _gunicorn("gevent preloaded", "gevent", "--preload", driver="greenlet", workers=2)
SYNC = _gunicorn("sync", "sync", workers=2)
WAITRESS = Host("waitress", _WAITRESS, modules=("waitress",), exit_status=_SIGTERM)
WSGIREF = Host("wsgiref", ("-m", "tests.hosts.simple_server", "{port}", "{app}"), exit_status=_SIGTERM)
OWN = Host("own server", ("-m", "tests.hosts.own_server", "{port}", PREFIX), "greenlet", prefix=PREFIX)

HOSTS = (GTHREAD, GTHREAD_PRELOADED, GEVENT, GEVENT_PRELOADED, SYNC, WAITRESS, WSGIREF, OWN)


def on_hosts(
    cannot: Mapping[Host, str] | None = None, *, hosts: tuple[Host, ...] = HOSTS, run: bool = True
) -> pytest.MarkDecorator:
    """Run a test in each of ``hosts``.

    Those that ``cannot`` pass it, each with its reason, must fail it, or the table that says so is wrong; or it is not
    ``run`` there.
    """

    def marks(host: Host) -> tuple[pytest.MarkDecorator, ...]:
        reason = (cannot or {}).get(host)
        failures = (AssertionError, OSError, http.client.HTTPException)
        return () if reason is None else (pytest.mark.xfail(reason=reason, strict=True, raises=failures, run=run),)

    return pytest.mark.parametrize(
        "mounted", [pytest.param(host, id=host.name, marks=marks(host)) for host in hosts], indirect=True
    )


@dataclass(frozen=True)
class Mounted:
    """A host server that runs, with the proxy mounted in it."""

    host: Host
    process: Process
    port: int
    config: Path

    def ask(self, target: str, method: str = "GET", body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """One request to the proxy, wherever it is mounted, on a connection of its own."""
        return ask(self.port, self.host.prefix + target, method, body, headers)

    def ask_on(
        self, connection: http.client.HTTPConnection, target: str, method: str = "GET", body: Any = None
    ) -> Answer:
        """One request to the proxy on a connection that goes on, if the host lets it."""
        return ask_on(connection, self.host.prefix + target, method, body)

    def kept(self) -> contextlib.AbstractContextManager[http.client.HTTPConnection]:
        """A connection for several requests."""
        return kept(self.port)

    def held(self) -> dict[str, int]:
        """How many descriptors and threads the host's processes hold together (proc(5), /proc/pid/fd, task)."""
        counts = {"fd": 0, "task": 0}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                if os.getsid(int(folder.name)) == self.process.pid:
                    for kind in counts:
                        counts[kind] += len(os.listdir(folder / kind))
        return counts


def start_host(start: Start, host: Host, config: Path, app: str = APP) -> Mounted:
    """Start a host server with the proxy that ``config`` describes; skip where the host is not installed."""
    for module in host.modules:
        if importlib.util.find_spec(module) is None:
            lack(f"{host.name} needs `{module}`, which is not installed")
    port = free_port()
    argv = [sys.executable, *(part.replace("{port}", str(port)).replace("{app}", app) for part in host.command)]
    process = start(argv, name=host.name, env={"WSGIPROXY_CONFIG": str(config), "PYTHONPATH": str(ROOT)}, cwd=ROOT)
    process.wait_for_port(port)
    return Mounted(host, process, port, config)
