"""The fold and the log: same reports, same progress; numbers without gaps; nothing twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from contentfactory.tracker.v1 import tracker_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st
from progress_tracker.job_log import CHUNK_EVENTS, JobLog
from progress_tracker.progress import JobProgress
from progress_tracker.report import ItemState, JobPriority, JobState, JobUpdate, QueueStanding, Report, Totals

from tests.unit.tracker.samples import NOW, item, new_log, report


def final(log: JobLog) -> JobProgress:
    """Return the snapshot without what depends on the order of arrival by design."""
    snapshot = log.fold.snapshot()
    return replace(snapshot, stages=tuple(sorted(snapshot.stages)), revision=0)


def history(producer: int, ends: list[ItemState]) -> list[Report]:
    """Return a producer's life: each item starts, then ends, with absolute totals, one report a second."""
    reports, done = [], 0
    for number, state in enumerate(ends):
        name = f"{producer}-{number}"
        done += state is ItemState.SUCCEEDED
        time = NOW + timedelta(seconds=7 * number)
        totals = Totals(succeeded=done, failed=number + 1 - done, cost_micros=3 * done)
        started = report(
            2 * number + 1, item(name, ItemState.RUNNING), producer=f"shard-{producer}", time=time
        )
        ended = report(
            2 * number + 2, item(name, state), producer=f"shard-{producer}", totals=totals, time=time
        )
        reports += [started, ended]
    return reports


JOB_REPORTS = [
    report(number, producer="job", job=JobUpdate(state=state, item_count=9))
    for number, state in enumerate((JobState.QUEUED, JobState.RUNNING, JobState.PARTIALLY_SUCCEEDED), 1)
]
PERIODS = st.integers(1, 3)
ENDS = st.lists(st.sampled_from([ItemState.SUCCEEDED, ItemState.FAILED]), max_size=6)


@given(ends=st.lists(ENDS, min_size=1, max_size=4), data=st.data())
def test_any_interleaving_and_repetition_gives_the_same_progress(
    ends: list[list[ItemState]], data: st.DataObject
) -> None:
    """Producers keep their own order; everything else about arrival is arbitrary, repeats included."""
    histories = [JOB_REPORTS, *(history(number, each) for number, each in enumerate(ends))]
    straight, shuffled = new_log(), new_log()
    for each in histories:
        for one in each:
            straight.apply(one, NOW + timedelta(hours=1))
    waiting: list[list[Report]] = [list(each) for each in histories]
    sent: list[Report] = []
    while any(waiting):
        if sent and len(sent) % data.draw(PERIODS) == 0:
            again: Report = data.draw(st.sampled_from(sent))
            assert shuffled.apply(again, NOW + timedelta(hours=1)).duplicate
        chosen: list[Report] = data.draw(st.sampled_from([each for each in waiting if each]))
        sent.append(chosen.pop(0))
        assert not shuffled.apply(sent[-1], NOW + timedelta(hours=1)).duplicate
    assert final(straight) == final(shuffled)


@given(ends=ENDS, commit_after=st.lists(st.booleans(), min_size=12, max_size=12))
def test_events_are_numbered_without_gaps_over_commits(
    ends: list[ItemState], commit_after: list[bool]
) -> None:
    """Whatever shares a commit, the events read 1, 2, 3, … in the order of the chunks and of the commits."""
    log = new_log()
    numbers: list[int] = []
    chunks: dict[int, tuple[bytes, ...]] = {}
    for one, commit in zip(history(0, ends), commit_after, strict=False):
        log.apply(one, NOW)
        changes = log.take_changes(NOW) if commit else None
        if changes is not None:
            numbers += [pb.ProgressEvent.FromString(each).sequence for each in changes.events]
            chunks |= {each.first: each.events for each in changes.chunks}
    assert numbers == list(range(1, len(numbers) + 1))
    stored = [
        pb.ProgressEvent.FromString(event).sequence for first in sorted(chunks) for event in chunks[first]
    ]
    assert numbers == stored


def test_chunks_hold_a_fixed_share_of_the_numbers() -> None:
    """An event's chunk follows from its number, also when commits do not end where chunks do."""
    log = new_log()
    seen = []
    for sequence, size in enumerate((30, 45, 1, 74), 1):
        log.apply(report(sequence, *(item(f"{sequence}-{each}") for each in range(size))), NOW)
        changes = log.take_changes(NOW)
        assert changes is not None
        seen += [(each.first, each.last) for each in changes.chunks]
    assert seen == [(1, 30), (1, 50), (51, 75), (51, 76), (51, 100), (101, 150)]
    assert CHUNK_EVENTS == 50


def test_an_update_that_changes_nothing_makes_no_event() -> None:
    """A catch-up report after a crash repeats what is known and is harmless."""
    log = new_log()
    log.apply(report(1, item("a"), job=JobUpdate(state=JobState.RUNNING, display_name="x")), NOW)
    log.take_changes(NOW)
    log.apply(report(2, item("a"), job=JobUpdate(state=JobState.RUNNING, display_name="x")), NOW)
    changes = log.take_changes(NOW)
    assert changes is not None
    assert changes.events == ()
    assert changes.progress.last_sequence == 2


@pytest.mark.parametrize("late", [ItemState.PENDING, ItemState.RUNNING, ItemState.FAILED])
def test_an_item_that_ended_never_goes_back(late: ItemState) -> None:
    """A late report of another producer changes nothing and is counted nowhere."""
    log = new_log()
    log.apply(report(1, item("a")), NOW)
    before = log.fold.snapshot()
    log.apply(report(1, item("a", late), producer="shard-1"), NOW)
    assert before.stages == log.fold.snapshot().stages
    assert log.fold.snapshot().last_sequence == 1


def test_a_job_only_goes_forward() -> None:
    """Neither a late state nor anything after the end moves a job back."""
    log = new_log()
    for sequence, state in enumerate(
        (JobState.RUNNING, JobState.QUEUED, JobState.CANCELLED, JobState.SUCCEEDED), 1
    ):
        log.apply(report(sequence, job=JobUpdate(state=state)), NOW)
    assert JobState.CANCELLED is log.fold.snapshot().state
    assert log.fold.snapshot().last_sequence == 2


def test_a_paused_job_goes_on_and_says_why_it_did_not() -> None:
    """A pause may come and go as often as it likes; its reason goes with it."""
    log = new_log()
    seen = []
    for sequence, (state, message) in enumerate(
        [
            (JobState.QUEUED, ""),
            (JobState.PAUSED, "no money"),
            (JobState.QUEUED, ""),
            (JobState.RUNNING, ""),
            (JobState.PAUSED, "on request"),
            (JobState.RUNNING, ""),
            (JobState.SUCCEEDED, ""),
            (JobState.PAUSED, "too late"),
        ],
        1,
    ):
        log.apply(report(sequence, producer="job", job=JobUpdate(state=state, message=message)), NOW)
        seen.append((log.fold.snapshot().state, log.fold.snapshot().message))
    assert [state for state, _ in seen] == [2, 8, 2, 3, 8, 3, 4, 4]
    assert [message for _, message in seen][:7] == ["", "no money", "", "", "on request", "", ""]


def test_failed_items_that_run_again_make_the_job_run_again() -> None:
    """The job is complete, runs, is complete again; each item counts once among those that ended."""
    log = new_log()
    ends = (item("a"), item("b", ItemState.FAILED))
    over = JobUpdate(state=JobState.PARTIALLY_SUCCEEDED, item_count=2, finish_time=NOW)
    log.apply(report(1, *ends, totals=Totals(succeeded=1, failed=1)), NOW)
    log.apply(report(1, producer="job", job=over), NOW)
    assert log.fold.snapshot().is_complete
    log.apply(report(2, producer="job", job=JobUpdate(state=JobState.RUNNING)), NOW)
    log.apply(report(2, totals=Totals(succeeded=1)), NOW)
    running = log.fold.snapshot()
    assert (running.is_complete, running.finish_time, running.totals.finished) == (False, None, 1)
    log.apply(report(3, item("b"), totals=Totals(succeeded=2)), NOW)
    log.apply(report(3, producer="job", job=JobUpdate(state=JobState.SUCCEEDED, finish_time=NOW)), NOW)
    again = log.fold.snapshot()
    assert (again.is_complete, again.items_ended, again.totals.succeeded) == (True, 2, 2)
    assert log.items == {"a": ItemState.SUCCEEDED, "b": ItemState.SUCCEEDED}


def test_a_job_event_says_only_what_changed() -> None:
    """What was said before is left out of the event."""
    log = new_log()
    log.apply(report(1, job=JobUpdate(display_name="x", user="u", priority=JobPriority.HIGH)), NOW)
    log.take_changes(NOW)
    log.apply(report(2, job=JobUpdate(display_name="x", user="u", message="now")), NOW)
    changes = log.take_changes(NOW)
    assert changes is not None
    assert pb.JobUpdate(message="now") == pb.ProgressEvent.FromString(changes.events[0]).job


def test_totals_are_the_sum_of_each_producers_latest() -> None:
    """Totals are absolute per producer: a later report replaces the earlier, a repeat adds nothing."""
    log = new_log()
    log.apply(report(1, producer="a", totals=Totals(succeeded=3, cost_micros=30)), NOW)
    log.apply(report(5, producer="a", totals=Totals(succeeded=4, cost_micros=35)), NOW)
    log.apply(report(4, producer="a", totals=Totals(succeeded=9)), NOW)
    log.apply(report(1, producer="b", totals=Totals(failed=1, cost_micros=2)), NOW)
    assert Totals(succeeded=4, failed=1, cost_micros=37) == log.fold.snapshot().totals


def test_the_latest_standing_holds_whoever_reports_it_until_the_job_is_over() -> None:
    """Where a job stands in the queue makes no event; an older standing that comes late changes nothing."""
    log = new_log()
    for number, (position, second) in enumerate([(5, 1), (2, 3), (4, 2)]):
        time = NOW + timedelta(seconds=second)
        standing = QueueStanding(time, position, JobPriority.HIGH, NOW)
        log.apply(report(1, producer=f"queue-{number}", time=time, queue=standing), NOW)
    snapshot = log.fold.snapshot()
    assert snapshot.queue == (NOW + timedelta(seconds=3), 2, JobPriority.HIGH, NOW)
    assert snapshot.last_sequence == 0
    log.apply(report(1, producer="job", job=JobUpdate(state=JobState.SUCCEEDED)), NOW)
    assert log.fold.snapshot().queue is None


def test_the_snapshot_derives_rate_eta_quality_and_share() -> None:
    """20 of 50 items over ten seconds: two a second, fifteen seconds to go."""
    log = new_log()
    log.apply(report(1, producer="job", job=JobUpdate(state=JobState.RUNNING, item_count=50)), NOW)
    for second in range(10):
        names = (f"{second}-a", f"{second}-b")
        items = (item(names[0], quality=600_000), item(names[1], quality=800_000))
        time = NOW + timedelta(seconds=second)
        log.apply(report(second + 1, *items, totals=Totals(succeeded=2 * second + 2), time=time), time)
    snapshot = log.fold.snapshot()
    assert snapshot.fraction_done == 0.4
    assert snapshot.items_per_second == 2.0
    assert timedelta(seconds=15) == snapshot.eta
    assert pytest.approx(snapshot.mean_quality) == 0.7
    assert list(snapshot.stages) == [("generate", 20, 20_000_000)]
    assert list(snapshot.content_types) == [("flashcards", 0, 20, 20)]


def test_a_producers_fast_clock_does_not_stretch_the_rate() -> None:
    """A report from the future counts as of its arrival."""
    log = new_log()
    future = NOW + timedelta(days=365)
    log.apply(report(1, totals=Totals(succeeded=5), time=future), NOW)
    log.apply(report(2, totals=Totals(succeeded=10), time=NOW), NOW)
    assert log.fold.snapshot().items_per_second == 10.0


def test_names_from_outside_cannot_grow_a_snapshot_without_bound() -> None:
    """Content types beyond the limit are counted together as `other`."""
    log = new_log()
    many = [replace(item(f"i{each}"), content_type=f"type-{each}") for each in range(100)]
    log.apply(report(1, *many), NOW)
    content_types = {each.content_type: each.finished for each in log.fold.snapshot().content_types}
    assert len(content_types) == 65
    assert content_types["other"] == 36
