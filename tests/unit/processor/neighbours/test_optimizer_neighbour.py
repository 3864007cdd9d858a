"""The optimizer as a neighbour: each sending of a batch says which one it is."""

from __future__ import annotations

from typing import Any

from contentfactory.optimizer.v1 import optimizer_pb2
from parallel_processor.jobs.piece import PieceSpec
from parallel_processor.neighbours.acting import Acting
from parallel_processor.neighbours.optimizer import OptimizerNeighbour
from parallel_processor.running.ports import OutcomeReport, Owner

OWNER = Owner("acme", "ann")
REPORT = OutcomeReport(
    "d1",
    PieceSpec(template_id="faq"),
    succeeded=True,
    truncated=False,
    output="text",
    subjects=(),
    prompt_tokens=1,
    output_tokens=1,
    cost_micros=1,
    latency_s=1.0,
)


class Stub:
    """The one method that is asked for."""

    BatchRecordOutcomes = object()


class Repeating:
    """A pool that sends everything as often as it is told, as one does when the optimizer is UNAVAILABLE."""

    def __init__(self, sendings: int) -> None:
        self.attempts: list[int] = []
        self._sendings = sendings

    async def call(self, method: Any, request: Any, **_options: Any) -> Any:
        """Send, and note what each sending says."""
        for _ in range(self._sendings):
            method(Stub)
            self.attempts.append(request.attempt)
        return optimizer_pb2.BatchRecordOutcomesResponse()


async def test_a_repeat_by_the_pool_says_that_it_is_one() -> None:
    """The first sending is the caller's number, those the pool adds count on."""
    pool = Repeating(3)
    neighbour = OptimizerNeighbour(pool, Acting(has_credential=False))  # type: ignore[arg-type]  # the part that is used
    await neighbour.record(OWNER, "b", [REPORT], attempt=1, timeout_s=1)
    await neighbour.record(OWNER, "b", [REPORT], attempt=5, timeout_s=1)
    assert pool.attempts == [1, 2, 3, 5, 6, 7]
