"""A real WebSocket server (the ``websockets`` library) as a backend: ``python websocket_server.py 127.0.0.1:0``.

It prints ``listening on http://ADDRESS``, answers ``/echo`` with each message that comes, ``/push/N`` with N numbered
messages of its own, ``/close`` by closing with code 4001, and serves until it is killed. Nothing of the proxy is
imported here.
"""

from __future__ import annotations

import sys

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

MAX_MESSAGE = 64 * 1024 * 1024


def answer(connection: ServerConnection) -> None:
    """Serve one client until it closes."""
    assert connection.request is not None
    path = connection.request.path
    try:
        if path == "/close":
            connection.close(4001, "as asked")
        elif path.startswith("/push/"):
            for number in range(int(path.rpartition("/")[2])):
                connection.send(str(number))
        else:
            for message in connection:
                connection.send(message)
    except ConnectionClosed:
        print("a client went away", flush=True)


def main() -> None:
    """Serve where the first argument says."""
    host, _, port = sys.argv[1].rpartition(":")
    with serve(answer, host, int(port), max_size=MAX_MESSAGE, compression=None, ping_interval=None) as server:
        print(f"listening on http://{host}:{server.socket.getsockname()[1]}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
