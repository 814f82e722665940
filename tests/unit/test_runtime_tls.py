from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.unit.test_runtime import FakeDriver
from wsgiproxy.errors import InvalidConfigError
from wsgiproxy.runtime import Runtime
from wsgiproxy.upstream.messages import Upstream

Make = Callable[[], Runtime]


@pytest.fixture(name="authority")
def fixture_authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture(name="path")
def fixture_path(tmp_path: Path) -> Path:
    return tmp_path / "wsgiproxy.yaml"


@pytest.fixture(name="make")
def fixture_make(path: Path) -> Iterator[Make]:
    runtimes: list[Runtime] = []

    def make() -> Runtime:
        runtimes.append(Runtime(str(path), FakeDriver()))
        return runtimes[-1]

    yield make
    for runtime in runtimes:
        runtime.close()


def text(tls: str, weight: int = 1) -> str:
    return (
        "pools:\n"
        "  web:\n"
        f"    backends: [{{address: 'https://a.example', weight: {weight}}}, 'http://b.example']\n"
        f"    tls: {{{tls}}}\n"
        "  plain: {backends: ['http://c.example']}\n"
        "routes: [{pool: web}]\n"
    )


def upstreams(runtime: Runtime) -> list[Upstream]:
    return [backend.upstream for pool in runtime.table.pools.values() for backend in pool.backends]


def test_a_backend_over_tls_is_named_by_its_own_port(make: Make, path: Path) -> None:
    path.write_text(text(""))
    assert repr(upstreams(make())[0]).startswith("<HttpUpstream a.example, <Connector https://a.example")


def test_files_of_no_use_are_mistakes_with_their_place(make: Make, path: Path) -> None:
    path.write_text(text("ca: /nowhere/ca.pem"))
    with pytest.raises(InvalidConfigError) as caught:
        make()
    (mistake,) = caught.value.mistakes
    assert (mistake.key, mistake.line) == ("pools.web.tls.ca", 4)
    assert mistake.problem == "/nowhere/ca.pem cannot be read: No such file or directory"


def test_files_of_no_use_leave_the_table_on_a_reload(make: Make, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_text(text(""))
    runtime = make()
    table, before = runtime.table, upstreams(runtime)
    path.write_text(text("certificate: {certificate: /nowhere/own.pem}"))
    assert runtime.reload() is False
    assert runtime.table is table
    assert upstreams(runtime) == before
    assert f"{path}:4:" in caplog.text
    assert "pools.web.tls.certificate.certificate: /nowhere/own.pem cannot be read" in caplog.text


def test_trust_in_everybody_is_warned_of_once_a_load(make: Make, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_text(text("verify: false"))
    runtime = make()
    runtime.start()
    assert caplog.text.count("pool web: verify is false") == 1
    path.write_text(text("verify: false", weight=2))
    runtime.reload()
    assert caplog.text.count("pool web: verify is false") == 2


def test_new_settings_give_new_connections_and_leave_everything_else(
    make: Make, path: Path, authority: Authority
) -> None:
    path.write_text(text(""))
    runtime = make()
    backends, before = runtime.table.pools["web"].backends, upstreams(runtime)
    path.write_text(text(f"ca: {authority.certificate}"))
    assert runtime.reload() is True
    assert runtime.table.pools["web"].backends == backends
    after = upstreams(runtime)
    assert [new is old for new, old in zip(after, before, strict=True)] == [False, True, True]
    assert "closed" in repr(before[0])
    assert "closed" not in repr(after)


def test_settings_that_stay_keep_their_connections_until_their_files_change(
    make: Make, path: Path, authority: Authority
) -> None:
    path.write_text(text(f"ca: {authority.certificate}"))
    runtime = make()
    before = upstreams(runtime)
    path.write_text(text(f"ca: {authority.certificate}", weight=7))
    assert runtime.reload() is True
    assert upstreams(runtime) == before
    authority.certificate.write_text(authority.certificate.read_text() + "# renewed\n")
    assert runtime.reload() is True
    assert [new is old for new, old in zip(upstreams(runtime), before, strict=True)] == [False, True, True]
