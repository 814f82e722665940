"""``python simple_server.py PORT MODULE:NAME``: an application in wsgiref's server, which has one thread."""

from __future__ import annotations

import importlib
import sys
from wsgiref.simple_server import WSGIServer, make_server


class PatientServer(WSGIServer):
    """Clients beyond wsgiref's queue of five would wait a second for their next SYN."""

    request_queue_size = 128


def main(port: str, name: str) -> None:
    """Serve until killed."""
    module, _, attribute = name.partition(":")
    app = getattr(importlib.import_module(module), attribute)
    make_server("127.0.0.1", int(port), app, PatientServer).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
