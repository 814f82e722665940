"""Running without compiled parts: everything comes from source, and a module that has none is not there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import wsgiproxy

FILES = """
import importlib, sys
import wsgiproxy
from wsgiproxy.cli import version
for name in ("http1.message", "pool.pool", "proxy.app", "server.connection", "transport.greenlet_stream"):
    importlib.import_module("wsgiproxy." + name)
print(version())
files = [module.__file__ for name, module in sys.modules.items() if name.startswith("wsgiproxy.")]
print(*sorted({file.rpartition(".")[2] for file in files}))
"""


def run(code: str, pure: str) -> list[str]:
    """The lines that a fresh interpreter prints."""
    env = os.environ | {"WSGIPROXY_PURE": pure}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.splitlines()


def test_nothing_compiled_is_imported_where_it_is_kept_out() -> None:
    version, kinds = run(FILES, "1")
    assert "(pure Python, " in version
    assert kinds == "py"


def test_what_was_compiled_is_in_use_elsewhere() -> None:
    version, kinds = run(FILES, "")
    if "(pure Python, " in version:
        pytest.skip("nothing was compiled here")
    assert "(compiled, " in version
    assert kinds == "py so"


def test_a_module_that_is_only_compiled_is_not_there_and_others_are_left_alone() -> None:
    code = "import wsgiproxy.http1._codec"
    with pytest.raises(subprocess.CalledProcessError) as failure:
        run(code, "1")
    assert "kept out by WSGIPROXY_PURE" in failure.value.stderr
    assert run("import wsgiproxy, json, gevent; print(json.dumps(1))", "1") == ["1"]


def test_where_one_module_was_not_compiled_none_is_imported(tmp_path: Path) -> None:
    """Those that are compiled would read what lies elsewhere in its objects."""
    name = "pool/backend"
    package = tmp_path / "wsgiproxy"
    shutil.copytree(Path(wsgiproxy.__file__).parent, package)
    library = package / f"{name}{EXTENSION_SUFFIXES[0]}"
    if not library.exists():
        pytest.skip("nothing was compiled here")
    library.unlink()
    command = [sys.executable, "-c", FILES]
    env = os.environ | {"WSGIPROXY_PURE": "", "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    version, kinds = done.stdout.splitlines()
    assert "(pure Python, " in version
    assert kinds == "py"
    assert f"lacks {name}: install it again" in done.stderr


@pytest.mark.parametrize("pure", ["", "1"])
@pytest.mark.parametrize(
    ("module", "call"), [("proxy.access_log", "combined_line(None)"), ("server.environ", "request_environ({}, None)")]
)
def test_none_in_the_place_of_one_of_our_objects_is_an_error_and_no_crash(module: str, call: str, pure: str) -> None:
    code = f"from wsgiproxy.{module} import *\ntry: {call}\nexcept AttributeError as error: print(error)"
    assert run(code, pure)[0].startswith("'NoneType' object has no attribute")
