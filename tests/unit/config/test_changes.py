"""What a reload has changed, in words."""

from __future__ import annotations

import pytest

from wsgiproxy.config.changes import changes
from wsgiproxy.config.loader import loads

OLD = """
timeouts: {connect: 5s}
pools:
  web:
    backends: ["http://a", {address: "http://b", weight: 2}]
    sticky: {cookie: S, key: 0123456789abcdef}
  old: {backends: ["http://c"]}
routes:
  - {name: api, match: {path: /api}, pool: web}
  - {pool: web}
"""


def told(old: str, new: str) -> list[str]:
    return changes(loads(old, "f.yaml").config, loads(new, "f.yaml").config, 50)


def test_the_same_file_has_no_changes() -> None:
    assert told(OLD, OLD + "# a comment\n") == []


@pytest.mark.parametrize(
    ("was", "now", "lines"),
    [
        ("connect: 5s", "connect: 2s, total: 1m", ["timeouts: connect 5 -> 2, total 0 -> 60"]),
        ('"http://a", ', '"http://d", ', ["pool web: +http://d:80, -http://a:80"]),
        ("weight: 2", "weight: 3, backup: true", ["pool web: weight of http://b:80 2 -> 3, backup of http://b:80 on"]),
        ("sticky: {cookie: S", "balance: least_conn\n    sticky: {cookie: T", [
            "pool web: balance round_robin -> least_conn, sticky.cookie S -> T",
        ]),
        ("key: 0123456789abcdef", "key: fedcba9876543210", ["pool web: sticky.key changed"]),
        ("sticky: {cookie: S, key: 0123456789abcdef}", "outliers: null", ["pool web: sticky off, outliers off"]),
        ("  old: ", "  new: ", ["pool new: new", "pool old: gone"]),
        ("path: /api}", "path: /v2}, strip_prefix: true, upgrades: []", [
            "route api: match changed, strip_prefix on, upgrades [websocket] -> []",
        ]),
        ("  - {pool: web}", "  - {pool: old}\n  - {match: {path: /x}, pool: web}", [
            "route routes[1]: pool web -> old", "route routes[2]: new",
        ]),
        ("  - {pool: web}", "", ["route routes[1]: gone"]),
        ('["http://a", {address: "http://b", weight: 2}]', '[{address: "http://b", weight: 2}, "http://a"]', [
            "pool web: backends in another order",
        ]),
    ],
)  # fmt: skip
def test_each_change_is_told_in_words(was: str, now: str, lines: list[str]) -> None:
    assert was in OLD
    assert told(OLD, OLD.replace(was, now)) == lines


def test_what_cannot_be_said_shortly_has_only_changed() -> None:
    name = "x" * 100
    assert told(OLD, OLD.replace("weight: 2}]", f"weight: 2}}]\n    health_check: {{path: /{name}}}")) == [
        "pool web: health_check on"
    ]
    checked = OLD.replace("weight: 2}]", "weight: 2}]\n    health_check: {path: /a}")
    assert told(checked, checked.replace("path: /a}", f"path: /{name}}}")) == ["pool web: health_check.path changed"]


def test_of_many_changes_the_first_are_told_and_how_many_more_there_are() -> None:
    pools = "".join(f"  p{number}: {{backends: ['http://h']}}\n" for number in range(60))
    lines = told("", f"pools:\n{pools}")
    assert (len(lines), lines[0], lines[-1]) == (50, "pool p0: new", "and 11 more changes")
