"""How much work a schema may cause: for a value of n parts at most n times its weight, or it is refused.

A subschema may be evaluated once for each way that leads to it from the whole. Without recursion the ways are
counted, and their number is the weight. Recursion adds one evaluation for each level of the value if there is
one way back only; with two, the work would double with each level.
"""

from __future__ import annotations

from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import chain

from service_common.json_schema.subschemas import Anatomy, SchemaRefusedError, Subschema

MAX_WEIGHT = 2_000


def weight_of(anatomy: Anatomy) -> int:
    """Return how many subschemas may be evaluated for one part of a value.

    Raises:
        SchemaRefusedError: If there is no bound, or it is above `MAX_WEIGHT`.
    """
    nodes = anatomy.subschemas
    order = _same_value_order(nodes)
    reached = _reached(nodes)
    circles = [
        frozenset(each for each in reached[index] if index in reached[each]) for index in range(len(nodes))
    ]
    _refuse_branching(nodes, order, circles)
    weight = sum(_ways(nodes, circles))
    if weight > MAX_WEIGHT:
        raise SchemaRefusedError(
            f"it comes to {weight} subschemas once its references are followed; at most {MAX_WEIGHT} may be"
        )
    return weight


def _same_value_order(nodes: Sequence[Subschema]) -> list[int]:
    """Return the subschemas so that each comes after those that look at the same value for it."""
    try:
        return [*TopologicalSorter({at: node.same_value for at, node in enumerate(nodes)}).static_order()]
    except CycleError as error:
        raise SchemaRefusedError(
            f"{nodes[error.args[1][0]].path}: it refers to itself without going into the value"
        ) from error


def _reached(nodes: Sequence[Subschema]) -> list[set[int]]:
    """Return, of each subschema, which others it leads to; itself only if it is part of a circle."""
    reached: list[set[int]] = [set() for _ in nodes]
    changed = True
    while changed:
        changed = False
        for index in reversed(range(len(nodes))):
            before = len(reached[index])
            for child in _children(nodes[index]):
                reached[index] |= {child} | reached[child]
            changed |= len(reached[index]) > before
    return reached


def _children(node: Subschema) -> list[int]:
    return [*node.same_value, *chain.from_iterable(node.parts)]


def _refuse_branching(
    nodes: Sequence[Subschema], order: Sequence[int], circles: Sequence[frozenset[int]]
) -> None:
    """Refuse a circle that comes back to a part of the value in more than one way."""
    ways_back = [0] * len(nodes)
    for index in order:
        circle, node = circles[index], nodes[index]
        ways_back[index] = sum(ways_back[child] for child in node.same_value if child in circle)
        ways_back[index] += sum(not circle.isdisjoint(group) for group in node.parts)
        if ways_back[index] > 1:
            raise SchemaRefusedError(
                f"{node.path}: it recurs into the same part of the value in more than one way, "
                "so that its work doubles with each level"
            )


def _ways(nodes: Sequence[Subschema], circles: Sequence[frozenset[int]]) -> list[int]:
    """Count the ways from the whole to each subschema; a circle is gone round once."""
    circle_of = [
        min(circle, default=index) if index in circle else index for index, circle in enumerate(circles)
    ]
    before: dict[int, list[int]] = {index: [] for index in set(circle_of)}
    for index, node in enumerate(nodes):
        for child in _children(node):
            if circle_of[child] != circle_of[index]:
                before[circle_of[child]].append(circle_of[index])
    ways = dict.fromkeys(before, 0)
    ways[circle_of[0]] = 1
    for each in TopologicalSorter(before).static_order():
        ways[each] += sum(ways[source] for source in before[each])
    return [ways[each] for each in circle_of]
