"""What connections cost: memory of each proxy with clients that asked once and stay, and with requests under way."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.backends import Running
from tests.bench.plot import Chart
from tests.processes import wait_until

IDLE, HOLD, HELD = (
    f"GET {path} HTTP/1.1\r\nHost: bench.example\r\n\r\n".encode() for path in ("/", "/sink/hold", "/sink/held")
)
WARM = 64  # connections that come and go before the first look, so that what is made once is there
IDLE_TARGET = 20.0  # KiB, issue 4


@dataclass(frozen=True)
class Weights:
    """KiB of resident memory for each of so many connections: ``idle`` and ``in_flight``, by target."""

    connections: int
    idle: dict[str, float]
    in_flight: dict[str, float]

    def table(self) -> str:
        """A line for each target."""
        head = f"memory: {self.connections} connections, idle after one request or each with one under way"
        lines = [head, f"{'KiB each':12}{'idle':>12}{'in flight':>12}"]
        return "\n".join(
            (*lines, *(f"{name:12}{self.idle[name]:12.1f}{self.in_flight[name]:12.1f}" for name in self.idle))
        )

    def chart(self) -> Chart:
        """The same for the plot."""
        values = {name: [self.idle[name], self.in_flight[name]] for name in self.idle}
        return Chart("memory", f"each of {self.connections} connections", "KiB", ["idle", "in flight"], values)

    def verdicts(self, name: str) -> list[tuple[str, str, float, float, bool]]:
        """The limit for ``name``, as ``report`` shows it."""
        if name not in self.idle:
            return []
        return [("idle connection", "KiB", self.idle[name], IDLE_TARGET, self.idle[name] <= IDLE_TARGET)]


def weigh(proxies: Sequence[Running], sink_port: int, connections: int) -> Weights:
    """Look at each proxy before and after so many connections."""
    weights = Weights(connections, {}, {})
    for proxy in proxies:
        idle, in_flight = bytes_each(proxy, sink_port, connections)
        weights.idle[proxy.name], weights.in_flight[proxy.name] = idle / 1024, in_flight / 1024
    return weights


def bytes_each(proxy: Running, sink_port: int, count: int) -> tuple[float, float]:
    """Resident bytes for each of so many idle connections, and for each request while its backend says nothing.

    Both are counted from the same beginning: what idle connections leave behind is used again by the requests.
    """
    with idle_connections(proxy.port, WARM):
        pass
    before = resident(proxy.process.pid)
    with idle_connections(proxy.port, count):
        idle = resident(proxy.process.pid) - before
    with held_requests(proxy.port, sink_port, count):
        return idle / count, (resident(proxy.process.pid) - before) / count


@contextlib.contextmanager
def idle_connections(port: int, count: int) -> Iterator[None]:
    """So many clients that have asked once and wait."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            ask(stack.enter_context(connect(port)), IDLE)
        yield


@contextlib.contextmanager
def held_requests(port: int, sink_port: int, count: int) -> Iterator[None]:
    """So many requests that have reached the sink and get no answer."""
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(connect(sink_port))

        def held() -> int:
            return int(ask(sink, HELD).rpartition(b"\r\n\r\n")[2])

        before = held()
        for _ in range(count):
            stack.enter_context(connect(port)).sendall(HOLD)
        wait_until(lambda: held() >= before + count, 30, f"{count} requests under way")
        yield


def connect(port: int) -> socket.socket:
    """A client's connection."""
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def ask(client: socket.socket, request: bytes) -> bytes:
    """One request; its answer, read whole."""
    client.sendall(request)
    data = b""
    while not (b"\r\n\r\n" in data and data.endswith(b"\n") and not data.endswith(b"\r\n")):  # bodies end with a line
        piece = client.recv(65536)
        assert piece, f"the connection ended after {data!r}"
        data += piece
    return data


def resident(pid: int) -> int:
    """Resident memory of a process and its children, in bytes (proc(5))."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    line = next((line for line in status.splitlines() if line.startswith("VmRSS:")), "VmRSS: 0 kB")
    return int(line.split()[1]) * 1024 + sum(resident(int(child)) for child in children)
