"""Files that the daemon refuses: clear words, an exit code of 1, and never a traceback."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.functional.scene import run_command

POOL = "pools:\n  web: {backends: ['http://127.0.0.1:9']}\n"
ROUTE = "routes:\n  - {pool: web}\n"
BAD: list[tuple[str, str, str]] = [
    ("not YAML", "pools: ]\n", "bad.yaml:1:8: "),
    ("not a mapping", "- a\n", "bad.yaml:1:1: "),
    ("unknown key", POOL + ROUTE + "poools: {}\n", 'bad.yaml:5:1: unknown key "poools", did you mean "pools"?'),
    ("unknown pool", POOL + "routes:\n  - {pool: wbe}\n", "bad.yaml:4:12: routes[0].pool: "),
    ("duplicate key", POOL + "  web: {backends: ['http://127.0.0.1:8']}\n", "bad.yaml:3:3: "),
    ("bad duration", "pools:\n  web: {timeouts: {read: 5 parsecs}}\n", "bad.yaml:2:26: pools.web.timeouts.read: "),
    ("no backends", "pools:\n  web: {backends: []}\n", "bad.yaml:2:"),
    ("bad address", "pools:\n  web: {backends: ['gopher://a']}\n", "bad.yaml:2:20: pools.web.backends[0]: "),
    ("no such module", "pools:\n  web: {backends: ['app:missing:app']}\n", "bad.yaml:2:20: pools.web.backends[0]: "),
    ("several workers", "daemon: {workers: 2}\n", "bad.yaml:1:19: daemon.workers: "),
    ("bytes", "\x00\x01", "bad.yaml"),
]  # fmt: skip


def refused(command: str, path: Path) -> str:
    """What a command says as it refuses a file."""
    done = run_command(command, path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "listening" not in done.stderr
    return done.stderr


@pytest.mark.parametrize(("text", "problem"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_run_and_check_refuse_it_and_say_where_and_why(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    said = refused("check", path)
    assert f"{tmp_path}/{problem}" in said
    assert refused("run", path) == said


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("pools:\n  web: {backends: []}\n  api: {balanse: least_conn}\nroutes:\n  - {pool: wbe}\n")
    places = [line.removeprefix(f"{path}:").partition(":")[0] for line in refused("check", path).splitlines()]
    assert places == sorted(places)
    assert set(places) == {"2", "3", "5"}


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, command: str) -> None:
    missing = tmp_path / "missing.yaml"
    assert refused(command, missing).startswith(str(missing))
    assert refused(command, tmp_path).startswith(str(tmp_path))


def test_an_address_that_is_taken_is_named_with_its_place_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "taken.yaml"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        path.write_text(f'daemon:\n  listeners: ["127.0.0.1:{port}"]\n')
        said = refused("run", path)
    assert said.startswith(f"{path}:2:15: daemon.listeners[0]: cannot listen on 127.0.0.1:{port}: ")


def test_check_says_what_a_good_file_holds(tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(POOL + ROUTE)
    done = run_command("check", path)
    assert (done.returncode, done.stdout) == (0, f"{path}: ok, 1 pool, 1 backend, 1 route\n")
