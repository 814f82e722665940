"""What the documents promise: the lines to paste, the configurations, the links."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.functional.scene import ROOT, run_command

README = (ROOT / "README.md").read_text()
DOCUMENTS = ["README.md", "config/README.md", "deploy/README.md", "tests/bench/README.md"]
SETUP = "python3 -m venv .venv && .venv/bin/pip install "
COMMANDS = {"run", "check", "schema", "demo"}


def blocks(language: str, text: str = README) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def test_the_lines_to_paste_are_there() -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    assert f"{SETUP}. && .venv/bin/wsgiproxy demo" in lines
    assert f"{SETUP}-e '.[test]' && .venv/bin/python -m pytest -q -n 3 --dist loadfile tests" in lines


def test_every_command_in_it_exists() -> None:
    used = re.findall(r"^(?:.*[/ ])?wsgiproxy (\w+)", "\n".join(blocks("sh")), re.M)
    assert used and set(used) <= COMMANDS
    done = run_command("--help")
    assert done.returncode == 0
    assert all(re.search(rf"^ +{command} ", done.stdout, re.M) for command in COMMANDS)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_configuration_in_it_is_accepted(document: str, tmp_path: Path) -> None:
    for number, text in enumerate(blocks("ya?ml", (ROOT / document).read_text())):
        path = tmp_path / f"{number}.yaml"
        path.write_text(text)
        check(path)


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_is_accepted(path: Path) -> None:
    check(path)


def test_the_readme_shows_a_configuration() -> None:
    assert blocks("yaml")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_somewhere(document: str) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", (ROOT / document).read_text())
    inside = [target for target in targets if "://" not in target]
    missing = [target for target in inside if not ((ROOT / document).parent / target).exists()]
    assert missing == []


def test_every_file_that_it_names_exists() -> None:
    named = set(re.findall(r"(?<![\w/.])((?:\w+/)+\w+\.(?:py|yaml|md))", README))
    folders = (ROOT, ROOT / "wsgiproxy")
    assert [name for name in sorted(named) if not any(os.path.exists(folder / name) for folder in folders)] == []


def check(path: Path) -> None:
    """Let ``wsgiproxy check`` accept a file."""
    done = run_command("check", path)
    assert (done.returncode, done.stderr) == (0, "")
