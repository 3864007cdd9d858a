"""What becomes of a piece whose call a budget may not bear."""

from __future__ import annotations

from collections.abc import Awaitable

from parallel_processor.jobs.piece import PieceError
from parallel_processor.running.treatment import Again
from parallel_processor.spending.refusal import EXHAUSTED, BudgetRefusedError


async def refusal_of(announced: Awaitable[None]) -> PieceError | Again | None:
    """Wait until a call is announced; returns None once it is, else what its piece has to do instead."""
    try:
        await announced
    except BudgetRefusedError as refused:
        if refused.exhausted:
            return PieceError(EXHAUSTED, str(refused))
        return Again(refused.retry_in_s)
    return None
