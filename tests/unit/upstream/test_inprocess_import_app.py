from __future__ import annotations

import pathlib
import sys
from collections.abc import Iterator

import pytest

from wsgiproxy.upstream.inprocess import import_app

# --- import_app -------------------------------------------------------------------------------------------------------


@pytest.fixture
def modules(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pathlib.Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("shop_"):
            del sys.modules[name]


def test_an_application_is_imported_by_module_and_name(modules: pathlib.Path) -> None:
    (modules / "shop_good.py").write_text("def application(environ, start_response):\n    return []\n")
    assert import_app("shop_good", "application") is sys.modules["shop_good"].application


@pytest.mark.parametrize(
    ("text", "attribute", "message"),
    [
        ("", "application", "module 'shop_bad' has no 'application'"),
        ("application = 5", "application", "shop_bad:application is not callable"),
        ("1 / 0", "application", "module 'shop_bad' raised ZeroDivisionError while it was imported: division by zero"),
        ("import shop_none", "application", "module 'shop_bad' raised ModuleNotFoundError .*shop_none"),
        ("def", "application", "module 'shop_bad' raised SyntaxError"),
        ("raise SystemExit(3)", "application", "module 'shop_bad' raised SystemExit while it was imported: 3"),
    ],
)
def test_what_cannot_be_imported_says_why(modules: pathlib.Path, text: str, attribute: str, message: str) -> None:
    (modules / "shop_bad.py").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        import_app("shop_bad", attribute)
    assert (caught.value.__cause__ is None) == ("not callable" in message)


@pytest.mark.parametrize("module", ["shop_missing", "shop_missing.deeper", "json.shop_missing", "", ".relative"])
def test_a_module_that_is_not_there_says_so(module: str) -> None:
    with pytest.raises(ValueError, match=r"shop_missing|''|relative"):
        import_app(module, "application")
