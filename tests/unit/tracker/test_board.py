"""Watching by filter: conflated, nothing twice, nothing older after something newer."""

from __future__ import annotations

from datetime import timedelta

from progress_tracker.board import Board, Subscription
from progress_tracker.job_filter import JobFilter
from progress_tracker.report import JobState, JobUpdate

from tests.unit.tracker.samples import NOW, progress

RUNNING = JobUpdate(state=JobState.RUNNING)


def subscribed(wanted: JobFilter | None = None) -> tuple[Board, Subscription]:
    """Return a board with one subscription."""
    board = Board(NOW - timedelta(seconds=5))
    subscription = Subscription(wanted or JobFilter())
    board.subscriptions.add(subscription)
    return board, subscription


def test_states_in_between_are_left_out() -> None:
    """A slow watcher holds one state per job, the latest."""
    board, subscription = subscribed()
    for revision in range(1, 100):
        board.post(progress("a", revision=revision))
    board.post(progress("b", revision=1))
    assert [(each.job_id, each.revision) for each in subscription.take(10)] == [("a", 99), ("b", 1)]
    assert subscription.take(10) == []


def test_what_was_told_is_not_told_again_by_a_look_at_the_store() -> None:
    """The poll reads what was committed here too; and a listing that began earlier brings no older state."""
    board, subscription = subscribed()
    board.post(progress("a", revision=5))
    subscription.take(1)
    board.post(progress("a", revision=5))
    board.offer_stored(subscription, [progress("a", revision=4), progress("a", revision=5)])
    assert subscription.take(10) == []


def test_another_history_of_a_job_is_news() -> None:
    """A job that began anew starts with revision 1 and is told."""
    board, subscription = subscribed()
    board.post(progress("a", revision=5))
    subscription.take(1)
    board.post(progress("a", revision=1, log_id="another"))
    assert [each.revision for each in subscription.take(1)] == [1]


def test_a_job_that_leaves_the_filter_is_told_once_more() -> None:
    """Who watches running jobs sees them finish, and then no more of them."""
    board, subscription = subscribed(JobFilter(state=JobState.RUNNING))
    board.post(progress("a", revision=1, job=RUNNING))
    subscription.take(1)
    board.post(progress("a", revision=2, job=JobUpdate(state=JobState.FAILED)))
    board.post(progress("b", revision=1, job=JobUpdate(state=JobState.FAILED)))
    assert [(each.job_id, each.state) for each in subscription.take(10)] == [("a", JobState.FAILED)]
    board.post(progress("a", revision=3, job=JobUpdate(state=JobState.FAILED)))
    assert subscription.take(10) == []


def test_every_condition_must_hold() -> None:
    """User, label key and value are all asked for."""
    job = JobUpdate(user="ann", labels={"team": "docs"})
    assert JobFilter(user="ann", label_key="team", label_value="docs").matches(progress(job=job))
    assert not JobFilter(user="bob").matches(progress(job=job))
    assert not JobFilter(label_key="team", label_value="web").matches(progress(job=job))
    assert not JobFilter(label_key="stage").matches(progress(job=job))
