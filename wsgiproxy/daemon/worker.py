"""The daemon's process from its start to its end: listeners, servers, signals, logs.

Each signal has one method; it decides, and ``run`` does. Nothing is monkey-patched here: an application of this
process that blocks holds up everybody, and says so itself if it patches. This module must not know what a request is.

* SIGTERM: finish what is under way within ``drain_timeout``, then end; a second one ends at once
* SIGINT, SIGQUIT: end at once
* SIGHUP: read the file again, and the certificates
* SIGUSR1: open the access log anew
"""

from __future__ import annotations

import gc
import logging
import resource
import signal
import socket
from typing import Any

import gevent
import gevent.event

from wsgiproxy.config import schema
from wsgiproxy.daemon.logs import AccessLogWriter, configure_error_log
from wsgiproxy.daemon.notify import Notifier
from wsgiproxy.errors import ConfigError
from wsgiproxy.proxy.access_log import formatter
from wsgiproxy.proxy.app import ProxyApp
from wsgiproxy.runtime import Runtime, count_parts
from wsgiproxy.server.listener import close_listener, describe, open_listener
from wsgiproxy.server.server import Server
from wsgiproxy.transport.greenlet import GreenletDriver

CERTIFICATE_INTERVAL = 5.0  # seconds between two looks at the certificates' files
_COLLECT_EVERY = 20_000  # objects made and not freed between two collections

log = logging.getLogger("wsgiproxy")


def serve(path: str) -> int:
    """Serve what the YAML file at ``path`` describes until a signal says stop; the exit code.

    ``ConfigError`` or ``InvalidConfigError`` where it cannot start.
    """
    configure_error_log()
    raise_descriptor_limit()
    worker = Worker(path)
    try:
        for signum, handler in (
            (signal.SIGTERM, worker.on_terminate),
            (signal.SIGINT, worker.on_interrupt),
            (signal.SIGQUIT, worker.on_interrupt),
            (signal.SIGHUP, worker.on_reload),
            (signal.SIGUSR1, worker.on_reopen),
        ):
            gevent.signal_handler(signum, handler)
        worker.start()
        relax_garbage_collection()
        worker.run()
    finally:
        worker.close()
    return 0


def raise_descriptor_limit() -> None:
    """Let this process open as many descriptors as it may: each exchange takes two."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def relax_garbage_collection() -> None:
    """Leave what was made at the start out of each collection, and collect less often.

    An exchange leaves no cycles behind, so the default of a look every 700 objects finds nothing and costs 5 % of the
    time of a small exchange (measured with ``tests/bench``).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY, 20, 50)


class Worker:
    """Everything that one process of the daemon holds, and the order in which it comes and goes."""

    def __init__(self, path: str) -> None:
        self._driver = GreenletDriver()
        self._runtime = Runtime(path, self._driver, on_reload=self._compare)
        self._block = self._runtime.config.daemon
        self._listeners: list[socket.socket] = []
        self._servers: list[Server] = []
        self._access_log: AccessLogWriter | None = None
        self._app: ProxyApp | None = None
        self._complaints: dict[int, str] = {}  # what is wrong with a listener's new certificates, said once
        self._notifier = Notifier()
        self._background: list[Any] = []  # greenlets that end with it
        self._stop = gevent.event.Event()  # take no more clients
        self._stop_now = gevent.event.Event()  # and wait for none

    def __repr__(self) -> str:
        return f"<Worker {self._runtime.path}, {len(self._servers)} servers, {self._connections()} connections>"

    def start(self) -> None:
        """Take the listeners' addresses, build the table, and accept clients."""
        for index, listener in enumerate(self._block.listeners):
            try:
                self._listeners.append(open_listener(listener))
            except ConfigError as error:
                raise self._listener_error(index, error) from error
        self._runtime.start()
        log_block = self._block.access_log
        if log_block.format != "off":
            self._access_log = AccessLogWriter(log_block.path)
            self._app = ProxyApp(self._runtime, log=formatter(log_block.format, self._access_log))
        else:
            self._app = ProxyApp(self._runtime)
        for index, (sock, listener) in enumerate(zip(self._listeners, self._block.listeners, strict=True)):
            try:
                self._servers.append(Server(self._app, sock, listener, self._driver))
            except ConfigError as error:
                raise self._listener_error(index, error) from error
        for server in self._servers:
            server.start()
        if any(listener.tls is not None for listener in self._block.listeners):
            self._background.append(gevent.spawn(self._watch_certificates))
        if self._notifier.watchdog_interval:
            self._background.append(gevent.spawn(self._tell_that_it_is_alive))
        where = ", ".join(map(describe, self._listeners, self._block.listeners))
        log.info("listening on %s: %s", where, count_parts(self._runtime.config))
        log.info("descriptors: %d at the most", resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        self._notifier.ready()

    def run(self) -> None:
        """Serve until a signal says stop, then drain."""
        self._stop.wait()
        self._notifier.stopping()
        for server in self._servers:
            server.stop_accepting()
        if self._stop_now.is_set():
            return
        log.info("draining for at most %g s, open connections: %d", self._block.drain_timeout, self._connections())
        drains = [gevent.spawn(server.drain, self._block.drain_timeout) for server in self._servers]
        drained = gevent.spawn(gevent.joinall, drains)
        first_of: list[Any] = [drained, self._stop_now]
        gevent.wait(first_of, count=1)
        gevent.killall([drained, *drains])

    def close(self) -> None:
        """Cut what is left, close everything and leave nothing behind. Idempotent."""
        cut = self._connections()
        gevent.killall(self._background)
        for server in self._servers:
            server.close()
        for sock, listener in zip(self._listeners, self._block.listeners, strict=False):
            close_listener(sock, listener)
        if self._app is not None:
            self._app.close()
        self._runtime.close()
        if self._access_log is not None:
            self._access_log.close()
        if self._servers:
            log.info("stopped, connections that were cut: %d", cut)
        self._servers.clear()

    def on_terminate(self) -> None:
        """SIGTERM: drain; the second time, stop."""
        if self._stop.is_set():
            self._stop_now.set()
        self._stop.set()

    def on_interrupt(self) -> None:
        """SIGINT and SIGQUIT: stop."""
        self._stop_now.set()
        self._stop.set()

    def on_reload(self) -> None:
        """SIGHUP: read the file again, and the certificates."""
        self._notifier.reloading()
        self._runtime.reload()
        self._reload_certificates()
        self._notifier.ready()

    def on_reopen(self) -> None:
        """SIGUSR1: open the access log anew, after its file was renamed."""
        if self._access_log is not None:
            self._access_log.reopen()

    def _tell_that_it_is_alive(self) -> None:
        while True:
            self._notifier.alive()
            gevent.sleep(self._notifier.watchdog_interval)

    def _watch_certificates(self) -> None:
        while True:
            gevent.sleep(CERTIFICATE_INTERVAL)
            try:
                self._reload_certificates()
            except Exception:
                log.exception("the certificates could not be read anew, by a defect of ours")

    def _reload_certificates(self) -> None:
        """Take up certificates that were renewed; those of no use are spoken of once, and the old ones stay."""
        for index, server in enumerate(self._servers):
            try:
                server.reload_certificates()
            except ConfigError as error:
                complaint = str(self._listener_error(index, error))
                if self._complaints.get(index) != complaint:
                    self._complaints[index] = complaint
                    log.error("%s; the certificates from before stay in use", complaint)
            else:
                self._complaints.pop(index, None)

    def _listener_error(self, index: int, error: ConfigError) -> ConfigError:
        """A listener's mistake, with its place in the file; ``error.key`` is a key within the listener's block."""
        key = f"daemon.listeners[{index}]"
        return self._runtime.error(f"{key}.{error.key}" if error.key else key, error.problem)

    def _connections(self) -> int:
        return sum(server.connections for server in self._servers)

    def _compare(self, config: schema.Config) -> None:
        """Say so where a reloaded file asks for what only a new process can give."""
        if config.daemon != self._block:
            log.warning("%s: daemon: changed; takes effect on restart", self._runtime.path)
