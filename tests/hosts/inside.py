"""A small WSGI application that tells about the process it runs in: the fallback of every proxy mounted here.

It must not import anything that the host or the proxy would not: what is imported is one of the things it tells.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse


def inside(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """This process's id, what of gevent it has imported, and the names of its threads; where it is mounted."""
    facts = {
        "pid": os.getpid(),
        "modules": [name for name in ("gevent", "wsgiproxy.transport.greenlet") if name in sys.modules],
        "threads": [thread.name for thread in threading.enumerate()],
        "mounted_at": environ["SCRIPT_NAME"],
        "path": environ["PATH_INFO"],
    }
    body = json.dumps(facts).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
