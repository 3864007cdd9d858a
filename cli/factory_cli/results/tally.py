"""What a job's results add up to, per content type; pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from contentfactory.processor.v1 import processor_pb2 as pb

_STATE_PREFIX = "ITEM_STATE_"


@dataclass(slots=True)
class TypeTally:
    """What the results of one content type add up to.

    Attributes:
        done: Results with content.
        failed: Results without.
        cached: Of those with content, the ones without a model call.
        prompt_tokens: Tokens of prompts sent for it in this job.
        output_tokens: Tokens generated for it in this job.
        cost_micros: What it cost in this job.
        scores: The quality scores there are.
    """

    done: int = 0
    failed: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    cost_micros: int = 0
    scores: list[float] = field(default_factory=list)

    @property
    def mean_quality(self) -> float | None:
        """The mean score; None when nothing was scored."""
        return sum(self.scores) / len(self.scores) if self.scores else None

    def add(self, result: pb.ItemResult) -> None:
        """Count a result; tokens of cached pieces were paid for elsewhere and are not counted."""
        if result.state != pb.ITEM_STATE_SUCCEEDED:
            self.failed += 1
            return
        piece = result.piece
        self.done += 1
        self.cached += piece.cached
        self.cost_micros += piece.cost_micros
        if not piece.cached:
            self.prompt_tokens += piece.prompt_tokens
            self.output_tokens += piece.output_tokens
        if piece.HasField("quality"):
            self.scores.append(piece.quality)


@dataclass(frozen=True, slots=True)
class Loss:
    """An item without content.

    Attributes:
        item_id: Which.
        state: FAILED, SKIPPED or CANCELLED.
        reason: Why, for machines.
        message: Why, in words.
    """

    item_id: str
    state: str
    reason: str
    message: str


class Tally:
    """What all results so far add up to.

    Attributes:
        types: By content type, in the order of first results.
        losses: The items without content.
    """

    def __init__(self) -> None:
        self.types: dict[str, TypeTally] = {}
        self.losses: list[Loss] = []

    def add(self, result: pb.ItemResult) -> None:
        """Count a result."""
        content_type = result.piece.content_type or result.item_id.rpartition("/")[2]
        self.types.setdefault(content_type, TypeTally()).add(result)
        if result.state != pb.ITEM_STATE_SUCCEEDED:
            state = pb.ItemState.Name(result.state).removeprefix(_STATE_PREFIX)
            self.losses.append(Loss(result.item_id, state, result.error.reason, result.error.message))

    @property
    def total(self) -> TypeTally:
        """All content types together."""
        whole = TypeTally()
        for each in self.types.values():
            whole.done += each.done
            whole.failed += each.failed
            whole.cached += each.cached
            whole.prompt_tokens += each.prompt_tokens
            whole.output_tokens += each.output_tokens
            whole.cost_micros += each.cost_micros
            whole.scores += each.scores
        return whole
