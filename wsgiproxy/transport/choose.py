"""Which driver this process needs: gevent's where gevent has taken over the sockets, the blocking one elsewhere.

The rule of the room: looks at what the host has already done and imports nothing that the host does not use, so that
a threaded host never loads gevent (and gevent never makes a hub for each of its threads).
"""

from __future__ import annotations

import importlib
import sys

from wsgiproxy.transport.stream import Driver
from wsgiproxy.transport.thread import ThreadDriver


def choose_driver() -> Driver:
    """A new driver for this process, as it is now: call it at the first request, not at import."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("socket"):
        driver: Driver = importlib.import_module("wsgiproxy.transport.greenlet").GreenletDriver()
        return driver
    return ThreadDriver()
