"""One of five backends with each fault: what clients see of it, what the others bear, and how soon it is found out.

``pytest -s`` prints the figures. The bounds leave some room for other draws of chance, so that a change that makes
matters worse is seen, and one that only shuffles them is not.
"""

from __future__ import annotations

import doctest
import math
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.unit.testing.scenes import FAULTS, address, five_with
from wsgiproxy import testing
from wsgiproxy.testing import Report


class Bounds(NamedTuple):
    """The most that may be seen of a fault that lasts 15 s, under 100 requests a second of which every fifth is a POST.

    ``to_detect`` and ``to_return`` are seconds, None where it need not be found out, or stays ejected for its time.
    """

    failed_idempotent: int = 0
    failed_other: int = 5
    retries: int = 12
    to_detect: float | None = 0.5
    to_return: float | None = 2.3  # two good checks, a second and a tenth apart
    extra_load: float = 1.3  # four in the place of five: 1.25
    p99: float = 0.08  # seconds; 0.064 without any fault


BOUNDS = {
    "killed": Bounds(),
    "hangs": Bounds(to_detect=4.5),  # three checks, a second and a tenth apart, of a second each
    "resets": Bounds(),
    "answers 500": Bounds(failed_idempotent=6, retries=0),  # answers are delivered where `statuses` names none
    "slow tenfold": Bounds(to_detect=None, extra_load=1.25, p99=0.3, to_return=0.0),  # least_conn spares it
    "flaps each second": Bounds(retries=80, to_return=None),
    "drops SYNs": Bounds(to_detect=2.5, to_return=3.0),  # by five connect timeouts of 1 s
    "closes mid-body": Bounds(failed_idempotent=15, retries=0, to_return=None),  # which checks do not see
}


@pytest.fixture(scope="module")
def reports() -> dict[str, Report]:
    return {name: five_with(fault, "outliers: {consecutive_5xx: 5}") for name, fault in FAULTS.items()}


@pytest.mark.parametrize("name", FAULTS)
def test_one_of_five_is_in_trouble(name: str, reports: dict[str, Report]) -> None:
    report, bounds = reports[name], BOUNDS[name]
    (outage,) = report.outages
    print(
        f"{name:18s} errors: {report.failed_idempotent:3d} idempotent, {report.failed_other:2d} others; "
        f"retries {report.retries:3d}; p99 {report.p99 * 1000:3.0f} ms; others had {outage.extra_load:.2f}; "
        f"detected in {_told(outage.to_detect)}, back in {_told(outage.to_return)}"
    )
    assert report.failed_idempotent <= bounds.failed_idempotent
    assert report.failed_other <= bounds.failed_other
    assert report.retries <= bounds.retries
    assert outage.extra_load <= bounds.extra_load
    assert report.p99 <= bounds.p99
    if bounds.to_return is not None:
        assert outage.to_return is not None and outage.to_return <= bounds.to_return
    if bounds.to_detect is not None:
        assert outage.to_detect is not None and outage.to_detect <= bounds.to_detect
    assert report.still_in_flight == 0
    assert sum(report.statuses.values()) == report.requests


def test_who_sends_chosen_statuses_elsewhere_sees_no_500_either() -> None:
    report = five_with(
        FAULTS["answers 500"], "retries: {statuses: ['500-504']}\n        outliers: {consecutive_5xx: 5}"
    )
    assert report.failed_idempotent == 0
    assert report.failed_other <= 3
    assert report.failed_attempts == {"retried_status": report.retries}


def test_what_checks_do_not_see_costs_an_ejection_more_than_without_checks_and_no_more() -> None:
    checked = five_with(FAULTS["closes mid-body"])
    unchecked = five_with(FAULTS["closes mid-body"], check="null")
    assert checked.failed_idempotent + checked.failed_other <= unchecked.failed_idempotent + unchecked.failed_other + 6


@pytest.mark.parametrize("seed", range(3))
def test_of_a_killed_backend_no_idempotent_request_fails(seed: int) -> None:
    report = five_with(FAULTS["killed"], seed=seed)
    assert (report.failed_idempotent, report.still_in_flight) == (0, 0)


def test_the_same_seed_gives_the_same_report_and_another_one_another() -> None:
    reports = [five_with(FAULTS["flaps each second"], seed=seed) for seed in (3, 3, 4)]
    assert reports[0] == reports[1] != reports[2]
    assert str(reports[0]) == str(reports[1])


def test_the_example_in_the_documentation_is_true() -> None:
    result = doctest.testmod(testing)
    assert (result.failed, result.attempted >= 7) == (0, True)


def test_the_example_in_the_readme_is_true(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    root = Path(__file__).resolve().parents[3]
    (example,) = [
        text
        for text in re.findall(r"^```python\n(.*?)^```$", (root / "config" / "README.md").read_text(), re.M | re.S)
        if "wsgiproxy.testing" in text
    ]
    monkeypatch.chdir(root)
    exec(compile(example, "README.md", "exec"), {})
    assert "Hangs from 30 s to 90.00 s" in capsys.readouterr().out


def test_what_goes_on_can_be_read() -> None:
    text = str(five_with(FAULTS["killed"]))
    assert "x 200" in text
    assert f"{address(2)} Down from 5 s to 20.00 s" in text


def _told(seconds: float | None) -> str:
    return f"{math.nan if seconds is None else seconds:.2f} s"
