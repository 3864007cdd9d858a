"""What becomes of a piece whose call a budget may not bear."""

from __future__ import annotations

from collections.abc import Awaitable

from parallel_processor.jobs.piece import PieceError
from parallel_processor.running.treatment import Again
from parallel_processor.spending.refusal import EXHAUSTED, BudgetRefusedError

_ASKING_S = 5.0
"""How long a piece rests whose call is refused for good: others may fit, and a cap may be raised."""


async def refusal_of(announced: Awaitable[None], *, persistent: bool) -> PieceError | Again | None:
    """Wait until a call is announced; returns None once it is, else what its piece has to do instead.

    Args:
        announced: What is waited for.
        persistent: Whether the piece is part of a job, which rests once nothing of it fits any more.
    """
    try:
        await announced
    except BudgetRefusedError as refused:
        if refused.used_up is None:
            return Again(refused.retry_in_s)
        return Again(_ASKING_S) if persistent else PieceError(EXHAUSTED, str(refused))
    return None
