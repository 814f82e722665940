"""Active health checks: each backend of a pool is probed on a clock of its own.

The rule of the room: a probe that hangs delays no other; what a result means is ``Backend.record_check``'s to say; a
change of state is logged once, with its reason. A checker outlives reloads: backends that stay go on being checked on
their old clock, so that editing a file causes no burst of probes.
"""

from __future__ import annotations

import functools
import logging
import random
from collections.abc import Callable

from wsgiproxy.config import schema
from wsgiproxy.errors import ProxyError
from wsgiproxy.http1.message import Fields
from wsgiproxy.pool.backend import Backend
from wsgiproxy.pool.pool import Pool
from wsgiproxy.transport.stream import Driver, Event
from wsgiproxy.upstream.messages import UpstreamRequest

USER_AGENT = "wsgiproxy-health"

_log = logging.getLogger("wsgiproxy.health")


class HealthChecker:
    """The checks of one pool's backends. One thread or greenlet calls ``update`` and ``stop``."""

    def __init__(self, driver: Driver, uniform: Callable[[float, float], float] = random.uniform) -> None:
        """``uniform(a, b)`` is where the jitter comes from."""
        self._driver = driver
        self._uniform = uniform
        self._block = schema.HealthCheck()
        self._loops: dict[Backend, Event] = {}

    def __repr__(self) -> str:
        return f"<HealthChecker of {len(self._loops)} backends, every {self._block.interval:g} s>"

    def update(self, pool: Pool, block: schema.HealthCheck) -> None:
        """Check the backends of this generation of the pool by this block; new backends are checked at once."""
        self._block = block
        for backend in [backend for backend in self._loops if backend not in pool.backends]:
            self._loops.pop(backend).set()
        for backend in pool.backends:
            if backend not in self._loops:
                stopped = self._loops[backend] = self._driver.event()
                self._driver.spawn(functools.partial(self._run, backend, stopped), f"health {backend.address}")

    def stop(self) -> None:
        """End all checks, without waiting for probes under way."""
        while self._loops:
            self._loops.popitem()[1].set()

    def _run(self, backend: Backend, stopped: Event) -> None:
        """One backend's loop."""
        while not stopped.is_set():
            block = self._block
            reason = probe(backend, block)
            if stopped.is_set():
                return
            if backend.record_check(reason, block.healthy_threshold, block.unhealthy_threshold):
                level = logging.WARNING if reason else logging.INFO
                because = f": {reason}" if reason else ""
                _log.log(level, "pool %s: %s is %s%s", backend.pool_name, backend.address, backend.health, because)
            stopped.wait(block.interval * (1 + self._uniform(-block.jitter, block.jitter)))


def probe(backend: Backend, block: schema.HealthCheck) -> str:
    """Check a backend once; why it is bad, or an empty text for a good one. Never raises."""
    try:
        if block.kind == "tcp":
            backend.upstream.check_connect(block.timeout)
            return ""
        response = backend.upstream.send_probe(_probe_request(block), block.timeout)
        response.body.close()
    except ProxyError as error:
        return f"{error.reason}: {error}"
    except Exception as error:  # noqa: BLE001 - a defect of ours must not end the checks, and must be seen
        _log.exception("the check of %s failed by a defect of ours", backend.address)
        return f"internal_error: {error}"
    if any(low <= response.status <= high for low, high in map(_status_range, block.expected_statuses)):
        return ""
    return f"status {response.status}"


def _probe_request(block: schema.HealthCheck) -> UpstreamRequest:
    """The request of a check; an empty host stands for the backend's own."""
    fields: Fields = [("User-Agent", USER_AGENT), ("Accept", "*/*"), *block.headers.items()]
    environ = {"REQUEST_METHOD": block.method, "SERVER_NAME": "localhost", "SERVER_PORT": "80"}
    path, _, query = block.path.partition("?")
    return UpstreamRequest(
        block.method, block.path, block.host or "", fields, environ=environ, path_info=path, query=query
    )


def _status_range(text: str) -> tuple[int, int]:
    low, _, high = text.partition("-")
    return int(low), int(high or low)
