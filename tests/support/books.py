"""What must hold of a job however it went: every item once, and books that the endpoint's log bears out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from contentfactory.processor.v1 import processor_pb2 as pb

from tests.support.bill import Line, abandoned, bill, completed


def assert_complete(items: Sequence[pb.JobItem], results: Sequence[pb.ItemResult], job: pb.Job) -> None:
    """Check that every item succeeded, and has one result."""
    assert Counter(each.item_id for each in results) == Counter(each.item_id for each in items)
    assert job.state == pb.JOB_STATE_SUCCEEDED
    assert job.counts.succeeded == job.counts.total == len(items)


def assert_honest(usage: pb.Usage, lines: Sequence[Line]) -> None:
    """Check that what was charged is what is counted: exactly, or within what is said to be uncertain."""
    paid, cut_off = completed(lines), abandoned(lines)
    paid_twice = len(paid) - len({each.digest for each in paid})
    assert len(cut_off) + paid_twice <= usage.uncertain_calls
    assert usage.cost_micros <= bill(paid)
    assert bill(paid) + bill(cut_off) <= usage.cost_micros + usage.uncertain_spend_micros
    if not usage.uncertain_calls:
        assert usage.cost_micros == bill(paid)
