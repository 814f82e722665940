"""Applications for the server's tests, and a client that asks one thing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent.event

from tests.loopback import Client, Serving


class Gate:
    """An application that waits to be let through and counts those inside; ``/open`` passes at once."""

    def __init__(self, size: int = 5) -> None:
        self.opened = gevent.event.Event()
        self.inside = 0
        self.size = size

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        self.inside += 1
        if environ["PATH_INFO"] != "/open":
            self.opened.wait()
        self.inside -= 1
        start_response("200 OK", [])
        return [b"x" * self.size]


def environ_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [])
    keys = ("REMOTE_ADDR", "REMOTE_PORT", "SERVER_NAME", "SERVER_PORT")
    return [repr([environ.get(key) for key in keys]).encode()]


def ask(running: Serving, target: str = "/") -> Client:
    client = running.client()
    client.send(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return client
