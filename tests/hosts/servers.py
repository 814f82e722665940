"""The host servers that the suite runs under, and what each of them cannot do.

A host's gaps are its own (PEP 3333 leaves them open, or the server does): each has its reason beside it, and a test
that needs what a host lacks is skipped there with that reason.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from tests.conftest import Start
from tests.functional.scene import ROOT
from tests.processes import Process, free_port

APP = "tests.hosts.mounted_app:application"

_NO_CHUNKS = "wsgiref's server knows no chunked coding"
_ONE_THREAD = "wsgiref's server has one thread"


class Host(NamedTuple):
    """A WSGI server: how it is started, which driver must be at work in it, and what it cannot do."""

    name: str
    command: tuple[str, ...]
    driver: str
    lacks: Mapping[str, str] = MappingProxyType({})


def _gunicorn(worker_class: str, *options: str) -> tuple[str, ...]:
    bind = ("--bind", "127.0.0.1:{port}", "--worker-class", worker_class, "--worker-tmp-dir", "/dev/shm")
    return ("-m", "gunicorn", *bind, "--graceful-timeout", "3", *options)


_SIMPLE = """
import sys
from wsgiref.simple_server import make_server
sys.path.insert(0, ".")
from tests.hosts.mounted_app import application
make_server("127.0.0.1", {port}, application).serve_forever()
"""

HOSTS = (
    Host("gunicorn sync", (*_gunicorn("sync", "--workers", "4"), APP), "thread"),
    Host("gunicorn gthread", (*_gunicorn("gthread", "--threads", "32"), APP), "thread"),
    Host("gunicorn gthread, preloaded", (*_gunicorn("gthread", "--threads", "16", "-w2", "--preload"), APP), "thread"),
    Host("gunicorn gevent", (*_gunicorn("gevent"), APP), "greenlet"),
    Host("waitress", ("-m", "waitress", "--listen", "127.0.0.1:{port}", "--threads", "32", APP), "thread"),
    Host("wsgiref", ("-c", _SIMPLE), "thread", {"chunked requests": _NO_CHUNKS, "concurrency": _ONE_THREAD}),
)


class Mounted(NamedTuple):
    """A host server that runs, with the proxy mounted in it."""

    host: Host
    process: Process
    port: int
    config: Path


def start_host(start: Start, host: Host, config: Path) -> Mounted:
    """Start a host server with the proxy that ``config`` describes."""
    port = free_port()
    argv = [sys.executable, *(part.replace("{port}", str(port)) for part in host.command)]
    process = start(argv, name=host.name, env={"WSGIPROXY_CONFIG": str(config)}, cwd=ROOT)
    process.wait_for_port(port)
    return Mounted(host, process, port, config)
