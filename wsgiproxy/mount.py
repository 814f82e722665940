"""``wsgiproxy.mount:application``: the proxy for hosts that want a module and a name.

    WSGIPROXY_CONFIG=wsgiproxy.yaml gunicorn wsgiproxy.mount:application

The environment variable is read when the name is asked for (PEP 562), so that a mistake stops the host at its start
and importing this module alone does nothing. uWSGI looks names up without asking: give it
``wsgiproxy.mount:make_application()``. Nothing else lives here.
"""

from __future__ import annotations

import os
from typing import Any

from wsgiproxy.errors import ConfigError
from wsgiproxy.proxy.app import ProxyApp

CONFIG_VARIABLE = "WSGIPROXY_CONFIG"


def make_application() -> ProxyApp:
    """A proxy for the YAML file that ``WSGIPROXY_CONFIG`` names; ``ConfigError`` or ``InvalidConfigError``."""
    path = os.environ.get(CONFIG_VARIABLE, "")
    if not path:
        raise ConfigError(
            f"the environment variable {CONFIG_VARIABLE} is not set: it must hold the path of the YAML file"
        )
    return ProxyApp.from_file(path)


def __getattr__(name: str) -> Any:
    if name == "application":
        return make_application()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
