"""This machine as the bench sees it: which core does what, which tools are there, how busy a process is."""

from __future__ import annotations

import os
import platform
import resource
import shutil
from dataclasses import dataclass
from pathlib import Path

# The Debian 12 package of each tool.
PACKAGES = {"nginx": "nginx-light", "haproxy": "haproxy", "wrk": "wrk", "taskset": "util-linux"}
SBIN = ("/usr/sbin", "/sbin")  # not on every user's PATH
TICKS = os.sysconf("SC_CLK_TCK")  # per second, in /proc/pid/stat


@dataclass(frozen=True)
class Cores:
    """Who runs on which CPUs. The proxy under test has one core, alone wherever there are two."""

    backend: tuple[int, ...]
    proxy: tuple[int, ...]
    load: tuple[int, ...]

    @classmethod
    def of(cls, usable: list[int]) -> Cores:
        """Share out the CPUs that this process may use; more than four are left alone."""
        match usable:
            case [only]:
                return cls((only,), (only,), (only,))
            case [shared, proxy]:
                return cls((shared,), (proxy,), (shared,))
            case [backend, proxy, *load]:
                return cls((backend,), (proxy,), tuple(load[:2]))
        raise ValueError("no usable CPU")

    def __str__(self) -> str:
        text = f"backend on core {self.backend[0]}, proxy on {self.proxy[0]}, load on {', '.join(map(str, self.load))}"
        if self.proxy == self.load:
            return f"{text} (one core for all: the numbers say little)"
        if self.backend == self.load:
            return f"{text} (two cores: backend and load share one and may be what limits)"
        return text


def missing_tools(tools: set[str]) -> list[str]:
    """One line for each of ``tools`` that is not installed, with its Debian package."""
    return [f"{tool} is not installed: apt-get install {PACKAGES[tool]}" for tool in sorted(tools) if not path_of(tool)]


def path_of(tool: str) -> str:
    """The program's path, empty where it is not installed."""
    return shutil.which(tool, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *SBIN])) or ""


def description() -> str:
    """The machine in one line."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    load = os.getloadavg()[0]
    return f"{model}, {os.cpu_count()} cores, load {load:.1f} at the start, Python {platform.python_version()}"


def raise_open_files() -> None:
    """Allow this process and what it starts as many open files as root allows: 10,000 connections need them."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def cpu_seconds(pid: int) -> float:
    """CPU time that a process and its living children have used, in seconds."""
    used = 0.0
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        used = (int(fields[11]) + int(fields[12])) / TICKS  # utime, stime: proc(5)
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return used
    return used + sum(cpu_seconds(int(child)) for child in children)
