"""Fixtures that every test may use: tools that must be there, processes that end with the test.

``free_port``, ``wait_until`` and ``Process`` themselves are imported from ``tests.processes``.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, Protocol

import pytest

from tests.house.compiled import stale
from tests.processes import OUTPUT_TAIL, Process

PROCESSES: pytest.StashKey[list[Process]] = pytest.StashKey()
ROOT = Path(__file__).resolve().parent.parent


def pytest_sessionstart() -> None:
    """Refuse to test compiled modules that hide a newer source."""
    if not os.environ.get("WSGIPROXY_PURE") and (modules := stale(ROOT)):
        pytest.exit(f"older than their source: {', '.join(modules)}; run `pip install -e .` again, or remove them", 2)


class Start(Protocol):
    """The ``start`` fixture's function."""

    def __call__(
        self,
        argv: Sequence[str | Path],
        *,
        name: str = "",
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Process:
        """Start a program; see ``tests.processes.Process``."""


@pytest.fixture(scope="session")
def need() -> Callable[[str], str]:
    """``need("nginx")``: the program's path. Where it lacks the test is skipped, under ``CI=true`` it fails."""

    def path_of(tool: str) -> str:
        search = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
        path = shutil.which(tool, path=search)
        if path is None:
            lack(f"this test needs the program `{tool}`, which is not installed")
        return path

    return path_of


def lack(reason: str) -> NoReturn:
    """Skip the test because the machine lacks something; fail it under ``CI=true``, where nothing may lack."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason} (and CI=true: nothing may be skipped here)", pytrace=False)
    pytest.skip(reason)


@pytest.fixture
def start(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Start]:
    """``start([program, ...])``: a running ``Process`` that ends with the test; its output is shown if that fails."""
    yield from starting(tmp_path, request.node)


@pytest.fixture(scope="module")
def start_for_module(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Start]:
    """``start`` for processes that all tests of a module share."""
    yield from starting(tmp_path_factory.mktemp("processes"), request.node)


def starting(folder: Path, node: pytest.Item | pytest.Collector) -> Iterator[Start]:
    """A ``start`` function whose processes log into ``folder`` and end when this generator goes on."""
    processes: list[Process] = node.stash.setdefault(PROCESSES, [])

    def start_one(
        argv: Sequence[str | Path],
        *,
        name: str = "",
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Process:
        log = folder / f"process-{len(processes)}.log"
        process = Process(argv, log, name=name, env=env, cwd=cwd)
        processes.append(process)
        return process

    yield start_one
    for process in reversed(processes):
        process.kill()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the output of the test's processes to its failure."""
    report = yield
    if report.failed:
        for process in (process for node in item.listchain() for process in node.stash.get(PROCESSES, [])):
            title = f"output of {process.name} (pid {process.pid}, status {process.returncode})"
            report.sections.append((title, process.output()[-OUTPUT_TAIL:]))
    return report
