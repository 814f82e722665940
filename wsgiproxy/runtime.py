"""One process's living state: the current routing table, and how it is replaced.

The table is one reference, rebound whole: a request reads it once and a reload never moves it. What is read from the
file is checked whole before anything changes. Nothing runs in the background until the table is first asked for, and a
forked child begins anew, so that a pre-fork host may load the application in its master. This module must not know
requests, and chooses no backend.
"""

from __future__ import annotations

import functools
import logging
import os
import ssl
import threading
import weakref
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple
from wsgiref.types import WSGIApplication

from wsgiproxy.config import schema
from wsgiproxy.config.address import AppAddress, UnixAddress, parse_backend_address
from wsgiproxy.config.changes import changes
from wsgiproxy.config.loader import Loaded, load
from wsgiproxy.config.watcher import Watcher
from wsgiproxy.errors import ConfigError, InvalidConfigError
from wsgiproxy.pool.backend import Backend, Roster
from wsgiproxy.pool.health import HealthChecker
from wsgiproxy.pool.sticky import read_key
from wsgiproxy.routing.build import build_table, is_secure
from wsgiproxy.routing.table import RoutingTable
from wsgiproxy.transport.certificates import Signature, signature
from wsgiproxy.transport.choose import choose_driver
from wsgiproxy.transport.stream import Driver, Event
from wsgiproxy.upstream.connector import Connector, Tls, tls_context, tls_files
from wsgiproxy.upstream.http import HttpUpstream
from wsgiproxy.upstream.inprocess import InProcessUpstream, import_app
from wsgiproxy.upstream.messages import Upstream

MAX_CHANGES = 50  # lines that a reload logs of what is different
UNIX_AUTHORITY = "localhost"  # the Host of a backend that has a socket file for an address (curl's choice too)

_log = logging.getLogger("wsgiproxy.runtime")


class Runtime:
    """The table of one configuration file in this process, kept up to date until ``close``."""

    def __init__(
        self, path: str, driver: Driver | None = None, on_reload: Callable[[schema.Config], None] | None = None
    ) -> None:
        """Reads the file, its applications and certificates; ``InvalidConfigError`` lists what is wrong.

        Nothing is started. Without a ``driver`` each process chooses its own when it starts. ``on_reload`` is called
        with every later configuration that was accepted.
        """
        self.path = path
        self._watcher = Watcher(path)  # before the file is read: an edit in between is seen
        self._loaded = load(path)
        self._means = _find_means(self._loaded)
        self._given_driver = driver
        self._on_reload = on_reload
        self._closed = False
        self._begin()
        os.register_at_fork(after_in_child=functools.partial(_begin_anew, weakref.ref(self)))

    def __repr__(self) -> str:
        state = f"generation {self._table.generation}" if self._table is not None else "not started"
        return f"<Runtime {self.path}, {'closed' if self._closed else state}>"

    def _begin(self) -> None:
        """Nothing has been started in this process yet: after a fork the parent's threads and hub are not here."""
        self._lock = threading.Lock()  # who replaces the table
        self._again = False  # the file must be read once more: somebody asked while it was being read
        self._table: RoutingTable | None = None
        self._tls: Mapping[str, _PoolTls] = {}  # what the table was built with
        self._driver: Driver | None = None
        self._stopping: Event | None = None
        self._checkers: dict[str, HealthChecker] = {}

    @property
    def config(self) -> schema.Config:
        """The configuration that was accepted last."""
        return self._loaded.config

    @property
    def driver(self) -> Driver:
        """How this process moves bytes and works in the background; to be asked for once there is a table."""
        assert self._driver is not None, "the table starts it"
        return self._driver

    @property
    def table(self) -> RoutingTable:
        """The current routing table; the first to ask in a process starts it."""
        table = self._table
        return table if table is not None else self.start()

    def error(self, key: str, problem: str) -> ConfigError:
        """A mistake at a key of the configuration that was accepted last, with its place in the file."""
        return self._loaded.error(key, problem)

    def start(self) -> RoutingTable:
        """Build the first table of this process, begin to check backends and to watch the file. Idempotent."""
        with self._lock:
            if self._table is None:
                self._driver = self._given_driver or choose_driver()
                # A host may have loaded us long ago; a change is told at the second look.
                if self._watcher.changed() or self._watcher.changed():
                    self._read()
                self._replace()
                self._stopping = self._driver.event()
                self._driver.spawn(functools.partial(self._watch, self._stopping), "wsgiproxy-watch")
            assert self._table is not None
            return self._table

    def reload(self) -> bool:
        """Read the file again and swap the table; whether a new one is in place.

        A file with mistakes is logged and changes nothing. Never waits: while another reload is under way it is left
        to that one to read the file once more. (The lock may be a thread's while we are a greenlet.)
        """
        done = False
        self._again = True
        while self._again and self._lock.acquire(blocking=False):
            try:
                self._again = False
                done = self._reload()
            finally:
                self._lock.release()
        return done

    def close(self) -> None:
        """Stop what runs in the background and close idle connections; the table stays for who still reads it."""
        self._closed = True
        if self._stopping is not None:
            self._stopping.set()
        for checker in self._checkers.values():
            checker.stop()
        for backend in _backends(self._table):
            backend.upstream.close()

    def _watch(self, stopping: Event) -> None:
        while not stopping.wait(self._watcher.interval):
            try:
                if self._watcher.changed():
                    self.reload()
            except Exception:  # noqa: BLE001 - a defect of ours must be seen, and must not end the watch
                _log.exception("%s could not be reloaded, by a defect of ours", self.path)

    def _reload(self) -> bool:
        if self._closed or self._table is None:
            return False
        before = self.config
        if not self._read():
            _log.error("%s was not reloaded: generation %d goes on", self.path, self._table.generation)
            return False
        self._replace()
        _log.info("reloaded %s: generation %d", self.path, self._table.generation)
        for line in changes(before, self.config, MAX_CHANGES):
            _log.info("%s", line)
        if self._on_reload is not None:
            self._on_reload(self.config)
        return True

    def _read(self) -> bool:
        """Take in the file as it is now; one with mistakes is logged, and what was read before stays."""
        self._watcher = Watcher(self.path)  # what is read now is no news to it
        try:
            loaded = load(self.path)
            self._loaded, self._means = loaded, _find_means(loaded, self._means.tls)
        except InvalidConfigError as error:
            for mistake in error.mistakes:
                _log.error("%s", mistake)
            return False
        return True

    def _replace(self) -> None:
        """Build a table, put it in place, and only then part with what the old one alone needed."""
        driver, apps, tls = self._driver, self._means.apps, self._means.tls
        assert driver is not None
        old = [backend.upstream for backend in _backends(self._table)]
        make = functools.partial(_make_upstream, driver=driver, apps=apps)
        self._table = table = build_table(
            self.config,
            self._table,
            make,
            make_secure={name: functools.partial(make, tls=settings) for name, settings in tls.items()},
            renew=frozenset(name for name, settings in self._tls.items() if tls.get(name) is not settings),
            make_roster=functools.partial(Roster, driver),
            sticky_keys=self._means.sticky_keys,
        )
        self._tls = tls
        kept = {backend.upstream for backend in _backends(table)}
        for upstream in old:
            if upstream not in kept:
                upstream.close()
        checked = {name: pool for name, pool in table.pools.items() if pool.block.health_check is not None}
        for name in self._checkers.keys() - checked.keys():
            self._checkers.pop(name).stop()
        for name, pool in checked.items():
            assert pool.block.health_check is not None
            self._checkers.setdefault(name, HealthChecker(driver)).update(pool, pool.block.health_check)


class _PoolTls(NamedTuple):
    """How the ``https://`` backends of a pool are spoken to, and what that was made of."""

    block: schema.BackendTls
    signatures: list[Signature | None]
    context: ssl.SSLContext


class _Means(NamedTuple):
    """What a configuration names and only this machine can give: applications by address, TLS and keys by pool."""

    apps: Mapping[str, WSGIApplication]
    tls: Mapping[str, _PoolTls]
    sticky_keys: Mapping[str, bytes]  # from files


def _find_means(loaded: Loaded, previous: Mapping[str, _PoolTls] = MappingProxyType({})) -> _Means:
    """What ``loaded`` names; ``InvalidConfigError`` lists what cannot be had. TLS that stays as it was is kept."""
    apps, tls, sticky_keys = {}, {}, {}
    mistakes = []
    for name, pool in loaded.config.pools.items():
        addresses = [parse_backend_address(backend.address) for backend in pool.backends]
        for index, address in enumerate(addresses):
            if isinstance(address, AppAddress):
                try:
                    apps[pool.backends[index].address] = import_app(address.module, address.attribute)
                except ValueError as error:
                    mistakes.append(loaded.error(f"pools.{name}.backends[{index}]", str(error)))
        if any(map(is_secure, addresses)):
            try:
                tls[name] = _pool_tls(pool.tls, previous.get(name))
            except ConfigError as error:
                mistakes.append(loaded.error(f"pools.{name}.{error.key}", error.problem))
            if not pool.tls.verify:
                _log.warning("pool %s: verify is false: anybody may answer in place of its backends", name)
        if pool.sticky is not None and pool.sticky.key_file is not None:
            try:
                sticky_keys[name] = read_key(pool.sticky.key_file)
            except ConfigError as error:
                mistakes.append(loaded.error(f"pools.{name}.{error.key}", error.problem))
    if mistakes:
        raise InvalidConfigError(mistakes)
    return _Means(apps, tls, sticky_keys)


def _pool_tls(block: schema.BackendTls, previous: _PoolTls | None) -> _PoolTls:
    """What ``block`` asks for; ``previous`` itself where neither the block nor its files have changed."""
    signatures = [signature(path) for path in tls_files(block)]
    if previous is not None and (previous.block, previous.signatures) == (block, signatures):
        return previous
    return _PoolTls(block, signatures, tls_context(block))


def count_parts(config: schema.Config) -> str:
    """How much there is of everything: ``2 pools, 3 backends, 1 route``."""
    counts = {
        "pool": len(config.pools),
        "backend": sum(len(pool.backends) for pool in config.pools.values()),
        "route": len(config.routes),
    }
    return ", ".join(f"{count} {noun}{'' if count == 1 else 's'}" for noun, count in counts.items())


def _begin_anew(reference: weakref.ref[Runtime]) -> None:
    """In a forked child: what the parent has started is the parent's."""
    runtime = reference()
    if runtime is not None:
        runtime._begin()


def _backends(table: RoutingTable | None) -> list[Backend]:
    return [] if table is None else [backend for pool in table.pools.values() for backend in pool.backends]


def _make_upstream(
    text: str, driver: Driver, apps: Mapping[str, WSGIApplication], tls: _PoolTls | None = None
) -> Upstream:
    """The upstream of a backend's address; ``tls`` for one over TLS."""
    address = parse_backend_address(text)
    if isinstance(address, AppAddress):
        return InProcessUpstream(text, apps[text])
    spawn = driver.spawn if driver.name == "greenlet" else None  # whose streams are read and written at once
    if isinstance(address, UnixAddress):
        dial = functools.partial(driver.connect_unix, address.path)
        return HttpUpstream(UNIX_AUTHORITY, Connector(text, dial), spawn)
    secure = None if tls is None else Tls(tls.context, tls.block.server_name or address.host)
    connect = functools.partial(driver.connect_tcp, address.host, address.port)
    return HttpUpstream(address.authority, Connector(text, connect, secure), spawn)
