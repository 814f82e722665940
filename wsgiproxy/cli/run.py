"""``wsgiproxy run CONFIG``: the daemon, in the foreground."""

from __future__ import annotations

import argparse

from wsgiproxy.daemon.worker import serve


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal says stop; ``ConfigError`` or ``InvalidConfigError`` where it cannot start."""
    return serve(arguments.config)
