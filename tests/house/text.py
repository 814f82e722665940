"""How a file reads: sizes, docstrings, names, and errors that nobody may hide."""

from __future__ import annotations

import ast
import builtins
import io
import tokenize
from collections.abc import Iterable, Iterator

from tests.house.sources import Function, Source

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 50

# PEP 3333 and io document these; an input or a writer need not say it again.
FILE_METHODS = frozenset({"read", "readline", "readlines", "write", "flush", "close", "fileno"})
HOUSELESS_NAMES = frozenset({"util.py", "utils.py", "helper.py", "helpers.py", "misc.py", "common.py"})
TOO_BROAD = frozenset({"Exception", "BaseException"})


def long_files(sources: Iterable[Source]) -> list[str]:
    """Files over ``MAX_FILE_LINES`` lines."""
    counted = ((source, len(source.text.splitlines())) for source in sources)
    return [
        f"{source.path}:{MAX_FILE_LINES + 1}: {lines} lines, {MAX_FILE_LINES} at the most: split it by what it knows"
        for source, lines in counted
        if lines > MAX_FILE_LINES
    ]


def code_lines(source: Source) -> set[int]:
    """Numbers of the lines that hold code: no blank lines, no comments, no docstrings."""
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type not in silent:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(source.tree):
        if isinstance(node, Function | ast.ClassDef | ast.Module) and ast.get_docstring(node, clean=False) is not None:
            lines.difference_update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return lines


def long_functions(sources: Iterable[Source]) -> list[str]:
    """Functions over ``MAX_FUNCTION_LINES`` lines of code, from ``def`` on, inner functions included."""
    found = []
    for source in sources:
        lines = code_lines(source)
        for node in ast.walk(source.tree):
            if isinstance(node, Function):
                size = len(lines.intersection(range(node.lineno, (node.end_lineno or 0) + 1)))
                if size > MAX_FUNCTION_LINES:
                    found.append(
                        source.at(node, f"{node.name}() has {size} lines of code, {MAX_FUNCTION_LINES} at most")
                    )
    return found


def documented_methods(sources: Iterable[Source]) -> frozenset[str]:
    """Names of the methods that some class of the house documents: a seam's implementations need not repeat it."""
    return FILE_METHODS | {
        node.name
        for source in sources
        for owner in ast.walk(source.tree)
        if isinstance(owner, ast.ClassDef)
        for node in owner.body
        if isinstance(node, Function) and ast.get_docstring(node)
    }


def missing_docstrings(sources: Iterable[Source]) -> list[str]:
    """Modules, public classes, public functions and public methods without a docstring."""
    sources = list(sources)
    documented = documented_methods(sources)
    found = []
    for source in sources:
        if not ast.get_docstring(source.tree):
            found.append(f"{source.path}:1: no docstring: what lives here, the rule of the room, what it must not know")
        for node in public_definitions(source.tree.body):
            if not ast.get_docstring(node):
                found.append(source.at(node, f"{node.name} has no docstring: shapes, units, errors, source"))
            for method in public_definitions(node.body) if isinstance(node, ast.ClassDef) else ():
                if not ast.get_docstring(method) and method.name not in documented:
                    found.append(source.at(method, f"{node.name}.{method.name} has no docstring"))
    return found


def public_definitions(body: Iterable[ast.stmt]) -> Iterator[Function | ast.ClassDef]:
    """Public functions and classes defined right in ``body``."""
    for node in body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            yield node


def misnamed_errors(sources: Iterable[Source]) -> list[str]:
    """Exceptions whose names do not end in Error or Timeout, and other classes whose names do."""
    classes = [(source, node) for source in sources for node in ast.walk(source.tree) if isinstance(node, ast.ClassDef)]
    raised = {
        name for name, thing in vars(builtins).items() if isinstance(thing, type) and issubclass(thing, BaseException)
    }
    for _ in classes:  # as often as the longest chain of bases can be
        raised |= {node.name for _, node in classes if raised.intersection(map(ast.unparse, node.bases))}
    return [
        source.at(node, f"the error {node.name} must be named ...Error or ...Timeout")
        for source, node in classes
        if node.name in raised and not node.name.endswith(("Error", "Timeout"))
    ]


def hidden_errors(sources: Iterable[Source]) -> list[str]:
    """Bare ``except:``, and broad ``except`` or ``suppress`` that do nothing with the error."""
    found = []
    for source in sources:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ExceptHandler):
                caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
                broad = TOO_BROAD.intersection(ast.unparse(kind) for kind in caught if kind)
                if node.type is None:
                    found.append(source.at(node, "bare `except:`: name the errors"))
                elif broad and all(isinstance(statement, ast.Pass | ast.Continue) for statement in node.body):
                    found.append(source.at(node, f"`except {', '.join(broad)}` hides every error: name it, or log it"))
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
                broad = TOO_BROAD.intersection(map(ast.unparse, node.args))
                if broad:
                    found.append(source.at(node, f"suppress({', '.join(broad)}) hides every error: name it"))
    return found


def unfinished_lines(sources: Iterable[Source]) -> list[str]:
    """Comments that leave work for later."""
    return [
        f"{source.path}:{number}: a note for later: do it, or open an issue"
        for source in sources
        for number, line in enumerate(source.text.splitlines(), 1)
        if any(f"# {word}" in line for word in ("TODO", "FIXME", "XXX"))
    ]


def houseless_modules(sources: Iterable[Source]) -> list[str]:
    """Files named after nothing."""
    return [
        f"{source.path}:1: if a function has no room, a room is missing: name the file after what it knows"
        for source in sources
        if source.path.rpartition("/")[2] in HOUSELESS_NAMES
    ]
