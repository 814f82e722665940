"""A WSGI application that echoes its body, under the standard library's validator: an in-process backend."""

from __future__ import annotations

from typing import Any
from wsgiref.validate import validator


def echo(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answer with what came."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    head_only = environ["REQUEST_METHOD"] == "HEAD"
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Path", environ["PATH_INFO"])])
    return [b"" if head_only else body or b"nothing"]


application = validator(echo)
