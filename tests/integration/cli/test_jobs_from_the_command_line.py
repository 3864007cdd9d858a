"""The commands against a server of fakes, over real gRPC, as real processes."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest
from contentfactory.processor.v1 import processor_pb2 as pb

from tests.integration.cli.conftest import Run, serving, spawn
from tests.integration.cli.factory_fakes import FakeProcessor, FakeTracker


@pytest.fixture
def topics(tmp_path: Path) -> str:
    """A file of two topics."""
    path = tmp_path / "topics.jsonl"
    path.write_text('{"topic": "Tides"}\n{"topic": "Volcanoes", "content_types": ["faq"]}\n')
    return str(path)


async def test_submit_watch_and_results(
    factory: Run, environ: dict[str, str], topics: str, tmp_path: Path
) -> None:
    """A job goes in as one call, is watched to its end, and comes out as files with front matter."""
    processor = FakeProcessor()
    async with serving(environ, processor, tracker=FakeTracker(processor)):
        submitted = await factory("submit", topics, "--json", "--label", "team=a", "--priority", "high")
        assert submitted.json == {"job_id": "job-1", "topics": 2, "items": 10}
        watched = await factory("watch", "job-1")
        written = await factory("results", "job-1", "--out", "o")
    assert dict(processor.jobs["job-1"].job.labels) == {"team": "a"}
    assert processor.batches == [10]
    assert (watched.code, written.code) == (0, 0)
    assert "succeeded 10/10" in watched.err
    files = sorted(str(path.relative_to(tmp_path / "o")) for path in (tmp_path / "o").rglob("*.md"))
    assert len(files) == 10
    assert files[-2:] == ["volcanoes/faq.md", "volcanoes/outline.md"]
    assert "# faq of Volcanoes" in (tmp_path / "o/volcanoes/faq.md").read_text()
    assert "job duration:" in written.out


async def test_watching_works_without_the_tracker(factory: Run, environ: dict[str, str], topics: str) -> None:
    """While the tracker is away, the processor is asked instead, and the end is seen."""
    processor = FakeProcessor(pace_s=0.2)
    async with serving(environ, processor):
        job_id = (await factory("submit", topics)).out.strip()
        watched = await factory("watch", job_id, "--json")
    snapshots = [json.loads(text) for text in watched.out.splitlines()]
    assert watched.code == 0
    assert {each["source"] for each in snapshots} == {"processor"}
    assert snapshots[-1]["state"] == "SUCCEEDED"
    assert snapshots[-1]["finished"] == 10


async def test_events_are_complete_across_lost_connections(
    factory: Run, environ: dict[str, str], topics: str
) -> None:
    """Cut off after every third frame, the log still holds each event once and in order."""
    processor = FakeProcessor()
    tracker = FakeTracker(processor, cut_events_after=3)
    async with serving(environ, processor, tracker=tracker):
        await factory("submit", topics)
        watched = await factory("watch", "job-1", "--events", "--json")
    assert [json.loads(text)["sequence"] for text in watched.out.splitlines()] == list(range(1, 12))
    assert tracker.tokens == ["", "3", "6", "9"]


async def test_the_events_of_no_job_are_not_waited_for(factory: Run, environ: dict[str, str]) -> None:
    """A job that does not exist is said so at once, though the tracker would wait for it."""
    processor = FakeProcessor()
    async with serving(environ, processor, tracker=FakeTracker(processor)):
        watched = await factory("watch", "no-such-job", "--events")
    assert watched.code != 0
    assert "no-such-job" in watched.err


async def test_results_are_complete_across_lost_connections(
    factory: Run, environ: dict[str, str], topics: str
) -> None:
    """Cut off after every second frame, each result still comes once."""
    processor = FakeProcessor(cut_stream_after=2)
    async with serving(environ, processor):
        await factory("submit", topics)
        listed = await factory("results", "job-1", "--wait", "--json")
    ids = [json.loads(text)["item_id"] for text in listed.out.splitlines()]
    assert ids == list(processor.jobs["job-1"].items)
    assert processor.stream_calls == 3


async def test_run_starts_nothing_that_was_named(factory: Run, environ: dict[str, str], topics: str) -> None:
    """An address that somebody named and that does not answer is said at once; nothing is submitted."""
    processor = FakeProcessor()
    async with serving(environ, processor, tracker=FakeTracker(processor)):
        ended = await factory("run", topics)
    assert ended.code == 3
    assert "cache at 127.0.0.1:1: not running; it was named, so it is not started here" in ended.err
    assert not processor.jobs


async def test_failed_items_have_an_exit_code(factory: Run, environ: dict[str, str], topics: str) -> None:
    """One failed item: exit code 2 and its reason in the summary; the other files are there."""
    processor = FakeProcessor(fail="tides/faq")
    async with serving(environ, processor, tracker=FakeTracker(processor)):
        await factory("submit", topics)
        ended = await factory("results", "job-1", "--wait")
    assert ended.code == 2
    assert "tides/faq: failed, the endpoint refused it [MODEL_REFUSED]" in ended.out
    assert "files: 9" in ended.out


async def test_bad_lines_submit_nothing(factory: Run, environ: dict[str, str], tmp_path: Path) -> None:
    """All bad lines are named at once and no job is made; on request they are left out."""
    path = tmp_path / "t.jsonl"
    path.write_text('{"topic": "Tides"}\noops\n{"subject": "x"}\n')
    processor = FakeProcessor()
    async with serving(environ, processor):
        refused = await factory("submit", str(path))
        assert not processor.jobs
        taken = await factory("submit", str(path), "--skip-bad-lines")
    assert refused.code == 1
    assert "line 2: not JSON" in refused.err
    assert "line 3: unknown field 'subject'" in refused.err
    assert taken.code == 0
    assert len(processor.jobs["job-1"].items) == 8


async def test_refused_items_are_named_and_the_job_is_cancelled(
    factory: Run, environ: dict[str, str]
) -> None:
    """When the processor refuses items, nothing runs half: the job is cancelled and the fields are named."""
    processor = FakeProcessor()
    async with serving(environ, processor):
        ended = await factory("submit", "-", stdin='{"topic": "Tides", "id": "refuse"}\n')
    assert ended.code == 1
    assert "refuse/outline: refused: items[0].spec" in ended.err
    assert processor.jobs["job-1"].work is None
    assert "Traceback" not in ended.err


async def test_templates_of_ones_own(factory: Run, environ: dict[str, str]) -> None:
    """A template is looked up: unknown ones and missing variables are said before anything is submitted."""
    processor = FakeProcessor()
    async with serving(environ, processor):
        unknown = await factory("submit", "-", stdin='{"topic": "Tides", "content_types": ["no_such"]}')
        missing = await factory("submit", "-", stdin='{"topic": "Tides", "content_types": ["quiz"]}')
        assert not processor.jobs
        good = '{"topic": "Tides", "content_types": ["quiz"], "variables": {"level": "1"}}'
        taken = await factory("submit", "-", stdin=good)
    assert "no template 'no_such'" in unknown.err
    assert "quiz needs the variable level" in missing.err
    assert (unknown.code, missing.code, taken.code) == (1, 1, 0)
    assert list(processor.jobs["job-1"].items) == ["tides/quiz"]


async def test_submitting_works_without_the_optimizer(
    factory: Run, environ: dict[str, str], topics: str
) -> None:
    """Standard content types need no word of the optimizer."""
    processor = FakeProcessor()
    async with serving(environ, processor, optimizer=False):
        assert (await factory("submit", topics)).code == 0
    assert len(processor.jobs["job-1"].items) == 10


async def test_generate_separates_content_and_facts(factory: Run, environ: dict[str, str]) -> None:
    """Content goes to stdout alone, so that it can be piped; facts go to stderr."""
    async with serving(environ, FakeProcessor()):
        ended = await factory("generate", "faq", "--var", "topic=Tides")
        raw = await factory("generate", "--prompt", "Say hi", "--json")
        unknown = await factory("generate", "nothing")
        neither = await factory("generate")
    assert ended.out == "# faq of Tides\n\nText.\n"
    assert "fake-model" in ended.err
    assert raw.json["content"].endswith("of Say hi\n\nText.")
    assert unknown.err == "factory: processor: there is no template nothing [NOT_FOUND, TEMPLATE_NOT_FOUND]\n"
    assert (ended.code, raw.code, unknown.code, neither.code) == (0, 0, 1, 1)


async def test_generate_says_whose_answer_it_is(factory: Run, environ: dict[str, str]) -> None:
    """An answer to another prompt is asked for by policy, and called what it is."""
    async with serving(environ, FakeProcessor()):
        topic = ("generate", "faq", "--var", "topic=Tides", "--cache-policy")
        similar = await factory(*topic, "use-similar")
        unknown = await factory(*topic, "similar")
    assert "the answer to a prompt that says the same, similarity 0.93" in similar.err
    assert "use-similar" in unknown.err
    assert (similar.code, unknown.code) == (0, 1)


async def test_generate_prints_as_it_is_written(factory: Run, environ: dict[str, str]) -> None:
    """Text is printed as it comes; where it begins anew is said; one that breaks off is an error."""
    async with serving(environ, FakeProcessor()):
        topic = ("generate", "faq", "--stream", "--fallback", "b", "--fallback", "c", "--var")
        plain = await factory(*topic, "topic=Tides")
        anew = await factory(*topic, "topic=stumble")
        broken = await factory(*topic, "topic=fall")
        both = await factory("generate", "faq", "--stream", "--json")
    assert (plain.code, plain.out) == (0, "void \n")
    assert "fake-model,b,c" in plain.err
    assert (anew.code, anew.out) == (0, "void \n# faq of stumble\n\nText.\n")
    assert "begins anew" in anew.err
    assert (broken.code, broken.out) == (3, "void ")
    assert "the model is away" in broken.err
    assert (both.code, both.out) == (1, "")


async def test_jobs_and_cancel(factory: Run, environ: dict[str, str], topics: str) -> None:
    """Jobs are listed over all pages; a cancelled job keeps what is finished."""
    processor = FakeProcessor(pace_s=60)
    async with serving(environ, processor):
        for _ in range(3):
            await factory("submit", topics)
        listed = await factory("jobs", "--json")
        cancelled = await factory("cancel", "job-2", "--json")
        filtered = await factory("jobs", "--state", "cancelled")
    assert [json.loads(text)["job_id"] for text in listed.out.splitlines()] == ["job-3", "job-2", "job-1"]
    assert cancelled.json["state"] == "CANCELLED"
    assert "job-2" in filtered.out
    assert "job-1" not in filtered.out


async def test_a_job_is_paused_resumed_retried_and_deleted(
    factory: Run, environ: dict[str, str], topics: str
) -> None:
    """Each command says what the job is then; a paused one says why, and goes on to its end."""
    processor = FakeProcessor(pace_s=0.3, fail="volcanoes/faq")
    async with serving(environ, processor):
        await factory("submit", topics)
        paused = await factory("pause", "job-1")
        listed = await factory("jobs")
        resumed = await factory("resume", "job-1", "--json")
        watched = await factory("watch", "job-1")
        retried = await factory("retry", "job-1")
        unsure = await factory("delete", "job-1")
        deleted = await factory("delete", "job-1", "--yes")
        gone = await factory("pause", "job-1")
    assert "job-1: paused" in paused.err
    assert "on request" in paused.err
    assert "paused" in listed.out
    assert resumed.json["state"] == "RUNNING"
    assert watched.code != 0, "an item has no content"
    assert "1 items run again" in retried.err
    assert (unsure.code == 0, deleted.code) == (False, 0)
    assert gone.code != 0


async def test_terms_reach_the_service(factory: Run, environ: dict[str, str], topics: str) -> None:
    """With a new job, and with one under way, where only what was given is named."""
    processor = FakeProcessor()
    given = ("--weight", "7", "--max-cost", "2.50", "--max-failed", "5%", "--fallback", "b")
    async with serving(environ, processor):
        await factory("submit", topics, *given, "--deadline", "2030-01-01T00:00:00+00:00")
        updated = await factory("update", "job-1", "--max-cost", "none", "--priority", "urgent")
        nothing = await factory("update", "job-1")
        bad = await factory("update", "job-1", "--deadline", "soon")
    terms = processor.created[0].terms
    assert (terms.weight, terms.max_cost_micros, [*terms.fallback_models]) == (7, 2_500_000, ["b"])
    assert (terms.max_failed_ratio, terms.deadline.seconds) == (0.05, 1_893_456_000)
    (request,) = processor.updates
    assert updated.code == 0
    assert [*request.update_mask.paths] == ["terms.max_cost_micros", "priority"]
    assert not request.job.terms.HasField("max_cost_micros")
    assert request.job.priority == pb.JOB_PRIORITY_URGENT
    assert (nothing.code, bad.code) != (0, 0)
    assert "--deadline" in bad.err


async def test_versions_are_listed_over_all_pages(factory: Run, environ: dict[str, str], topics: str) -> None:
    """Of an item or of a content type by quality, as a table or as JSON; the options reach the service."""
    processor = FakeProcessor()
    async with serving(environ, processor):
        for _ in range(3):
            await factory("submit", topics)
        await factory("results", "job-3", "--wait")
        listed = await factory("versions", "tides/faq", "--json", "--content")
        few = await factory("versions", "--limit", "3")
        bounds = ("--min-quality", "0.2", "--max-quality", "0.4")
        worst = await factory("versions", "--content-type", "faq", "--worst", *bounds)
        neither = await factory("versions", "tides/faq", "--content-type", "faq")
        nothing = await factory("versions", "no-such-item")
    assert [json.loads(text)["job_id"] for text in listed.out.splitlines()] == ["job-1", "job-2", "job-3"]
    assert (worst.code, neither.code, nothing.code, nothing.out) == (0, 1, 0, "")
    assert [line.split()[0] for line in few.out.splitlines()[1:]] == list(processor.jobs["job-1"].items)[:3]
    first, asked = processor.asked_versions[0], processor.asked_versions[-2]
    assert (first.item_id, first.with_content) == ("tides/faq", True)
    assert (asked.content_type, asked.order) == ("faq", pb.CONTENT_VERSION_ORDER_LOWEST_QUALITY_FIRST)
    assert (asked.min_quality, asked.max_quality, asked.with_content) == (0.2, 0.4, False)


async def test_an_interrupted_watch_leaves_the_job(
    environ: dict[str, str], factory: Run, topics: str, tmp_path: Path
) -> None:
    """Ctrl-C ends the watching, not the job, and says how to go on; the exit code is 130."""
    processor = FakeProcessor(pace_s=60)
    async with serving(environ, processor, tracker=FakeTracker(processor)):
        await factory("submit", topics)
        process = await spawn(("watch", "job-1"), tmp_path, environ)
        assert process.stderr is not None
        assert b"running 0/10" in await process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, err = await asyncio.wait_for(process.communicate(), 20)
        assert process.returncode == 130
        assert b"factory watch job-1" in err
        await factory("cancel", "job-1")


async def test_a_service_that_is_away_is_one_line(factory: Run, environ: dict[str, str]) -> None:
    """Nothing listens: one line, exit code 3, no traceback. Wrong usage: exit code 1."""
    environ["FACTORY_PROCESSOR"] = "127.0.0.1:1"
    ended = await factory("jobs")
    assert ended.code == 3
    assert ended.err.count("\n") == 1
    assert "cannot be reached" in ended.err
    assert (await factory("jobs", "--bogus")).code == 1
    assert (await factory("--help")).code == 0
