"""``wsgiproxy.mount:application``: where its configuration comes from, and when."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import wsgiproxy
from wsgiproxy import mount
from wsgiproxy.errors import ConfigError, InvalidConfigError
from wsgiproxy.proxy.app import ProxyApp


def test_the_application_is_made_when_its_name_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "wsgiproxy.yaml"
    path.write_text("routes: [{respond: {status: 204}}]\n")
    monkeypatch.setenv(mount.CONFIG_VARIABLE, str(path))
    assert isinstance(mount.application, ProxyApp)
    assert isinstance(mount.make_application(), ProxyApp)


def test_without_the_variable_the_host_is_told_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(mount.CONFIG_VARIABLE, raising=False)
    with pytest.raises(ConfigError, match="WSGIPROXY_CONFIG is not set"):
        mount.application  # noqa: B018


def test_a_broken_file_stops_the_host_at_its_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "wsgiproxy.yaml"
    path.write_text("routs: []\n")
    monkeypatch.setenv(mount.CONFIG_VARIABLE, str(path))
    with pytest.raises(InvalidConfigError, match="routs"):
        mount.application  # noqa: B018


def test_importing_the_module_asks_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(mount.CONFIG_VARIABLE, raising=False)
    importlib.reload(mount)


def test_there_is_nothing_else_to_ask_for() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'app'"):
        mount.app  # noqa: B018


def test_the_package_s_door_leads_to_the_application() -> None:
    assert wsgiproxy.ProxyApp is ProxyApp
