"""What the host servers are given: ``ProxyApp`` as middleware around a small application that tells about its process.

Started by ``tests.hosts.servers``; the configuration is named by ``WSGIPROXY_CONFIG``.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse

from wsgiproxy import ProxyApp


def inside(_environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """The fallback: what this process has imported, and what it holds."""
    facts = {
        "pid": os.getpid(),
        "modules": [name for name in ("gevent", "wsgiproxy.transport.greenlet") if name in sys.modules],
        "threads": threading.active_count(),
        "descriptors": len(os.listdir("/proc/self/fd")),
    }
    body = json.dumps(facts).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


application = ProxyApp.from_file(os.environ["WSGIPROXY_CONFIG"], fallback=inside)
