"""``python own_server.py PORT PREFIX``: a ``ProxyApp`` mounted below a prefix in our own front server.

The server runs without monkey-patching, so the proxy is given the server's driver, as the daemon does it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication

import gevent
import gevent.event

from tests.hosts.inside import inside
from wsgiproxy.config import schema
from wsgiproxy.proxy.app import ProxyApp
from wsgiproxy.runtime import Runtime
from wsgiproxy.server.listener import open_listener
from wsgiproxy.server.server import Server
from wsgiproxy.transport.greenlet import GreenletDriver

DRAIN_TIMEOUT = 3.0  # seconds


def below(prefix: str, app: WSGIApplication) -> WSGIApplication:
    """``app`` mounted at ``prefix`` (PEP 3333: the prefix moves to SCRIPT_NAME), as werkzeug's dispatcher does it."""

    def dispatch(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if not path.startswith(f"{prefix}/"):
            start_response("404 Not Found", [("Content-Length", "0")])
            return [b""]
        environ["SCRIPT_NAME"] += prefix
        environ["PATH_INFO"] = path.removeprefix(prefix)
        return app(environ, start_response)

    return dispatch


def main(port: str, prefix: str) -> None:
    """Serve until SIGTERM, then drain."""
    stop = gevent.event.Event()
    gevent.signal_handler(signal.SIGTERM, stop.set)
    driver = GreenletDriver()
    proxy = ProxyApp(Runtime(os.environ["WSGIPROXY_CONFIG"], driver), fallback=inside)
    listener = schema.Listener(address=f"127.0.0.1:{port}")
    server = Server(below(prefix, proxy), open_listener(listener), listener, driver)
    server.start()
    stop.wait()
    server.drain(DRAIN_TIMEOUT)
    proxy.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
