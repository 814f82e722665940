"""What a program can check of the plan of the house (README.md, "Plan of the house").

The first half holds the tree to the rules; the second shows each checker a small wrong snippet, so that a rule that
could not fail is noticed. The checkers themselves are in ``tests/house``.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.house import compiled, floors, state, text
from tests.house.sources import Source, read

ROOT = Path(__file__).resolve().parent.parent
TOP_LEVEL = {"pyproject.toml", "README.md", "LICENSE", "wsgiproxy", "config", "tests", "deploy"}
HEAVY = ("gevent", "yaml", "msgspec")
DEPENDENCIES = {"gevent", "pyyaml", "msgspec"}

Checker = Callable[[list[Source]], list[str]]


@pytest.fixture(scope="session")
def package() -> list[Source]:
    """Every file of the package."""
    return read(ROOT, "wsgiproxy")


@pytest.fixture(scope="session")
def everything(package: list[Source]) -> list[Source]:
    """Every file of the package and of its tests."""
    return [*package, *read(ROOT, "tests")]


def hold(violations: list[str]) -> None:
    """Fail with every violation, one a line."""
    if violations:
        pytest.fail("\n".join([f"{len(violations)} violation(s):", *sorted(violations)]), pytrace=False)


# --- the tree ---------------------------------------------------------------------------------------------------------


def test_every_module_stands_on_a_floor(package: list[Source]) -> None:
    hold(floors.unknown_rooms(package))


def test_imports_only_go_down(package: list[Source]) -> None:
    hold(floors.upward_imports(package))


def test_compiled_classes_have_the_attributes_of_their_source(package: list[Source]) -> None:
    layouts = {path.relative_to(ROOT).as_posix(): path.read_text() for path in (ROOT / "wsgiproxy").rglob("*.pxd")}
    assert layouts
    hold(compiled.layouts_that_differ(package, layouts))


def test_what_has_a_layout_is_compiled_and_what_is_compiled_is_there() -> None:
    hold(compiled.unbuilt_layouts(ROOT))


def test_the_server_and_the_proxy_do_not_know_one_another(package: list[Source]) -> None:
    hold(floors.tower_crossings(package))


def test_no_imports_run_in_a_circle(package: list[Source]) -> None:
    hold(floors.import_cycles(package))


def test_all_imports_are_absolute(everything: list[Source]) -> None:
    hold(floors.relative_imports(everything))


def test_gevent_is_imported_only_where_it_is_at_home(package: list[Source]) -> None:
    hold(floors.gevent_imports(package))


def test_threading_is_imported_whole(package: list[Source]) -> None:
    hold(floors.names_taken_from_threading(package))


def test_low_rooms_receive_blocks_and_never_the_whole_config(package: list[Source]) -> None:
    hold(floors.whole_config_in_rooms(package))


def test_no_module_holds_state(package: list[Source]) -> None:
    hold(state.module_state(package))


def test_nothing_living_is_made_at_import(package: list[Source]) -> None:
    hold(state.made_at_import(package))


def test_no_file_is_too_long(everything: list[Source]) -> None:
    hold(text.long_files(everything))


def test_no_function_is_too_long(everything: list[Source]) -> None:
    hold(text.long_functions(everything))


def test_everything_public_has_a_docstring(package: list[Source]) -> None:
    hold(text.missing_docstrings(package))


def test_errors_are_named_error_or_timeout(package: list[Source]) -> None:
    hold(text.misnamed_errors(package))


def test_no_error_is_hidden(package: list[Source]) -> None:
    hold(text.hidden_errors(package))


def test_nothing_is_left_for_later(everything: list[Source]) -> None:
    hold(text.unfinished_lines(everything))


def test_every_file_is_named_after_what_it_knows(everything: list[Source]) -> None:
    hold(text.houseless_modules(everything))


def test_unit_tests_mirror_the_rooms() -> None:
    violations = []
    for path in sorted((ROOT / "tests" / "unit").rglob("test_*.py")):
        room = ROOT / "wsgiproxy" / path.parent.relative_to(ROOT / "tests" / "unit")
        modules = {module.stem.strip("_") for module in room.glob("*.py")} | {room.name}
        subject = path.stem.removeprefix("test_")
        if not any(subject == module or subject.startswith(f"{module}_") for module in modules):
            violations.append(f"{path.relative_to(ROOT)}:1: mirrors no module of {room.relative_to(ROOT)}/")
    hold(violations)


def test_tests_are_no_package() -> None:
    hold([f"{path.relative_to(ROOT)}:1: delete it" for path in (ROOT / "tests").rglob("__init__.py")])


def test_the_top_level_holds_what_the_plan_says(need: Callable[[str], str]) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = [need("git"), "-c", "safe.directory=*", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=30).stdout
    found = {name.split("/")[0] for name in listed.split("\0") if name and not name.startswith(".")}
    hold(
        [f"{name}:1: does not belong at the top level" for name in found - TOP_LEVEL]
        + [f"{name}:1: is missing from the top level (of what git tracks)" for name in TOP_LEVEL - found]
    )


def test_importing_the_package_imports_nothing_heavy() -> None:
    program = f"import sys, wsgiproxy; print(*[name for name in {HEAVY} if name in sys.modules])"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=30)
    assert done.stdout.split() == [], "wsgiproxy/__init__.py must import these only when they are asked for (PEP 562)"


def test_the_package_depends_on_exactly_three_others() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = {re.split(r"[^A-Za-z0-9._-]", line)[0].lower() for line in project["dependencies"]}
    assert required == DEPENDENCIES


def test_the_readme_names_every_room(package: list[Source]) -> None:
    readme = (ROOT / "README.md").read_text()
    plan = re.search(r"^(#+) [^\n]*plan of the house[^\n]*\n(.*?)(?=^\1 |\Z)", readme, re.M | re.S | re.I)
    assert plan, 'README.md has no heading "Plan of the house"'
    parts = {source.path.split("/")[1] for source in package} - {"__init__.py", "__main__.py"}
    hold(
        [
            f"README.md:1: the plan of the house does not name wsgiproxy/{part}"
            for part in parts
            if not re.search(rf"(?<![\w.]){re.escape(part.removesuffix('.py'))}(?!\w)", plan[2])
        ]
    )


# --- the checkers -----------------------------------------------------------------------------------------------------

LONG_FUNCTION = "def f():\n" + '    """Doc."""\n' + "    # comment\n\n" * 9 + "    x = 1\n" * text.MAX_FUNCTION_LINES
WRONG: list[tuple[Checker, str, str, str]] = [
    (floors.unknown_rooms, "attic/a.py", "", "'attic' has no floor"),
    (floors.upward_imports, "http1/a.py", "from wsgiproxy.proxy import app", "up"),
    (floors.upward_imports, "http1/a.py", "from wsgiproxy.transport import stream", "sideways"),
    (floors.upward_imports, "config/watcher.py", "from wsgiproxy.http1 import parser", "sideways"),
    (floors.upward_imports, "config/schema.py", "from wsgiproxy.config.loader import load", "up"),
    (floors.upward_imports, "errors.py", "import wsgiproxy.config.schema", "sideways"),
    (floors.upward_imports, "pool/a.py", "def f():\n    import wsgiproxy.runtime", "up"),
    (floors.tower_crossings, "server/a.py", "from wsgiproxy.upstream import http", "server stands on"),
    (floors.tower_crossings, "proxy/a.py", "import wsgiproxy.server.tls", "through WSGI"),
    (floors.relative_imports, "pool/a.py", "from . import b", "relative import"),
    (floors.gevent_imports, "transport/thread.py", "from gevent import socket", "gevent may"),
    (floors.gevent_imports, "testing/virtual.py", "import gevent", "gevent may"),
    (floors.gevent_imports, "testing/load.py", "import greenlet", "gevent may"),
    (floors.names_taken_from_threading, "pool/a.py", "from threading import Lock", "threading.Lock()"),
    (floors.whole_config_in_rooms, "pool/a.py", "def f(config: schema.Config): ...", "schema block"),
    (floors.whole_config_in_rooms, "pool/a.py", "from wsgiproxy.config.schema import Config", "schema block"),
    (state.module_state, "pool/a.py", "cache = {}", "module-level dict"),
    (state.module_state, "pool/a.py", "NAMES = ['a']", "make it a tuple"),
    (state.module_state, "pool/a.py", "NAMES: set[str] = set()", "make it a frozenset"),
    (state.module_state, "pool/a.py", "SEEN = {}\ndef f():\n    SEEN['a'] = 1", "changed after import"),
    (state.module_state, "pool/a.py", "SEEN = {}\ndef f():\n    SEEN.update(a=1)", "changed after import"),
    (state.module_state, "pool/a.py", "try:\n    q = collections.deque()\nfinally:\n    pass", "module-level deque()"),
    (state.module_state, "pool/a.py", "pools = Registry()", "an instance has an owner"),
    (state.module_state, "pool/a.py", "N = 0\ndef f():\n    global N\n    N = 1", "global N"),
    (state.made_at_import, "pool/a.py", "LOCK = threading.Lock()", "made at import"),
    (state.made_at_import, "pool/a.py", "class A:\n    lock = threading.RLock()", "made at import"),
    (text.long_files, "pool/a.py", "\n" * (text.MAX_FILE_LINES + 1), "401 lines"),
    (text.long_functions, "pool/a.py", LONG_FUNCTION, "f() has 51 lines"),
    (text.missing_docstrings, "pool/a.py", "", "no docstring"),
    (text.missing_docstrings, "pool/a.py", '"""Doc."""\ndef f(): ...', "f has no docstring"),
    (text.missing_docstrings, "pool/a.py", '"""Doc."""\nclass A:\n    """Doc."""\n    def f(self): ...', "A.f has no"),
    (text.misnamed_errors, "errors.py", "class A(Exception): ...\nclass LateFault(A): ...", "LateFault must be"),
    (text.hidden_errors, "pool/a.py", "try:\n    f()\nexcept:\n    raise", "bare"),
    (text.hidden_errors, "pool/a.py", "try:\n    f()\nexcept Exception:\n    pass", "hides"),
    (text.hidden_errors, "pool/a.py", "with contextlib.suppress(Exception):\n    f()", "hides"),
    (text.unfinished_lines, "pool/a.py", "x = 1  # " + "TODO later", "for later"),
    (text.houseless_modules, "pool/utils.py", "", "a room is missing"),
]


@pytest.mark.parametrize(("check", "path", "code", "problem"), WRONG)
def test_each_checker_finds_a_violation(check: Checker, path: str, code: str, problem: str) -> None:
    violations = check([Source.of(f"wsgiproxy/{path}", code)])
    assert any(problem in violation for violation in violations), violations
    assert all(re.match(rf"wsgiproxy/{path}:\d+: ", violation) for violation in violations)


def test_a_circle_of_imports_is_found_under_type_checking_too() -> None:
    one = Source.of("wsgiproxy/pool/one.py", "from wsgiproxy.pool.two import B")
    two = Source.of("wsgiproxy/pool/two.py", "if TYPE_CHECKING:\n    from wsgiproxy.pool import one")
    assert floors.import_cycles([one]) == []
    (cycle,) = floors.import_cycles([one, two])
    assert "wsgiproxy.pool.one -> wsgiproxy.pool.two -> wsgiproxy.pool.one" in cycle


RIGHT = '''
"""Doc."""
import threading
from collections.abc import Mapping
from wsgiproxy.config import address, schema
from wsgiproxy.errors import ConfigError
log = logging.getLogger(__name__)
__all__ = ["Lock"]
PORTS: Mapping[str, int] = {"http": 80}
HOP_BY_HOP = frozenset({"te"})
Name = Annotated[str, Meta(pattern="a")]
class Lock:
    """Doc."""
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.names = []
    def _seen(self) -> None:
        self.names.append(1)
def name(value: object) -> str:
    """Doc."""
    try:
        return str(value)
    except Exception:
        log.exception("no name")
        raise
'''


def test_no_checker_finds_fault_with_a_plain_module() -> None:
    source = Source.of("wsgiproxy/pool/a.py", RIGHT.lstrip())
    assert [violation for check in {check for check, *_ in WRONG} for violation in check([source])] == []


def test_a_layout_that_forgets_an_attribute_is_found() -> None:
    source = Source.of("wsgiproxy/a/b.py", 'class C:\n    __slots__ = ("kept", "forgotten")\n')
    layouts = {"wsgiproxy/a/b.pxd": "cdef class C:\n    cdef public long long kept, invented\n    cdef dict kept\n"}
    assert compiled.layouts_that_differ([source], layouts) == [
        "wsgiproxy/a/b.pxd:1: C differs from its __slots__ in forgotten, invented"
    ]


def test_a_compiled_module_that_is_older_than_its_source_is_found(tmp_path: Path) -> None:
    (tmp_path / "wsgiproxy").mkdir()
    library, source = tmp_path / "wsgiproxy" / "a.cpython-311.so", tmp_path / "wsgiproxy" / "a.py"
    for path, at in ((source, 1000), (library, 2000)):
        path.touch()
        os.utime(path, (at, at))
    assert compiled.stale(tmp_path) == []
    os.utime(source, (3000, 3000))
    assert compiled.stale(tmp_path) == ["wsgiproxy/a.cpython-311.so"]
