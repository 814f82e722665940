"""Keys of sticky cookies that stand in files of their own."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.unit.test_runtime import FakeDriver
from wsgiproxy.errors import InvalidConfigError
from wsgiproxy.pool.sticky import Signed
from wsgiproxy.runtime import Runtime


def text(path: Path, weight: int = 1) -> str:
    return (
        f"pools:\n  web:\n    backends: [{{address: 'http://a.example', weight: {weight}}}]\n"
        f"    sticky: {{cookie: c, key_file: '{path}'}}\nroutes: [{{pool: web}}]\n"
    )


def cookie(runtime: Runtime) -> tuple[Signed, str]:
    pool = runtime.table.pools["web"]
    assert isinstance(pool.sticky, Signed)
    return pool.sticky, pool.sticky.settle("", pool.backends[0]).partition("=")[2].partition(";")[0]


def test_the_key_of_a_file_makes_and_knows_cookies_until_a_reload_finds_another_one(tmp_path: Path) -> None:
    config, key = tmp_path / "wsgiproxy.yaml", tmp_path / "key"
    config.write_text(text(key))
    key.write_text("a secret of some length\n")
    runtime, other = Runtime(str(config), FakeDriver()), Runtime(str(config), FakeDriver())
    before, value = cookie(runtime)
    assert before.find(value).backend is not None
    assert cookie(other)[0].find(value).backend is not None
    key.write_text("another secret of some length\n")
    assert runtime.reload()
    assert cookie(runtime)[0].find(value).backend is None
    runtime.close()
    other.close()


def test_a_key_file_of_no_use_has_its_place_and_a_reload_goes_on_with_what_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config, key = tmp_path / "wsgiproxy.yaml", tmp_path / "key"
    config.write_text(text(key))
    problem = f"{config}:4:35: pools.web.sticky.key_file: {key} cannot be read: no such file or directory"
    with pytest.raises(InvalidConfigError) as refused:
        Runtime(str(config), FakeDriver())
    assert str(refused.value) == problem
    key.write_text("a secret of some length\n")
    runtime = Runtime(str(config), FakeDriver())
    before, value = cookie(runtime)
    key.unlink()
    with caplog.at_level(logging.ERROR):
        assert not runtime.reload()
    assert problem in caplog.text
    assert cookie(runtime)[0] is before
    assert before.find(value).backend is not None
    runtime.close()
