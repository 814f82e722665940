"""What importing a module may leave behind: constants, and nothing that lives or changes."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from tests.house.sources import Function, Source

MUTABLE_TYPES = {
    *("list", "dict", "set", "bytearray", "deque", "defaultdict", "OrderedDict", "Counter", "ChainMap", "count"),
    *("WeakSet", "WeakKeyDictionary", "WeakValueDictionary", "local", "Queue", "SimpleQueue", "LifoQueue"),
}
LIVING_TYPES = {
    *("Lock", "RLock", "Event", "Condition", "Semaphore", "BoundedSemaphore", "Thread", "ThreadPoolExecutor", "Timer"),
    *("allocate_lock", "socket", "socketpair", "create_connection", "create_server", "Greenlet", "spawn"),
}
FROZEN_TYPES = {"TypeVar", "ParamSpec", "NewType", "Struct", "MappingProxyType", "Encoder", "Decoder", "Path"}
MUTATORS = {
    *("append", "extend", "insert", "remove", "pop", "popitem", "clear", "update", "setdefault", "add", "discard"),
    *("sort", "reverse"),
}


def last_name(node: ast.expr) -> str:
    """``Lock`` for ``threading.Lock``, ``x`` for ``x[0]``."""
    if isinstance(node, ast.Subscript):
        return last_name(node.value)
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def statements_run_at_import(body: Iterable[ast.stmt], into_classes: bool) -> Iterator[ast.stmt]:
    """Statements that importing the module runs: its own, those of ``if``, ``try`` and ``with``, and of classes."""
    for statement in body:
        yield statement
        if isinstance(statement, Function):
            continue
        if not isinstance(statement, ast.ClassDef) or into_classes:
            for name in ("body", "orelse", "finalbody"):
                yield from statements_run_at_import(getattr(statement, name, []), into_classes)
            for handler in getattr(statement, "handlers", []):
                yield from statements_run_at_import(handler.body, into_classes)


def assignments(body: Iterable[ast.stmt], into_classes: bool) -> Iterator[tuple[ast.stmt, str, ast.expr]]:
    """Assignments run at import: statement, name, value."""
    for statement in statements_run_at_import(body, into_classes):
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        value = getattr(statement, "value", None)
        if isinstance(statement, ast.Assign | ast.AnnAssign) and value is not None:
            yield from ((statement, target.id, value) for target in targets if isinstance(target, ast.Name))


def mutated_names(tree: ast.Module) -> set[str]:
    """Names of the module that something in it changes in place or binds anew with ``global``."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            found.add(last_name(node.value))
        elif isinstance(node, ast.AugAssign):
            found.add(last_name(node.target))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
            found.add(last_name(node.func.value))
        elif isinstance(node, ast.Global):
            found.update(node.names)
    return found


def _why_mutable(name: str, value: ast.expr, mutated: set[str]) -> str:
    """What is wrong with binding ``name`` to ``value`` at module level, or nothing."""
    called = last_name(value.func) if isinstance(value, ast.Call) else ""
    constant = name == name.upper()
    if name in mutated and (constant or called in MUTABLE_TYPES):
        return f"{name} is changed after import: give that state an owner (an object made when it is needed)"
    if isinstance(value, ast.Dict | ast.DictComp) or called == "dict":
        return "" if constant else f"{name} is a module-level dict: a constant is named in CAPITALS, state has an owner"
    if isinstance(value, ast.List | ast.ListComp) and name != "__all__":
        return f"{name} is a module-level list: make it a tuple"
    if isinstance(value, ast.Set | ast.SetComp) or called == "set":
        return f"{name} is a module-level set: make it a frozenset"
    if called in MUTABLE_TYPES:
        return f"{name} is a module-level {called}(): state has an owner, no module"
    if called and name == name.lower() and called[0].isupper() and called not in FROZEN_TYPES:
        return f"{name} is a module-level {called}(): an instance has an owner; a frozen constant is named in CAPITALS"
    return ""


def module_state(sources: Iterable[Source]) -> list[str]:
    """Module-level names that hold something mutable, and ``global``."""
    found = []
    for source in sources:
        mutated = mutated_names(source.tree)
        for statement, name, value in assignments(source.tree.body, into_classes=False):
            why = _why_mutable(name, value, mutated)
            if why:
                found.append(source.at(statement, why))
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Global):
                found.append(source.at(node, f"global {', '.join(node.names)}: no module-level state"))
    return found


def made_at_import(sources: Iterable[Source]) -> list[str]:
    """Locks, threads, greenlets and sockets made while a module is imported, in classes too."""
    return [
        source.at(statement, f"{name} = {ast.unparse(value)} is made at import: make it when its owner is constructed")
        for source in sources
        for statement, name, value in assignments(source.tree.body, into_classes=True)
        if isinstance(value, ast.Call) and last_name(value.func) in LIVING_TYPES
    ]
