"""The command ``wsgiproxy``: one file per command.

A command module has one ``run(arguments) -> exit code`` and is imported only when its command was given. Exit codes:
0 for done, 1 for a mistake in what the command was given to work on, 2 for a wrong command line. A mistake of the
operator's is a line on standard error, never a traceback.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import os
import platform
import sys
from collections.abc import Sequence

import wsgiproxy
from wsgiproxy.errors import ConfigError, InvalidConfigError
from wsgiproxy.http1.parser import CODEC

EXAMPLE = """\
example of a configuration, wsgiproxy.yaml:

  daemon:
    listeners: ["127.0.0.1:8080"]
  pools:
    web:
      backends: ["http://127.0.0.1:8001", "http://127.0.0.1:8002"]
      health_check: {path: /healthz, interval: 5s}
  routes:
    - {match: {host: shop.example.org, path: /api}, pool: web, strip_prefix: true}
    - {pool: web}

try it:

  wsgiproxy demo                  three small backends and a proxy before them
  wsgiproxy check wsgiproxy.yaml  every mistake in the file, each with its line
  wsgiproxy run wsgiproxy.yaml    serve until SIGTERM; SIGHUP or an edit of the file reloads it
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code. ``SystemExit`` with 2 where the command line is wrong."""
    parser = _make_parser()
    arguments = parser.parse_args(argv)
    if arguments.version:
        print(version())
        return 0
    if arguments.command is None:
        parser.print_help(sys.stderr)
        return 2
    if os.getcwd() not in sys.path:  # so that app:module:callable finds the modules beside the operator
        sys.path.insert(0, os.getcwd())
    try:
        exit_code: int = importlib.import_module(f"wsgiproxy.cli.{arguments.command}").run(arguments)
    except (ConfigError, InvalidConfigError) as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of our output has left: wsgiproxy schema | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    return exit_code


def version() -> str:
    """What runs, in one line."""
    gevent = importlib.metadata.version("gevent")
    return f"wsgiproxy {wsgiproxy.__version__} ({CODEC}, Python {platform.python_version()}, gevent {gevent})"


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wsgiproxy",
        description="A reverse proxy and load balancer for WSGI shops.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="say what runs, and stop")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, text in (
        ("run", "serve what CONFIG describes, in the foreground, until SIGTERM"),
        ("check", "read CONFIG and list every mistake in it"),
    ):
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        command.add_argument("config", metavar="CONFIG", help="the YAML file")
    text = "print the JSON Schema of the YAML file, for editors"
    commands.add_parser("schema", help=text, description=text[0].upper() + text[1:] + ".")
    _add_demo(commands.add_parser("demo", help="three small backends and a proxy before them, to look at"))
    return parser


def _add_demo(demo: argparse.ArgumentParser) -> None:
    demo.description = (
        "Start three small backends and a proxy before them, each a process of its own, and say once a second "
        "where the requests went. Ctrl-C ends it all."
    )
    demo.add_argument("--port", type=int, default=8080, help="the proxy's port (8080; a free one where it is taken)")
    demo.add_argument("--seconds", type=float, help="stop by itself after so many seconds")
    demo.add_argument(
        "--no-load", dest="load", action="store_false", help="send no requests of its own (5 a second otherwise)"
    )
