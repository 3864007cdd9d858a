"""How often the processor writes and looks: at once where that costs nothing, seldom where it is billed."""

from __future__ import annotations

from dataclasses import dataclass

from parallel_processor.config import Settings
from parallel_processor.results import Looks
from parallel_processor.running.journal import Allowance, Pace


@dataclass(frozen=True, slots=True)
class Pacing:
    """The processor's pace.

    Attributes:
        commits: Of a shard's work.
        settle_s: The least time between two writes of one job's totals.
        looks: Of streams, for new results.
    """

    commits: Pace
    settle_s: float
    looks: Looks


def pacing(settings: Settings, *, hosted: bool) -> Pacing:
    """Return the pace that was set, and where nothing was, the store's.

    Args:
        settings: What was set.
        hosted: Whether the store bills each operation.
    """
    interval_s = settings.processor_commit_interval_s
    if interval_s is None:
        interval_s = 1.0 if hosted else 0.25
    ahead = settings.processor_announce_ahead
    if ahead is None:
        ahead = settings.processor_max_concurrency if hosted else 0
    settle_s = settings.processor_settle_interval_s
    if settle_s is None:
        settle_s = 1.5 if hosted else 1.0
    looks = Looks(rest_s=1.0, poll_s=2.0) if hosted else Looks(rest_s=0.0, poll_s=0.5)
    return Pacing(Pace(interval_s, Allowance(ahead)), settle_s, looks)
