from __future__ import annotations

import subprocess
import sys
import types

import pytest

from wsgiproxy.transport.choose import choose_driver
from wsgiproxy.transport.thread import ThreadDriver


class Monkey(types.ModuleType):
    """A scripted ``gevent.monkey``."""

    def __init__(self, *patched: str) -> None:
        super().__init__("gevent.monkey")
        self.patched = patched

    def is_module_patched(self, name: str) -> bool:
        return name in self.patched


def test_a_plain_process_gets_the_blocking_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "gevent.monkey", raising=False)
    assert isinstance(choose_driver(), ThreadDriver)


def test_gevent_imported_but_sockets_left_alone_gets_the_blocking_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gevent.monkey", Monkey("time", "thread"))
    assert isinstance(choose_driver(), ThreadDriver)


def test_patched_sockets_get_the_greenlet_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    class GreenletDriver:
        name = "greenlet"

    module = types.ModuleType("wsgiproxy.transport.greenlet")
    module.GreenletDriver = GreenletDriver  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gevent.monkey", Monkey("socket"))
    monkeypatch.setitem(sys.modules, "wsgiproxy.transport.greenlet", module)
    assert isinstance(choose_driver(), GreenletDriver)


def in_a_new_process(program: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    ).stdout.strip()


def test_choosing_on_a_threaded_host_does_not_load_gevent() -> None:
    program = (
        "import sys; from wsgiproxy.transport.choose import choose_driver; print(choose_driver().name, "
        "any(name.partition('.')[0] in ('gevent', 'greenlet') for name in sys.modules))"
    )
    assert in_a_new_process(program) == "thread False"


def test_the_choice_follows_what_the_process_has_become() -> None:
    program = (
        "from wsgiproxy.transport.choose import choose_driver; print(choose_driver().name); "
        "import gevent.monkey; print(choose_driver().name); gevent.monkey.patch_all(); print(choose_driver().name)"
    )
    assert in_a_new_process(program).split() == ["thread", "thread", "greenlet"]
