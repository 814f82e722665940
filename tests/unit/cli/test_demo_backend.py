"""The demo's backend, as the WSGI application that it is."""

from __future__ import annotations

import os
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

from wsgiproxy.cli.demo_backend import DemoApp


def ask(app: DemoApp, path: str) -> bytes:
    environ: dict[str, object] = {"PATH_INFO": path, "SCRIPT_NAME": "", "QUERY_STRING": ""}
    setup_testing_defaults(environ)
    body = validator(app)(environ, lambda status, headers, exc_info=None: lambda data: None)
    try:
        return b"".join(body)
    finally:
        body.close()  # type: ignore[attr-defined]


def test_it_names_itself_and_counts() -> None:
    app = DemoApp("alpha", 0.0)
    assert ask(app, "/hello") == f"alpha (pid {os.getpid()}) answers GET /hello\n".encode()
    assert app.answered == 1


def test_health_checks_are_answered_and_not_counted() -> None:
    app = DemoApp("alpha", 0.0)
    assert ask(app, "/healthz") == b"well\n"
    assert app.answered == 0
