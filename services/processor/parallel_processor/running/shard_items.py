"""The items of one run of a shard: where each stands, what it took, and how it ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from service_common.clock import Clock

from parallel_processor.jobs.item import Item, ItemState, Outcome
from parallel_processor.jobs.life import Ending
from parallel_processor.jobs.piece import Piece, PieceError, PieceSpec, Usage
from parallel_processor.running.dependencies import Dependencies, skipped_because_of
from parallel_processor.running.entries import is_own_work
from parallel_processor.running.journal import Journal
from parallel_processor.running.ports import Entry
from parallel_processor.running.treatment import Effort


class ShardItems:
    """Items by index.

    Its mutable state: each one's state and effort, which depend on what, and the calls that an earlier epoch
    announced and nobody knows the fate of.

    Attributes:
        given_up: Whether what is left ends all alike.
    """

    def __init__(self, items: Sequence[Item], journal: Journal, clock: Clock) -> None:
        self.given_up = False
        self._items = items
        self._journal = journal
        self._clock = clock
        self._states = bytearray(journal.shard.states)
        self._efforts: dict[int, Effort] = {}
        self._inherited = dict(journal.shard.intents)
        self._dependencies = Dependencies(items)

    def __len__(self) -> int:
        return len(self._items)

    @property
    def unfinished(self) -> int:
        """Items that are not finished."""
        return sum(1 for _ in self._left())

    def resume(self, committed: Iterable[tuple[int, Outcome]]) -> list[int]:
        """Begin where the shard stands, with what earlier epochs committed; returns what may begin."""
        for index, outcome in committed:
            if outcome.piece is not None:
                self._dependencies.succeeded(index, outcome.piece.content)
        for index, state in enumerate(bytes(self._states)):
            if state > ItemState.SUCCEEDED:
                self._skip_dependants(index)
        return list(self._dependencies.free(self._states))

    def begin(self, index: int) -> None:
        """Take note that an item is begun."""
        self._states[index] = ItemState.RUNNING
        self._efforts[index] = Effort()

    def item_id(self, index: int) -> str:
        """Return the name its owner gave it."""
        return self._items[index].item_id

    def spec(self, index: int) -> PieceSpec:
        """Return what to generate, with the content of the items it depends on."""
        return self._dependencies.spec(index)

    def effort(self, index: int) -> Effort:
        """Return what an item that was begun has taken so far."""
        return self._efforts[index]

    def spend(self, indexes: Iterable[int], stage: str, seconds: float) -> None:
        """Count time that items spent together."""
        for index in indexes:
            self._efforts[index].spend(stage, seconds)

    def ended(self, index: int) -> bool:
        """Whether an item is finished."""
        return self._states[index] >= ItemState.SUCCEEDED

    def account_inherited(self, index: int) -> None:
        """Count a call that an earlier epoch announced, and nobody knows the fate of, as spent (law 5)."""
        worst_case = self._inherited.pop(index, None)
        if worst_case is not None:
            self._journal.account(index, Usage(uncertain_calls=1, uncertain_spend_micros=worst_case))

    def account_efforts(self) -> None:
        """Commit what unfinished items have spent, so that the next epoch need not assume the worst."""
        for index, effort in self._efforts.items():
            if self.ended(index) or index in self._inherited:
                continue  # what an earlier epoch announced stays announced
            self._journal.account(index, effort.usage)

    def taken(self, index: int, entry: Entry, piece: Piece) -> Piece:
        """Return what an item gets that finds a cached piece, and settle what an earlier epoch announced."""
        item_id = self._items[index].item_id
        if index in self._inherited and is_own_work(
            entry, holder=self._journal.shard.holder, item_id=item_id
        ):
            # The earlier epoch's call came back after all: it was paid once, and here is what it bought.
            self._inherited.pop(index)
            effort = self._efforts[index]
            effort.attempts += 1
            effort.usage += Usage(piece.prompt_tokens, piece.output_tokens, 1, piece.cost_micros)
            return replace(piece, cached=False)
        self.account_inherited(index)
        return piece

    def succeed(self, index: int, piece: Piece) -> list[int]:
        """End an item with its piece; returns what may begin now."""
        self._finish(index, ItemState.SUCCEEDED, piece=piece)
        return self._dependencies.succeeded(index, piece.content)

    def fail(self, index: int, error: PieceError) -> None:
        """End an item without a piece, and skip what can no longer begin."""
        self._finish(index, ItemState.FAILED, error=error)

    def end_all(self, ending: Ending) -> None:
        """End what is left, all alike."""
        for index in list(self._left()):
            self.account_inherited(index)
            self._finish(index, ending.state, error=ending.error)

    def _left(self) -> Iterator[int]:
        return (index for index, state in enumerate(self._states) if state < ItemState.SUCCEEDED)

    def _finish(
        self, index: int, state: ItemState, *, piece: Piece | None = None, error: PieceError | None = None
    ) -> None:
        if self.ended(index):
            return
        self._states[index] = state
        effort = self._efforts.get(index) or Effort()
        usage = effort.usage
        if piece is not None and piece.cached:
            usage += Usage(saved_micros=piece.cost_micros)
        outcome = Outcome(
            item_id=self._items[index].item_id,
            state=state,
            finish_time=self._clock.now(),
            piece=piece,
            error=error,
            attempts=effort.attempts,
            stages=dict(effort.stages),
            usage=usage,
            labels=self._items[index].labels,
        )
        self._journal.finish(index, outcome)
        if piece is None and not self.given_up:
            self._skip_dependants(index)

    def _skip_dependants(self, index: int) -> None:
        because = skipped_because_of(self._items[index], ItemState(self._states[index]))
        for dependant in self._dependencies.failed(index):
            self._finish(dependant, ItemState.SKIPPED, error=because)
