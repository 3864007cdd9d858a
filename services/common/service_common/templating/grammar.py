"""What a template may be made of: a short list of constructs; the rest is refused when it is compiled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from jinja2 import nodes

from service_common.errors import ErrorKind, FieldViolation, ServiceError

MAX_TEMPLATE_CHARS = 256 * 1024
MAX_NODES = 20_000
MAX_DEPTH = 50
MAX_LOOP_DEPTH = 4

LOOP_FILTER = "_loop"
CHARGE_FILTER = "_charged"

TESTS = frozenset({
    "boolean", "defined", "even", "false", "float", "integer", "iterable", "lower", "mapping", "none",
    "number", "odd", "sequence", "string", "true", "undefined", "upper",
})  # fmt: skip
_ALLOWED: tuple[type[nodes.Node], ...] = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.List, nodes.Tuple,
    nodes.If, nodes.For, nodes.CondExpr, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not,
    nodes.Add, nodes.Sub, nodes.Neg, nodes.Getattr, nodes.Getitem, nodes.Filter, nodes.Test, nodes.Keyword,
)  # fmt: skip


def invalid_template(text: str, line: int | None = None) -> ServiceError:
    """Make the error of a template that is not one, or not one we render."""
    where = f"line {line}: {text}" if line else text
    return ServiceError(
        ErrorKind.INVALID_ARGUMENT,
        "INVALID_TEMPLATE",
        f"the template cannot be used: {where}",
        violations=(FieldViolation("template", where),),
        metadata={"line": str(line)} if line else None,
    )


def check(tree: nodes.Template, *, filters: frozenset[str]) -> None:
    """Refuse a tree with anything but the allowed constructs, or one too large or too deep.

    Args:
        tree: As parsed.
        filters: The names of the filters there are.

    Raises:
        ServiceError: INVALID_ARGUMENT naming the construct and its line.
    """
    for count, (node, depth, loops) in enumerate(_walk(tree)):
        if count >= MAX_NODES or depth > MAX_DEPTH or loops > MAX_LOOP_DEPTH:
            raise invalid_template(
                f"too complex: at most {MAX_NODES} parts, {MAX_DEPTH} deep, {MAX_LOOP_DEPTH} loops nested",
                node.lineno,
            )
        reason = _objection(node, filters)
        if reason is not None:
            raise invalid_template(reason, node.lineno)


def meter(tree: nodes.Template) -> None:
    """Route what takes work that depends on values, loops and comparisons, through the budget."""
    for loop in tree.find_all(nodes.For):
        weight = nodes.Const(sum(1 for _ in _walk(loop)))
        loop.iter = _filtered(cast("nodes.Expr", loop.iter), LOOP_FILTER, [weight])
    for comparison in tree.find_all(nodes.Compare):
        comparison.expr = _filtered(comparison.expr, CHARGE_FILTER, [])
        for operand in comparison.ops:
            operand.expr = _filtered(operand.expr, CHARGE_FILTER, [])


def _filtered(node: nodes.Expr, name: str, arguments: list[nodes.Expr]) -> nodes.Filter:
    return nodes.Filter(
        node, name, arguments, [], None, None, lineno=node.lineno, environment=node.environment
    )


def _walk(root: nodes.Node) -> Iterator[tuple[nodes.Node, int, int]]:
    # Without recursion: a hostile tree is as deep as its source is long.
    waiting = [(root, 0, 0)]
    while waiting:
        node, depth, loops = waiting.pop()
        yield node, depth, loops
        inner = loops + isinstance(node, nodes.For)
        waiting.extend((child, depth + 1, inner) for child in node.iter_child_nodes())


def _objection(node: nodes.Node, filters: frozenset[str]) -> str | None:
    match node:
        case nodes.Filter() if node.name not in filters:
            problem = f"there is no filter `{node.name}`; there are {', '.join(sorted(filters))}"
        case nodes.Filter() if node.dyn_args or node.dyn_kwargs:
            problem = "a filter's arguments are written out, without `*`"
        case nodes.Test() if node.name not in TESTS:
            problem = f"there is no test `{node.name}`; there are {', '.join(sorted(TESTS))}"
        case nodes.Name() if node.name.startswith("_"):
            problem = f"the name `{node.name}` begins with an underscore"
        case nodes.Getattr() if node.attr.startswith("_"):
            problem = f"`.{node.attr}` is not available"
        case nodes.For() if node.recursive:
            problem = "a recursive loop is not available"
        case _ if not isinstance(node, _ALLOWED):
            problem = f"`{type(node).__name__.lower()}` is not available"
        case _:
            return None
    return problem
