"""Running without compiled parts: everything comes from source, and a module that has none is not there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

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
