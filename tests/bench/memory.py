"""What an idle connection costs: memory of each proxy before and after clients that asked once and stay."""

from __future__ import annotations

import contextlib
import resource
import socket
from collections.abc import Sequence
from pathlib import Path

from tests.bench.peers import Running

REQUEST = b"GET / HTTP/1.1\r\nHost: bench.example\r\n\r\n"
WARM = 64  # connections that come and go before the first look, so that what is made once is there


def idle_table(targets: Sequence[Running], connections: int) -> str:
    """A line for each target: bytes of resident memory for each idle keep-alive connection."""
    lines = [f"idle: {connections} keep-alive connections after one request each", f"{'':12}{'KiB each':>12}"]
    for target in targets:
        lines.append(f"{target.name:12}{idle_bytes(target, connections) / 1024:12.1f}")
    return "\n".join(lines)


def idle_bytes(target: Running, connections: int) -> float:
    """Resident bytes that each of so many idle connections to ``target`` costs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, connections + 1000)), hard))
    with contextlib.ExitStack() as stack:
        for _ in range(WARM):
            ask(stack.enter_context(connect(target.port)))
    before = resident(target.process.pid)
    with contextlib.ExitStack() as stack:
        for _ in range(connections):
            ask(stack.enter_context(connect(target.port)))
        return (resident(target.process.pid) - before) / connections


def connect(port: int) -> socket.socket:
    """A client's connection."""
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def ask(client: socket.socket) -> None:
    """One request, its answer read whole."""
    client.sendall(REQUEST)
    data = b""
    while not data.endswith(b".\n"):  # the end of SMALL_ANSWER
        piece = client.recv(65536)
        assert piece, f"the connection ended after {data!r}"
        data += piece


def resident(pid: int) -> int:
    """Resident memory of a process and its children, in bytes (proc(5))."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    line = next((line for line in status.splitlines() if line.startswith("VmRSS:")), "VmRSS: 0 kB")
    return int(line.split()[1]) * 1024 + sum(resident(int(child)) for child in children)
