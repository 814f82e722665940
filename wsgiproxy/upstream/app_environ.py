"""An outgoing request as the WSGI environ that an application of this process sees (PEP 3333, "environ Variables").

The rule of the room: what the proxy has made final (fields, path, framing) is said by the request alone; from the
client's environ come only the facts about the server and the connection. It must not call the application.
"""

from __future__ import annotations

import io
import sys
from typing import Any

from wsgiproxy.errors import ProxyError
from wsgiproxy.http1.headers import environ_of
from wsgiproxy.upstream.messages import RequestBody, UpstreamRequest

# Said anew by the request; and the host's way of sending files, which works only for answers that it sees itself.
_SAID_ANEW = frozenset({"CONTENT_TYPE", "CONTENT_LENGTH", "wsgi.early_hints", "wsgi.file_wrapper"})


class AppInput(io.RawIOBase):
    """The bytes under ``wsgi.input``; ``failure`` is what the client's body raised, for whoever asks later."""

    def __init__(self, body: RequestBody | None) -> None:
        super().__init__()
        self._body = body
        self._rest = memoryview(b"")
        self.failure: ProxyError | None = None

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` with what is there; 0 at the end of the body, and ever after."""
        if self.failure is not None:
            raise self.failure
        if not self._rest and self._body is not None:
            try:
                self._rest = memoryview(self._body.read_some())
            except ProxyError as error:
                self.failure = error
                raise
            if not self._rest:
                self._body = None
        count = min(len(self._rest), len(buffer))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def app_environ(request: UpstreamRequest) -> tuple[dict[str, Any], AppInput]:
    """A fresh environ for the application, and the raw end of its ``wsgi.input``.

    ``wsgi.input`` ends by itself with the body (``wsgi.input_terminated``), also where a chunked body has no
    CONTENT_LENGTH. No ``HTTP_*`` of the client's environ is taken over: what the proxy stripped stays stripped. Keys
    that a health check, which has no client, cannot know get plain values.
    """
    environ: dict[str, Any] = {
        "wsgi.url_scheme": "http",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for key, value in request.environ.items():
        if not key.startswith(("HTTP_", "wsgiproxy.")) and key not in _SAID_ANEW:
            environ[key] = value
    if request.client.source:
        environ["REMOTE_ADDR"] = request.client.source
        environ.pop("REMOTE_PORT", None)
        if request.client.source_port:
            environ["REMOTE_PORT"] = str(request.client.source_port)
    if request.scheme:
        environ["wsgi.url_scheme"] = request.scheme
        environ.pop("HTTPS", None)
        if request.scheme == "https":
            environ["HTTPS"] = "on"
    if request.on_early_hints is not None:
        environ["wsgi.early_hints"] = request.on_early_hints
    # CGI cannot tell an underscore from a hyphen: X_Forwarded_For would overwrite or join what we say of the client.
    environ.update(environ_of([field for field in request.fields if "_" not in field[0]]))
    if request.host:
        environ["HTTP_HOST"] = request.host
    if request.framing.length is not None:
        environ["CONTENT_LENGTH"] = str(request.framing.length)
    raw = AppInput(request.body)
    environ |= {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": request.script_name,
        "PATH_INFO": request.path_info,
        "QUERY_STRING": request.query,
        "SERVER_PORT": str(environ["SERVER_PORT"]),  # Granian has a number there
        "wsgi.input": io.BufferedReader(raw),
        "wsgi.input_terminated": True,
    }
    return environ, raw
