"""From a parsed head to a WSGI environ (PEP 3333, "environ Variables").

What is the same for every request of a listener, and of a connection, is made once and copied. Keys of ours:

* ``RAW_URI``: the raw request target (gunicorn's name for it);
* ``wsgiproxy.head``: the ``http1.message.RequestHead``;
* ``wsgiproxy.destination``: callable, the address and port that the client connected to; empty and 0 where unknown;
* ``wsgiproxy.on_cancel``: see ``upstream.messages.OnCancel``: how to hear that the client has gone;
* ``wsgiproxy.upgrade``: True where the request may be answered 101, see ``server.response``;
* ``wsgi.early_hints`` (gunicorn's name): callable, sends a 103 with these fields; not there for HTTP/1.0.
"""

from __future__ import annotations

import socket
import sys
from typing import Any
from urllib.parse import unquote_to_bytes

from wsgiproxy.http1.message import RequestHead


def listener_environ(name: str, port: str) -> dict[str, Any]:
    """What every request of one listener has in common; ``name`` and ``port`` are where it listens."""
    return {
        "SCRIPT_NAME": "",
        "SERVER_NAME": name,
        "SERVER_PORT": port,
        "SERVER_SOFTWARE": "wsgiproxy",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,  # requests interleave
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,  # wsgi.input ends where the body does, chunked or not
    }


def request_environ(base: dict[str, Any], head: RequestHead) -> dict[str, Any]:
    """The environ of one request, less ``wsgi.input``; ``base`` is what the connection's requests have in common."""
    environ = base.copy()
    environ.update(head.environ)
    path = head.path
    environ["REQUEST_METHOD"] = head.method
    environ["PATH_INFO"] = decode_path(path) if path != "*" else "/"
    environ["QUERY_STRING"] = head.query
    environ["SERVER_PROTOCOL"] = head.version
    environ["RAW_URI"] = head.target
    environ["wsgiproxy.head"] = head
    return environ


def destination_of(sock: socket.socket) -> tuple[str, int]:
    """The address and port that a connected socket's client connected to; none on a Unix socket, or once closed."""
    try:
        name = sock.getsockname()
    except OSError:
        return "", 0
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else ("", 0)


def decode_path(path: str) -> str:
    """A raw path, percent-decoded, as latin-1 text."""
    return unquote_to_bytes(path).decode("latin-1") if "%" in path else path
