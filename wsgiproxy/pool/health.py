"""Active health checks: each backend of a pool is probed on a clock of its own.

The rule of the room: a probe that hangs delays no other; what a result means is ``Backend.record_check``'s to say; a
change of state is logged once, with its reason. A checker outlives reloads: backends that stay go on being checked on
their old clock, so that editing a file causes no burst of probes.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from urllib.parse import unquote

from wsgiproxy.config import schema
from wsgiproxy.config.values import parse_status_range
from wsgiproxy.errors import OutOfResourcesError, ProxyError
from wsgiproxy.http1.message import Fields
from wsgiproxy.pool.backend import Backend
from wsgiproxy.pool.pool import Pool
from wsgiproxy.pool.queue import serve
from wsgiproxy.transport.stream import Driver
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
        self._loops: dict[Backend, _Loop] = {}

    def __repr__(self) -> str:
        return f"<HealthChecker of {len(self._loops)} backends, every {self._block.interval:g} s>"

    def update(self, pool: Pool, block: schema.HealthCheck) -> None:
        """Check the backends of this generation of the pool by this block.

        New backends are checked at once; those that stay too where the block is another one, else on their old clock.
        """
        changed = block != self._block
        self._block = block
        for backend in self._loops.keys() - set(pool.backends):
            self._loops.pop(backend).stop()
        if changed:
            for loop in self._loops.values():
                loop.change(block)
        for backend in pool.backends:
            if backend not in self._loops:
                loop = self._loops[backend] = _Loop(backend, block, self._driver, self._uniform)
                self._driver.spawn(loop.run, f"health {backend.address}")

    def stop(self) -> None:
        """End all checks, without waiting for probes under way."""
        while self._loops:
            self._loops.popitem()[1].stop()


class _Loop:
    """One backend's checks."""

    def __init__(
        self,
        backend: Backend,
        block: schema.HealthCheck,
        driver: Driver,
        uniform: Callable[[float, float], float],
    ) -> None:
        self._backend = backend
        self._block = block
        self._driver = driver
        self._uniform = uniform
        self._wake = driver.event()
        self._stopped = False

    def run(self) -> None:
        """Check, wait, and so on until stopped."""
        while not self._stopped:
            wake = self._wake  # taken before the block is read: a change after this line ends the wait below
            block = self._block
            reason = probe(self._backend, block)
            if not self._stopped:
                if reason is not None:
                    self._record(reason, block)
                wake.wait(block.interval * (1 + self._uniform(-block.jitter, block.jitter)))

    def change(self, block: schema.HealthCheck) -> None:
        """Check by another block, now and from now on."""
        self._block = block
        wake, self._wake = self._wake, self._driver.event()
        wake.set()

    def stop(self) -> None:
        """End, without waiting out the interval."""
        self._stopped = True
        self._wake.set()

    def _record(self, reason: str, block: schema.HealthCheck) -> None:
        backend = self._backend
        checking, ejected = backend.health == "checking", backend.ejected_until
        if backend.record_check(reason, block.healthy_threshold, block.unhealthy_threshold):
            count = 1 if checking else block.unhealthy_threshold if reason else block.healthy_threshold
            streak = f"{count} {'bad' if reason else 'good'} check{'s in a row' if count > 1 else ''}"
            because = f": {reason}" if reason else ""
            level = logging.WARNING if reason else logging.INFO
            _log.log(
                level, "pool %s: %s is %s%s (%s)", backend.pool_name, backend.address, backend.health, because, streak
            )
        if ejected and not backend.ejected_until:
            _log.info("pool %s: %s is no longer ejected (good check)", backend.pool_name, backend.address)
        serve(backend.roster)  # somebody may have waited for it


def probe(backend: Backend, block: schema.HealthCheck) -> str | None:
    """Check a backend once; why it is bad, or an empty text for a good one. Never raises.

    None where the check could not be made for want of our own descriptors or memory, which says nothing of the backend.
    """
    try:
        if block.kind == "tcp":
            backend.upstream.check_connect(block.timeout)
            return ""
        response = backend.upstream.send_probe(_probe_request(block), block.timeout)
        response.body.close()
    except OutOfResourcesError as error:
        _log.error("the check of %s could not be made: %s", backend.address, error)
        return None
    except ProxyError as error:
        return f"{error.reason}: {error}"
    except Exception as error:  # noqa: BLE001 - a defect of ours must not end the checks, and must be seen
        _log.exception("the check of %s failed by a defect of ours", backend.address)
        return f"internal_error: {error}"
    if any(low <= response.status <= high for low, high in map(parse_status_range, block.expected_statuses)):
        return ""
    return f"status {response.status}"


def _probe_request(block: schema.HealthCheck) -> UpstreamRequest:
    """The request of a check; an empty host stands for the backend's own."""
    fields: Fields = [("User-Agent", USER_AGENT), ("Accept", "*/*"), *block.headers.items()]
    environ = {"REQUEST_METHOD": block.method, "SERVER_NAME": "localhost", "SERVER_PORT": "80"}
    path, _, query = block.path.partition("?")
    return UpstreamRequest(
        block.method,
        block.path,
        block.host or "",
        fields,
        environ=environ,
        path_info=unquote(path, "latin-1"),
        query=query,
    )
