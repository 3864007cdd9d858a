"""Progress as people and scripts see it: figures, lines, rates and the summary at the end."""

import json
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest
from contentfactory.processor.v1 import processor_pb2 as pb
from contentfactory.tracker.v1 import tracker_pb2
from factory_cli.progress import figures
from factory_cli.progress.convert import from_processor, from_tracker
from factory_cli.progress.rate import RateMeter
from factory_cli.progress.snapshot import JobSnapshot
from factory_cli.progress.snapshot_json import as_json
from factory_cli.progress.view import ProgressView, line, render
from factory_cli.results import summary
from factory_cli.results.tally import Tally
from rich.console import Console

START = datetime(2026, 1, 1, tzinfo=UTC)


def _drawn(renderable: object, *, width: int = 100) -> str:
    out = StringIO()
    Console(file=out, width=width, force_terminal=False).print(renderable)
    return out.getvalue()


def test_states_have_one_name_in_both_contracts() -> None:
    """A state means the same by number in the processor's and the tracker's contract."""
    assert list(pb.JobState.items()) == [(name, int(number)) for name, number in tracker_pb2.JobState.items()]


def test_the_trackers_word_becomes_a_snapshot() -> None:
    """Totals, content types and mean stage times are read; what is unset stays unknown."""
    progress = tracker_pb2.JobProgress(job_id="j", state=tracker_pb2.JOB_STATE_RUNNING, item_count=8)
    progress.totals.succeeded, progress.totals.failed, progress.totals.output_tokens = 3, 1, 90
    progress.content_types.add(content_type="faq", total=2, finished=1, succeeded=1)
    progress.stages.add(stage="generate", items=4).total_duration.FromMilliseconds(6000)
    snapshot = from_tracker(progress)
    assert (snapshot.state, snapshot.finished, snapshot.total) == ("RUNNING", 4, 8)
    assert snapshot.stages[0].mean_s == 1.5
    assert (snapshot.eta_s, snapshot.mean_quality, snapshot.started_at) == (None, None, None)


def test_a_paused_job_says_why_and_what_helps() -> None:
    """In its line, from either service; a job that goes on says nothing of it."""
    job = pb.Job(job_id="j", state=pb.JOB_STATE_PAUSED)
    job.state_reason.message = "no money"
    progress = tracker_pb2.JobProgress(job_id="j", state=tracker_pb2.JOB_STATE_PAUSED, message="no money")
    for told in (from_processor(job), from_tracker(progress)):
        assert line(told).endswith("no money; factory resume j")
    assert "resume" not in line(from_processor(pb.Job(job_id="j", state=pb.JOB_STATE_RUNNING)))


def test_the_jobs_duration_is_its_own() -> None:
    """The duration runs from the job's start to its finish, and is unknown before that."""
    job = pb.Job(job_id="j", state=pb.JOB_STATE_SUCCEEDED)
    job.start_time.FromDatetime(START)
    assert from_processor(job).duration is None
    job.finish_time.FromDatetime(START + timedelta(seconds=2.5))
    assert from_processor(job).duration == timedelta(seconds=2.5)


def test_a_rate_is_worked_out_where_nobody_tells_one() -> None:
    """Two looks at a job give its rate and the time to go; the tracker's own figures are kept."""
    meter = RateMeter()
    meter.complete(JobSnapshot("j", "RUNNING", "processor", total=10, succeeded=2), now=0)
    later = meter.complete(JobSnapshot("j", "RUNNING", "processor", total=10, succeeded=6), now=8)
    assert (later.items_per_second, later.eta_s) == (0.5, 8)
    told = JobSnapshot("j", "RUNNING", "tracker", total=10, succeeded=6, items_per_second=9.0)
    assert meter.complete(told, now=9).items_per_second == 9.0


def test_a_line_holds_what_matters() -> None:
    """State, counts, troubles, tokens, money, rate and time to go are in one line."""
    snapshot = JobSnapshot(
        "j", "RUNNING", "tracker", total=24, succeeded=9, failed=1, cached=4, prompt_tokens=1200,
        output_tokens=3400, cost_micros=120_000, items_per_second=0.5, eta_s=28,
    )  # fmt: skip
    assert line(snapshot) == (
        "running 10/24 · 1 failed · 4 cached · 1,200 + 3,400 tokens · $0.12 · 0.50 items/s · 28.0 s to go"
    )


def test_the_live_view_shows_types_and_stages() -> None:
    """Drawn live, a job shows its content types and its stage times, and says when the tracker is away."""
    progress = tracker_pb2.JobProgress(job_id="j", state=tracker_pb2.JOB_STATE_RUNNING, item_count=8)
    progress.content_types.add(content_type="faq", total=2, finished=1, succeeded=0)
    progress.stages.add(stage="generate", items=4).total_duration.FromMilliseconds(6000)
    drawn = _drawn(render(from_tracker(progress)))
    assert "faq" in drawn
    assert "1 without content" in drawn
    assert "generate 1.50 s" in drawn
    assert "tracker is away" in _drawn(render(JobSnapshot("j", "RUNNING", "processor")))


def test_without_a_terminal_progress_is_plain_lines() -> None:
    """Elsewhere than on a terminal no control characters are written, and the last state is always said."""
    out = StringIO()
    with ProgressView(Console(file=out, force_terminal=False)) as view:
        for done in range(5):
            view.show(JobSnapshot("j", "RUNNING", "tracker", total=5, succeeded=done))
        view.show(JobSnapshot("j", "SUCCEEDED", "tracker", total=5, succeeded=5))
    lines = out.getvalue().splitlines()
    assert "\x1b" not in out.getvalue()
    assert len(lines) == 2
    assert lines[-1].startswith("succeeded 5/5")


@pytest.mark.parametrize(
    ("micros", "text"), [(0, "$0"), (7, "$0.000007"), (12_345, "$0.01"), (1_234_567_890, "$1,234.57")]
)
def test_money(micros: int, text: str) -> None:
    """Small sums keep their digits, large ones are rounded to cents."""
    assert figures.money(micros) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.034, "0.03 s"), (12.34, "12.3 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")],
)
def test_durations(seconds: float | None, text: str) -> None:
    """Spans are written in the unit people would use."""
    assert figures.duration(seconds) == text


def _tally() -> Tally:
    tally = Tally()
    for cached, quality in ((False, 0.5), (True, 0.7), (False, None)):
        piece = pb.Piece(
            content_type="faq",
            cached=cached,
            prompt_tokens=10,
            output_tokens=5,
            cost_micros=0 if cached else 3,
        )
        if quality is not None:
            piece.quality = quality
        tally.add(pb.ItemResult(item_id="a/faq", state=pb.ITEM_STATE_SUCCEEDED, piece=piece))
    failed = pb.ItemResult(item_id="a/outline", state=pb.ITEM_STATE_SKIPPED)
    failed.error.reason, failed.error.message = "DEPENDENCY_FAILED", "the outline has no content"
    tally.add(failed)
    return tally


def test_a_tally_counts_only_what_was_paid_here() -> None:
    """Tokens of cached pieces are not this job's; scores average over what was scored."""
    faq = _tally().types["faq"]
    assert (faq.done, faq.cached, faq.prompt_tokens, faq.output_tokens, faq.cost_micros) == (3, 1, 20, 10, 6)
    assert faq.mean_quality == pytest.approx(0.6)


def test_the_summary_names_duration_totals_files_and_losses() -> None:
    """People read the job's own duration, token totals, where the files are and why items have no content."""
    job = JobSnapshot(
        "J", "PARTIALLY_SUCCEEDED", "processor", total=4, succeeded=3, skipped=1, model_calls=2,
        prompt_tokens=20, output_tokens=10, started_at=START, finished_at=START + timedelta(seconds=65),
    )  # fmt: skip
    drawn = _drawn(summary.render(job, _tally(), files=3, out=Path("out")))
    assert "job duration: 1 min 05 s" in drawn
    assert "2 model calls, 20 prompt + 10 output tokens" in drawn
    assert "files: 3 in out" in drawn
    assert "a/outline: skipped, the outline has no content [DEPENDENCY_FAILED]" in drawn
    assert summary.exit_code(job) == 2


def test_the_summary_for_scripts_is_json() -> None:
    """Every figure of the table is there under a name of its own."""
    job = JobSnapshot(
        "J", "SUCCEEDED", "processor", total=3, started_at=START, finished_at=START + timedelta(seconds=1)
    )
    facts = json.loads(json.dumps(summary.as_json(job, _tally(), files=3, out=Path("out"))))
    assert facts["job_duration_s"] == 1.0
    assert facts["content_types"]["faq"]["cached"] == 1
    assert facts["losses"][0]["reason"] == "DEPENDENCY_FAILED"
    assert summary.exit_code(job) == 0
    assert json.loads(json.dumps(as_json(job)))["duration_s"] == 1.0
