"""``wsgiproxy check``."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsgiproxy.cli import main

GOOD = """\
pools:
  web: {backends: ["http://127.0.0.1:8001", "unix:/run/app.sock"]}
  api: {backends: ["http://127.0.0.1:8002"]}
routes:
  - {match: {path: /api}, pool: api}
  - {pool: web}
"""


def test_a_good_file_is_summed_up_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "wsgiproxy.yaml"
    path.write_text(GOOD)
    assert main(["check", str(path)]) == 0
    assert capsys.readouterr() == (f"{path}: ok, 2 pools, 3 backends, 2 routes\n", "")


def test_every_mistake_is_a_line_on_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "wsgiproxy.yaml"
    path.write_text(GOOD.replace("pool: api", "pool: apy").replace("web: {", "web: {balanse: least_conn, "))
    assert main(["check", str(path)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"{path}:2:") and '"balanse"' in lines[0]
    assert lines[1].startswith(f"{path}:5:") and '"apy"' in lines[1]


def test_an_application_that_cannot_be_imported_is_a_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "wsgiproxy.yaml"
    path.write_text('pools: {web: {backends: ["app:no_such_module:app"]}}\nroutes: [{pool: web}]\n')
    assert main(["check", str(path)]) == 1
    assert f"{path}:1:26: pools.web.backends[0]: " in capsys.readouterr().err


def test_applications_are_found_in_the_current_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "app_of_this_test.py").write_text("def application(environ, start_response): ...\n")
    path = tmp_path / "wsgiproxy.yaml"
    path.write_text('pools: {web: {backends: ["app:app_of_this_test"]}}\nroutes: [{pool: web}]\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["/nowhere"])
    assert main(["check", "wsgiproxy.yaml"]) == 0
    assert capsys.readouterr().out == "wsgiproxy.yaml: ok, 1 pool, 1 backend, 1 route\n"


def test_a_certificate_that_cannot_be_read_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "wsgiproxy.yaml"
    path.write_text(
        f'daemon: {{listeners: [{{address: "127.0.0.1:1", tls: {{certificates: [{tmp_path}/none.pem]}}}}]}}\n'
        "routes: [{respond: {status: 200}}]\n"
    )
    assert main(["check", str(path)]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"{path}:1:")
    assert "daemon.listeners[0].tls.certificates[0]" in told and "none.pem" in told
