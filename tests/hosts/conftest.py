"""Fixtures of the host tests: a backend, addresses where none is, and the proxy mounted in each host server."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator

import pytest

from tests.conftest import Start
from tests.functional.scene import Backend
from tests.hosts.servers import SLACK, Host, Mounted, start_host

CHECK = "{path: /healthz, interval: 200ms, timeout: 2s, healthy_threshold: 1, unhealthy_threshold: 1}"
PATHS = ("/proxied", "/load", "/download", "/upload", "/stepped", "/cut", "/raw")  # what the backend program knows


def config_text(backend: str, beta: str, dead: str) -> str:
    """A configuration whose routes lead to these addresses; a route that is added to its end is one more."""
    match = json.dumps([{"path": path} for path in PATHS])
    return f"""
pools:
  web: {{backends: ["{backend}"], keep_alive: {{max_idle: {SLACK}}}, health_check: {CHECK}}}
  beta: {{backends: ["{beta}"], health_check: {CHECK}, panic_threshold: 0}}
  dead: {{backends: ["{dead}"]}}
  known_dead: {{backends: ["{dead}"], health_check: {CHECK}, panic_threshold: 0}}
routes:
  - {{match: {match}, pool: web}}
  - {{match: {{path: /stripped}}, pool: web, strip_prefix: true}}
  - {{match: {{path: /beta}}, pool: beta}}
  - {{match: {{path: /dead}}, pool: dead}}
  - {{match: {{path: /known_dead}}, pool: known_dead}}
  - {{match: {{path: /limited}}, pool: web, body_bytes: 4}}
  - {{match: {{path: /pong}}, respond: {{body: pong}}}}
  - {{match: {{path: /moved}}, redirect: {{path_prefix: /new}}}}
  - {{match: {{path: /elsewhere}}, redirect: {{scheme: https, host: b.example}}}}
"""


@pytest.fixture(scope="session")
def dead() -> Iterator[str]:
    """An address that refuses connections: the port is taken, and nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture(scope="module")
def backend(start_for_module: Start) -> Backend:
    """The backend of all tests of a module."""
    return Backend(start_for_module, "alpha")


@pytest.fixture(scope="module")
def beta(start_for_module: Start) -> Backend:
    """A backend that may be killed, and must be restarted."""
    return Backend(start_for_module, "beta")


@pytest.fixture(scope="module")
def mounted(
    request: pytest.FixtureRequest,
    start_for_module: Start,
    backend: Backend,
    beta: Backend,
    dead: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Mounted]:
    """The proxy in a host server, one after the other; see ``tests.hosts.servers.on_hosts``."""
    host: Host = request.param
    config = tmp_path_factory.mktemp("mounted") / "wsgiproxy.yaml"
    config.write_text(config_text(backend.address, beta.address, dead))
    running = start_host(start_for_module, host, config)
    yield running
    assert running.process.stop(signal.SIGTERM) == host.exit_status
