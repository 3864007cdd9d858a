"""Where the outline is fed to the flashcards: which items of a shard may begin, and with which variables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from parallel_processor.jobs.item import Item, ItemState
from parallel_processor.jobs.piece import PieceError, PieceSpec


class Dependencies:
    """Follows which items are free to begin as others finish.

    Its mutable state: per item the items it still needs, and the content of finished items that others need.
    """

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = items
        self._index = {item.item_id: index for index, item in enumerate(items)}
        self._missing = [{self._index[each.item_id] for each in item.depends_on} for item in items]
        self._needed_by: dict[int, list[int]] = {}
        for index, missing in enumerate(self._missing):
            for needed in missing:
                self._needed_by.setdefault(needed, []).append(index)
        self._content: dict[int, str] = {}

    def free(self, states: Sequence[int]) -> Iterator[int]:
        """Yield the pending items that need nothing more."""
        for index, missing in enumerate(self._missing):
            if not missing and states[index] == ItemState.PENDING:
                yield index

    def succeeded(self, index: int, content: str) -> list[int]:
        """Take an item's content and return the items that need nothing more because of it."""
        freed: list[int] = []
        for waiting in self._needed_by.get(index, ()):
            self._content[index] = content
            self._missing[waiting].discard(index)
            if not self._missing[waiting]:
                freed.append(waiting)
        return freed

    def failed(self, index: int) -> list[int]:
        """Return the items that can never begin because an item has no content, direct dependants only."""
        return list(self._needed_by.get(index, ()))

    def spec(self, index: int) -> PieceSpec:
        """Return what to generate for an item, with the content of the items it depends on as variables."""
        item = self._items[index]
        if not item.depends_on:
            return item.spec
        fed: Mapping[str, str] = {
            each.variable: self._content[self._index[each.item_id]] for each in item.depends_on
        }
        return replace(item.spec, variables={**item.spec.variables, **fed})


def skipped_because_of(item: Item, state: ItemState) -> PieceError:
    """Say why an item is skipped."""
    return PieceError("DEPENDENCY_FAILED", f"item {item.item_id!r}, which it depends on, is {state.name}")
