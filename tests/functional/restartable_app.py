"""A WSGI application (PEP 3333) for gunicorn that says how busy it is, so that it can be restarted when it is idle.

* ``/healthz``  for checks; not counted
* ``/control/books``  how many requests are under way and how many were answered, as JSON; not counted
* ``/slow``  answered after ``SLOW_SECONDS``
* everything else  answered after ``SECONDS``; a body that has not its announced length gets a 400

One process, several threads. Nothing here knows of the proxy.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

SECONDS = 0.005
SLOW_SECONDS = 0.3


class Answered:
    """The body of an answer, which is over when the server closes it: after its last byte was sent (PEP 3333)."""

    def __init__(self, app: App, text: bytes) -> None:
        self._app = app
        self._text = text

    def __iter__(self) -> Iterator[bytes]:
        yield self._text

    def close(self) -> None:
        """One answer more, one request less."""
        self._app.end()


class App:
    """Counts what is under way."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_flight = 0
        self._answered = 0

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        path = environ["PATH_INFO"]
        if path == "/healthz":
            return self._say(start_response, b"well\n")
        if path == "/control/books":
            return self._say(start_response, json.dumps(self._books()).encode())
        with self._lock:
            self._in_flight += 1
        length = int(environ.get("CONTENT_LENGTH") or 0)
        whole = len(environ["wsgi.input"].read(length)) == length
        time.sleep(SLOW_SECONDS if path == "/slow" else SECONDS)
        text = f"{os.getpid()}\n".encode()
        self._say(start_response, text, "200 OK" if whole else "400 Bad Request")
        return Answered(self, text)

    def end(self) -> None:
        """A request is over."""
        with self._lock:
            self._in_flight -= 1
            self._answered += 1

    def _books(self) -> dict[str, int]:
        with self._lock:
            return {"in_flight": self._in_flight, "answered": self._answered}

    def _say(self, start_response: Callable[..., Any], text: bytes, status: str = "200 OK") -> list[bytes]:
        start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
        return [text]


app = App()
