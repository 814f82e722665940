"""The command line: what it says of itself, its exit codes, and mistakes without tracebacks."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import wsgiproxy
from wsgiproxy.cli import EXAMPLE, main


def test_version_says_the_version_what_is_compiled_and_what_it_stands_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"wsgiproxy {wsgiproxy.__version__} (")
    assert re.search(r"\((pure Python|compiled), Python 3\.\d+\.\S+, gevent \S+\)\n$", said)


def test_without_a_command_it_shows_the_help_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "wsgiproxy demo" in captured.err


def test_help_lists_every_command_and_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert EXAMPLE in said
    for command in ("run", "check", "schema", "demo"):
        assert re.search(rf"^    {command} +\w", said, re.MULTILINE)


@pytest.mark.parametrize("arguments", [["serve"], ["run"], ["check", "a.yaml", "b.yaml"], ["demo", "--port", "x"]])
def test_a_wrong_command_line_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: wsgiproxy" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_file_that_is_not_there_is_one_clear_line(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "none.yaml"
    assert main([command, str(path)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert str(path) in captured.err


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = f"{sys.executable} -m wsgiproxy schema | head -c 1"
    ended = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"{", b"")


def test_importing_the_package_imports_nothing_heavy() -> None:
    program = "import sys, wsgiproxy; print(sorted({'gevent', 'yaml', 'msgspec'} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, check=True)
    assert ended.stdout == b"[]\n"


def test_the_package_has_no_other_attributes() -> None:
    with pytest.raises(AttributeError, match="no attribute 'ProxyAp'"):
        wsgiproxy.ProxyAp  # noqa: B018
