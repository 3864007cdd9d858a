"""Which items belong together: dependencies are checked here, and whole groups are packed into shards."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from service_common.errors import ErrorKind, FieldViolation, ServiceError, failed_precondition
from service_common.frozen import dataclass

from parallel_processor.jobs.item import Item

SHARD_TARGET_ITEMS = 96
"""Groups are packed until a shard has about this many items."""

MAX_GROUP_ITEMS = 1_000
"""The largest group of items that hang together by dependencies; a group is never cut."""


@dataclass(frozen=True, slots=True)
class ItemPlace:
    """Where an item is stored, and what it hangs together with.

    Attributes:
        item_id: The item.
        chunk: The number of the document it is in.
        position: Its place within that document.
        depends_on: The ids of the items it needs.
    """

    item_id: str
    chunk: int
    position: int
    depends_on: tuple[str, ...]


def check_dependencies(
    items: Sequence[Item], known: Collection[str], refused: Mapping[int, ServiceError]
) -> dict[int, ServiceError]:
    """Find the items of one batch whose dependencies cannot be met.

    Args:
        items: The batch.
        known: Ids of items that are part of the job already.
        refused: Items of the batch that are refused for other reasons, by position.

    Returns:
        An INVALID_ARGUMENT error per bad item, by position: it needs an item that is not there or that is
        refused itself, or it is on a circle.
    """
    position = {item.item_id: index for index, item in enumerate(items) if index not in refused}
    errors: dict[int, ServiceError] = {}
    while bad := dict(_unknown_dependencies(items, position, known)):
        errors |= bad
        for index in bad:
            position.pop(items[index].item_id, None)
    for index in _on_circles(items, position):
        field = f"items[{index}].depends_on"
        errors[index] = _invalid("DEPENDENCY_CYCLE", field, "must not lead back to the item itself")
    return errors


def _unknown_dependencies(
    items: Sequence[Item], position: Mapping[str, int], known: Collection[str]
) -> Iterator[tuple[int, ServiceError]]:
    for index in position.values():
        for number, dependency in enumerate(items[index].depends_on):
            if dependency.item_id not in position and dependency.item_id not in known:
                field = f"items[{index}].depends_on[{number}].item_id"
                problem = "must name an item of this job that was added before or is accepted in this call"
                yield index, _invalid("UNKNOWN_DEPENDENCY", field, problem)
                break


def _invalid(reason: str, field: str, description: str) -> ServiceError:
    violation = FieldViolation(field, description)
    return ServiceError(
        ErrorKind.INVALID_ARGUMENT, reason, f"{field}: {description}", violations=(violation,)
    )


def _on_circles(items: Sequence[Item], position: Mapping[str, int]) -> set[int]:
    """Return items that are on a circle or lead to one: what is left when free items are taken away."""
    waiting = {
        index: {position[each.item_id] for each in items[index].depends_on if each.item_id in position}
        for index in position.values()
    }
    needed_by: dict[int, list[int]] = {}
    for index, needs in waiting.items():
        for need in needs:
            needed_by.setdefault(need, []).append(index)
    free = [index for index, needs in waiting.items() if not needs]
    while free:
        done = free.pop()
        del waiting[done]
        for index in needed_by.get(done, ()):
            waiting[index].discard(done)
            if not waiting[index]:
                free.append(index)
    return set(waiting)


def pack_shards(places: Iterable[ItemPlace]) -> list[list[ItemPlace]]:
    """Pack whole groups, in the order of their first items, into shards of about `SHARD_TARGET_ITEMS`.

    Raises:
        ServiceError: FAILED_PRECONDITION if a group is larger than `MAX_GROUP_ITEMS`.
    """
    shards: list[list[ItemPlace]] = []
    current: list[ItemPlace] = []
    for group in _groups(list(places)):
        if len(group) > MAX_GROUP_ITEMS:
            raise failed_precondition(
                "GROUP_TOO_LARGE",
                f"{len(group)} items hang together by depends_on with {group[0].item_id!r}; "
                f"at most {MAX_GROUP_ITEMS} may",
            )
        if current and len(current) + len(group) > SHARD_TARGET_ITEMS:
            shards.append(current)
            current = []
        current = current + group
    return [*shards, current] if current else shards


def _groups(places: Sequence[ItemPlace]) -> list[list[ItemPlace]]:
    """Group items that are connected by dependencies (union-find with path halving)."""
    parent = {place.item_id: place.item_id for place in places}

    def root(item_id: str) -> str:
        while parent[item_id] != item_id:
            parent[item_id] = item_id = parent[parent[item_id]]
        return item_id

    for place in places:
        for needed in place.depends_on:
            parent[root(place.item_id)] = root(needed)
    groups: dict[str, list[ItemPlace]] = {}
    for place in places:
        groups.setdefault(root(place.item_id), []).append(place)
    return list(groups.values())
