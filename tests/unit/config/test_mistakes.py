"""Collecting mistakes: their order, their key paths, and each of them once."""

from __future__ import annotations

import pytest

from wsgiproxy.config.mistakes import KeyPath, Mistakes, path_text
from wsgiproxy.config.tree import Position
from wsgiproxy.errors import InvalidConfigError


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (None, ""),
        ((None, "pools"), "pools"),
        ((((None, "pools"), "web"), "backends"), "pools.web.backends"),
        ((((None, "routes"), 1), "match"), "routes[1].match"),
        ((None, "a\nb"), "'a\\nb'"),
    ],
)
def test_a_key_path_is_written_as_the_operator_would(path: KeyPath, text: str) -> None:
    assert path_text(path) == text


def test_mistakes_come_in_file_order() -> None:
    mistakes = Mistakes("f.yaml")
    mistakes.add(Position(2, 1), (None, "b"), "second")
    mistakes.add(Position(1, 9), (None, "a"), "first")
    with pytest.raises(InvalidConfigError) as refusal:
        mistakes.raise_any()
    assert str(refusal.value) == "f.yaml:1:9: a: first\nf.yaml:2:1: b: second"


def test_a_mistake_that_many_aliases_repeat_is_reported_once_under_the_first() -> None:
    mistakes = Mistakes("f.yaml")
    for name in ("one", "two"):
        mistakes.add(Position(1, 1), (None, name), "bad")
    assert len(mistakes) == 1
    with pytest.raises(InvalidConfigError, match=r"^f.yaml:1:1: one: bad$"):
        mistakes.raise_any()


def test_a_file_without_mistakes_raises_nothing() -> None:
    Mistakes("f.yaml").raise_any()


def test_stop_gives_up_with_one_mistake() -> None:
    mistakes = Mistakes("f.yaml")
    mistakes.add(Position(1, 1), None, "small")
    with pytest.raises(InvalidConfigError, match=r"^f.yaml:3:4: fatal$"):
        mistakes.stop(Position(3, 4), "fatal")
