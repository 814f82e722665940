"""Active health checks: each backend of a pool is probed on a clock of its own.

The rule of the room: a probe that hangs delays no other; what a result means is ``Backend.record_check``'s to say; a
change of state is logged once, with its reason. A checker outlives reloads: backends that stay go on being checked on
their old clock, so that editing a file causes no burst of probes. Waits are the driver's; instants and chance are those
of the pool's ``Roster``: whoever has other ones there can run the checks in a time of their own.
"""

from __future__ import annotations

import logging
import re
from typing import NamedTuple
from urllib.parse import unquote

from wsgiproxy.config import schema
from wsgiproxy.config.values import parse_status_range
from wsgiproxy.errors import OutOfResourcesError, ProxyError
from wsgiproxy.http1.message import Fields
from wsgiproxy.pool.backend import Backend
from wsgiproxy.pool.pool import Pool
from wsgiproxy.pool.queue import serve
from wsgiproxy.transport.stream import Driver
from wsgiproxy.upstream.messages import ResponseBody, UpstreamRequest, UpstreamResponse

USER_AGENT = "wsgiproxy-health"
MAX_BODY = 64 * 1024  # bytes of an answer that are looked at (nginx Plus: 256k)
MAINTENANCE = "x-maintenance"  # the field of a 503 whose value "drain" asks for no new work

_log = logging.getLogger("wsgiproxy.health")


class HealthChecker:
    """The checks of one pool's backends. One thread or greenlet calls ``update`` and ``stop``."""

    def __init__(self, driver: Driver) -> None:
        """``driver`` runs one loop for each backend, and makes the events that it waits with."""
        self._driver = driver
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
                loop = self._loops[backend] = _Loop(backend, block, self._driver)
                self._driver.spawn(loop.run, f"health {backend.address}")

    def stop(self) -> None:
        """End all checks, without waiting for probes under way."""
        while self._loops:
            self._loops.popitem()[1].stop()


class _Loop:
    """One backend's checks."""

    def __init__(self, backend: Backend, block: schema.HealthCheck, driver: Driver) -> None:
        self._backend = backend
        self._block = block
        self._driver = driver
        self._wake = driver.event()
        self._stopped = False

    def run(self) -> None:
        """Check, wait, and so on until stopped."""
        roster = self._backend.roster
        while not self._stopped:
            wake = self._wake  # taken before the block is read: a change after this line ends the wait below
            block = self._block
            began_at = roster.clock()
            finding = probe(self._backend, block)
            if not self._stopped:
                if finding is not None:
                    self._record(finding, roster.clock() - began_at, block)
                wake.wait(self._interval(block) * (1 + block.jitter * (2 * roster.chance() - 1)))

    def change(self, block: schema.HealthCheck) -> None:
        """Check by another block, now and from now on."""
        self._block = block
        wake, self._wake = self._wake, self._driver.event()
        wake.set()

    def stop(self) -> None:
        """End, without waiting out the interval."""
        self._stopped = True
        self._wake.set()

    def _interval(self, block: schema.HealthCheck) -> float:
        unhealthy = self._backend.health == "unhealthy"
        return block.interval_unhealthy if unhealthy and block.interval_unhealthy else block.interval

    def _record(self, finding: Finding, seconds: float, block: schema.HealthCheck) -> None:
        backend, reason = self._backend, finding.reason
        ejected = backend.ejected_until
        thresholds = block.healthy_threshold, block.unhealthy_threshold
        if backend.record_check(reason, *thresholds, drains=finding.drains, seconds=seconds):
            because = f": {reason}" if reason else ""
            kind = "good" if not reason else "drain" if finding.drains else "bad"
            count = f"{backend.alike} {kind} check{'s in a row' if backend.alike > 1 else ''}"
            level = logging.WARNING if backend.health == "unhealthy" else logging.INFO
            _log.log(
                level, "pool %s: %s is %s%s (%s)", backend.pool_name, backend.address, backend.health, because, count
            )
        if ejected and not backend.ejected_until:
            _log.info("pool %s: %s is no longer ejected (good check)", backend.pool_name, backend.address)
        serve(backend.roster)  # somebody may have waited for it


class Finding(NamedTuple):
    """What a check found: why the backend is not well, empty for a good one, or asks to be drained instead."""

    reason: str
    drains: bool = False


def probe(backend: Backend, block: schema.HealthCheck) -> Finding | None:
    """Check a backend once. Never raises.

    None where the check could not be made for want of our own descriptors or memory, which says nothing of the backend.
    """
    try:
        if block.kind == "tcp":
            backend.prober.check_connect(block.timeout)
            return Finding("")
        response = backend.prober.send_probe(_probe_request(block), block.timeout)
        try:
            return _judge(response, block)
        finally:
            response.body.close()
    except OutOfResourcesError as error:
        _log.error("the check of %s could not be made: %s", backend.address, error)
        return None
    except ProxyError as error:
        return Finding(f"{error.reason}: {error}")
    except Exception as error:  # noqa: BLE001 - a defect of ours must not end the checks, and must be seen
        _log.exception("the check of %s failed by a defect of ours", backend.address)
        return Finding(f"internal_error: {error}")


def _judge(response: UpstreamResponse, block: schema.HealthCheck) -> Finding:
    """What an answer means; reads of its body no more than it must."""
    status = response.status
    if status == 503 and _asks_to_drain(response):
        return Finding("status 503 with X-Maintenance: drain", drains=True)
    if status == 404 and block.drain_on_404:
        return Finding("status 404", drains=True)
    if not any(low <= status <= high for low, high in map(parse_status_range, block.expected_statuses)):
        return Finding(f"status {status}")
    if block.expected_body is not None:
        data = _read(response.body)
        if re.search(block.expected_body, data.decode("utf-8", "replace")) is None:
            return Finding(f"the first {len(data)} bytes of the body do not match expected_body")
    return Finding("")


def _asks_to_drain(response: UpstreamResponse) -> bool:
    return any(name.lower() == MAINTENANCE and value.strip().lower() == "drain" for name, value in response.fields)


def _read(body: ResponseBody) -> bytes:
    """The body's beginning, up to ``MAX_BODY`` bytes."""
    data = bytearray()
    for piece in body:
        data += piece[: MAX_BODY - len(data)]
        if len(data) == MAX_BODY:
            break
    return bytes(data)


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
