"""All promises together."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.chaos import billing, checking
from benchmarks.chaos.history import History, Violation

CHECKS: tuple[Callable[[History], Iterator[Violation]], ...] = (
    checking.check_results,
    checking.check_stream,
    checking.check_fencing,
    checking.check_shards,
    checking.check_totals,
    checking.check_watcher,
    checking.check_tracker,
    checking.check_outcome_usage,
    billing.check_calls,
    billing.check_shard_bills,
    billing.check_bill,
    billing.check_uncertainty,
)


def violations(history: History) -> list[Violation]:
    """Return every promise that was broken; none for a right history."""
    return [violation for check in CHECKS for violation in check(history)]
