"""The registry of error reasons in protos/README.md says exactly what the code can say."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for path in (ROOT / "services").rglob("*.py") if "build" not in path.parts)
MAKERS = {
    "ServiceError",
    "PieceError",
    "not_found",
    "already_exists",
    "failed_precondition",
    "aborted",
    "unavailable",
    "resource_exhausted",
}
"""What takes a reason as an argument; `invalid_argument` and `invalid_field` have theirs inside."""

_REASON = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+|INTERNAL|DRAINING")


def registered() -> set[str]:
    """Return the reasons in the first column of the registry's table."""
    text = (ROOT / "protos" / "README.md").read_text("utf-8")
    section = re.split(r"^## ", text, flags=re.MULTILINE)
    (table,) = (part for part in section if part.startswith("Error reasons"))
    return set(re.findall(r"^\| *`([A-Z0-9_]+)`", table, flags=re.MULTILINE))


def texts(tree: ast.AST) -> Iterator[str]:
    """Yield every text in a piece of code that may be a reason."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _REASON.fullmatch(node.value):
            yield node.value


def raised() -> Iterator[str]:
    """Yield the reasons given to what makes errors: texts, constants, tables, also passed on."""
    trees = [ast.parse(path.read_text("utf-8")) for path in SOURCES]
    constants = dict(pair for tree in trees for pair in _constants(tree))
    for tree in trees:
        makers = MAKERS | set(_takers(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                for argument in _arguments(node, makers):
                    yield from texts(argument)
                    for inner in ast.walk(argument):
                        if isinstance(inner, ast.Name) and inner.id in constants:
                            yield from texts(constants[inner.id])


def _arguments(call: ast.Call, makers: set[str]) -> Iterator[ast.expr]:
    """Yield the arguments of a call that may hold a reason."""
    if _name(call.func) in makers:
        yield from call.args[:2]
    yield from (each.value for each in call.keywords if each.arg == "reason")


def _constants(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        for target in targets:
            if isinstance(target, ast.Name) and (value := getattr(node, "value", None)) is not None:
                yield target.id, value


def _takers(tree: ast.Module) -> Iterator[str]:
    """Yield a module's own functions that take a reason."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and any(
            each.arg == "reason" for each in (*node.args.args, *node.args.kwonlyargs)
        ):
            yield node.name


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def test_every_reason_in_the_code_is_registered() -> None:
    """A client that looks a reason up finds what it means."""
    used = set(raised())
    assert used, "the walk found nothing, so it proves nothing"
    missing = used - registered()
    assert not missing, f"register in protos/README.md: {', '.join(sorted(missing))}"


def test_every_registered_reason_is_in_the_code() -> None:
    """The registry holds no reason that nobody says any more."""
    said = {text for path in SOURCES for text in texts(ast.parse(path.read_text("utf-8")))}
    stale = registered() - said
    assert not stale, f"nothing says: {', '.join(sorted(stale))}"
