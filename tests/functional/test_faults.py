"""Five backends under load, one or all of which go wrong in each way that there is: what clients and the others bear.

The long form is ``python -m tests.soak faults``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import Start, lack
from tests.functional.faults import ONE_FAULT, VANISHED, WHOLE_POOL, Fault, Report, Site, SteadyLoad, run_fault
from tests.functional.network import neighbour, unusable

INTERVAL = 0.2  # seconds between two checks
EJECTION = 1.0  # seconds of an ejection
SECONDS = 0.8  # that a fault lasts, or until a backend is out of rotation
Scene = tuple[Site, SteadyLoad]


@pytest.fixture(name="scene", scope="module")
def fixture_scene(start_for_module: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with ExitStack() as stack:
        place = None if unusable() else stack.enter_context(neighbour())
        site = Site(start_for_module, tmp_path_factory.mktemp("faults"), INTERVAL, EJECTION, place)
        yield site, stack.enter_context(SteadyLoad(site.daemon.port))


def check(scene: Scene, fault: Fault) -> None:
    report = run_fault(*scene, fault, SECONDS)
    print(f"{Report.HEAD}\n{report}")
    assert report.broken() == []
    assert "Traceback" not in scene[0].daemon.process.output()


@pytest.mark.parametrize("fault", ONE_FAULT, ids=lambda fault: fault.name)
def test_one_bad_backend_of_five_costs_no_more_than_it_must(scene: Scene, fault: Fault) -> None:
    check(scene, fault)


def test_one_backend_that_drops_every_syn_costs_no_more_than_it_must(scene: Scene) -> None:
    if reason := unusable():
        lack(reason)
    check(scene, VANISHED)


def test_a_dead_pool_is_not_stormed_and_serves_as_soon_as_it_is_back(start: Start, tmp_path: Path) -> None:
    site = Site(start, tmp_path, INTERVAL, EJECTION)
    with SteadyLoad(site.daemon.port) as load:
        for fault in WHOLE_POOL:
            check((site, load), fault)
