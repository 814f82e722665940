"""One backend of ``wsgiproxy demo``: a small WSGI application, served by our own front server.

It prints its port once and then, whenever it changed, how many requests it has answered, health checks left out. It
ends with its standard input, so that it never outlives the demo.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterable
from typing import Any

import gevent
import gevent.event
import gevent.os

from wsgiproxy.config import schema
from wsgiproxy.server.listener import close_listener, open_listener
from wsgiproxy.server.server import Server
from wsgiproxy.transport.greenlet import GreenletDriver

REPORT_INTERVAL = 0.25  # seconds between two looks at the count


class DemoApp:
    """The application: ``/healthz`` says that it is well, every other path who answered. ``delay`` is in seconds."""

    def __init__(self, name: str, delay: float) -> None:
        self.answered = 0
        self._name = name
        self._delay = delay

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer in plain text."""
        text = "well\n"
        if environ["PATH_INFO"] != "/healthz":
            gevent.sleep(self._delay)
            self.answered += 1
            text = f"{self._name} (pid {os.getpid()}) answers {environ['REQUEST_METHOD']} {environ['PATH_INFO']}\n"
        body = text.encode("latin-1")
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]


def main() -> None:
    """Serve until standard input ends or a signal comes."""
    parser = argparse.ArgumentParser(prog="wsgiproxy.cli.demo_backend")
    parser.add_argument("--name", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0)
    arguments = parser.parse_args()
    app = DemoApp(arguments.name, arguments.delay)
    block = schema.Listener(address=f"127.0.0.1:{arguments.port}")
    listener = open_listener(block)
    server = Server(app, listener, block, GreenletDriver())
    server.start()
    _say(f"port {listener.getsockname()[1]}")
    stop = gevent.event.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(signum, stop.set)
    gevent.spawn(_wait_for_end_of_input, stop)
    _report(app, stop)
    server.close()
    close_listener(listener, block)


def _wait_for_end_of_input(stop: gevent.event.Event) -> None:
    descriptor = sys.stdin.fileno()
    gevent.os.make_nonblocking(descriptor)
    while gevent.os.nb_read(descriptor, 1024):
        pass
    stop.set()


def _report(app: DemoApp, stop: gevent.event.Event) -> None:
    said = 0
    while not stop.wait(REPORT_INTERVAL):
        if app.answered != said:
            said = app.answered
            _say(f"answered {said}")


def _say(text: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # the demo is gone, and so are we in a moment
        os.write(sys.stdout.fileno(), f"{text}\n".encode())


if __name__ == "__main__":
    main()
