"""``wsgiproxy check CONFIG``: every mistake in the file, without serving it."""

from __future__ import annotations

import argparse

from wsgiproxy.errors import ConfigError, InvalidConfigError
from wsgiproxy.runtime import Runtime, count_parts
from wsgiproxy.server.tls import ListenerContexts


def run(arguments: argparse.Namespace) -> int:
    """Say what the file holds, or raise ``InvalidConfigError`` with all that is wrong, with applications and keys."""
    runtime = Runtime(arguments.config)
    config = runtime.config
    mistakes = []
    for index, listener in enumerate(config.daemon.listeners):
        if listener.tls is not None:
            try:
                ListenerContexts(listener.tls)
            except ConfigError as error:
                mistakes.append(runtime.error(f"daemon.listeners[{index}].{error.key}", error.problem))
    if mistakes:
        raise InvalidConfigError(mistakes)
    print(f"{arguments.config}: ok, {count_parts(config)}", flush=True)
    return 0
