"""A reverse proxy and load balancer for WSGI shops: a daemon, and a WSGI application.

The public door: ``ProxyApp`` is the WSGI application. Importing this package imports nothing heavy (PEP 562): a name
is fetched when it is asked for.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsgiproxy.proxy.app import ProxyApp

__all__ = ["ProxyApp", "__version__"]

__version__ = "0.1.0"

if os.environ.get("WSGIPROXY_PURE"):
    importlib.import_module("wsgiproxy.pure").keep_compiled_parts_out()
else:
    importlib.import_module("wsgiproxy.pure").keep_halves_out(os.path.dirname(__file__))


def __getattr__(name: str) -> Any:
    if name == "ProxyApp":
        return importlib.import_module("wsgiproxy.proxy.app").ProxyApp
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
