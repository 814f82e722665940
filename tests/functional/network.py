"""A network namespace of a test's own: a neighbour with an address, who can be made to vanish without a word.

Needs Linux, root and the program ``ip``; ``unusable`` says what lacks. The addresses are of 198.18.0.0/15, which is
nobody's (RFC 2544).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager


def unusable() -> str:
    """Why no namespace can be made here, empty where one can."""
    program = shutil.which("ip", path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]))
    if program is None:
        return "this needs the program `ip`, which is not installed"
    name = f"wsgiproxy-try-{os.getpid()}"
    made = subprocess.run([program, "netns", "add", name], check=False, capture_output=True, text=True)
    if made.returncode:
        return f"this needs the right to make network namespaces: {made.stderr.strip()}"
    linked = subprocess.run(
        [program, "-n", name, "link", "add", "one", "type", "veth", "peer", "name", "two"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    _ip("netns", "del", name)
    return f"this needs veth devices: {linked.stderr.strip()}" if linked.returncode else ""


class Neighbour:
    """The namespace: programs started with ``prefix`` before them listen on ``host``."""

    def __init__(self, number: int) -> None:
        self.name = f"wsgiproxy-{number}"
        self._near, self._far = f"wp{number}a", f"wp{number}b"
        network = f"198.{18 + (number >> 14) % 2}.{(number >> 6) % 256}.{number % 64 * 4}".rsplit(".", 1)
        self._here, self.host = (f"{network[0]}.{int(network[1]) + last}" for last in (1, 2))
        self.prefix = ["ip", "netns", "exec", self.name]

    def set_up(self) -> None:
        """Make it, and the cable."""
        _ip("netns", "add", self.name)
        _ip("link", "add", self._near, "type", "veth", "peer", "name", self._far, "netns", self.name)
        _ip("addr", "add", f"{self._here}/30", "dev", self._near)
        _ip("link", "set", self._near, "up")
        _ip("-n", self.name, "addr", "add", f"{self.host}/30", "dev", self._far)
        _ip("-n", self.name, "link", "set", self._far, "up")

    def vanish(self) -> None:
        """Drop each SYN, and all else that comes from here, without an answer."""
        _ip("-n", self.name, "route", "add", "blackhole", f"{self._here}/32")

    def reappear(self) -> None:
        """Answer again."""
        _ip("-n", self.name, "route", "del", "blackhole", f"{self._here}/32")

    def take_down(self) -> None:
        """Its end, and the cable's."""
        _ip("netns", "del", self.name)


@contextmanager
def neighbour() -> Iterator[Neighbour]:
    """One for the time of a block."""
    one = Neighbour(os.getpid())
    try:
        one.set_up()
        yield one
    finally:
        one.take_down()


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
