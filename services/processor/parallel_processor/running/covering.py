"""What becomes of a piece whose call a budget may not bear."""

from __future__ import annotations

from collections.abc import Awaitable

from parallel_processor.jobs.job import StateReason
from parallel_processor.jobs.piece import PieceError
from parallel_processor.running.treatment import Again
from parallel_processor.spending.refusal import EXHAUSTED, BudgetRefusedError

_PAUSING_S = 15.0
"""How long a piece waits for its job to be paused, before it asks again."""


async def refusal_of(announced: Awaitable[None], *, persistent: bool) -> PieceError | Again | None:
    """Wait until a call is announced; returns None once it is, else what its piece has to do instead.

    Args:
        announced: What is waited for.
        persistent: Whether the piece is part of a job, which rests once its budget is used up.
    """
    try:
        await announced
    except BudgetRefusedError as refused:
        if refused.exhausted:
            if persistent:
                return Again(_PAUSING_S, pause=StateReason(EXHAUSTED, str(refused)))
            return PieceError(EXHAUSTED, str(refused))
        return Again(refused.retry_in_s)
    return None
