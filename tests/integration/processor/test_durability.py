"""What survives: a restart, a kill in the middle, and a job of thousands added in repeated batches."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest
from contentfactory.processor.v1 import processor_pb2 as pb

from tests.integration.processor.conftest import Client, Factory, a_factory, configured, raw_item
from tests.support.backends import Database, on_durable_stores
from tests.support.mock_process import mock_endpoint
from tests.support.processes import ServiceProcess, running_service

LONG = 140_000
FEW_SLOTS = {"PROCESSOR_MAX_CONCURRENCY": "4"}


@on_durable_stores
@pytest.mark.parametrize("crash", [False, True], ids=["stopped", "killed"])
def test_everything_is_there_after_a_restart(tmp_path: Path, database: Database, crash: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Jobs, items, results, answers to request ids and templates known: all is as before."""
    with ExitStack() as stack:
        mock = stack.enter_context(mock_endpoint())
        environment = configured(tmp_path, mock) | database.env("processor")
        first = stack.enter_context(running_service("processor", environment, directory=tmp_path))
        client = _client(stack, first)
        draft = client.new_job([raw_item("a")], display_name="draft")
        done, results = client.run([raw_item("a", uuid4().hex)])
        request = pb.CreateJobRequest(display_name="once", request_id="r1")
        created = client.CreateJob(request).job
        first.kill() if crash else first.stop()
        again = stack.enter_context(running_service("processor", environment, directory=tmp_path))
        client = _client(stack, again)
        assert client.job(done.job_id) == done
        assert client.finish(done.job_id) == results
        assert client.CreateJob(request).job == created
        assert client.job(draft).counts.total == 1
        client.start(draft)
        assert len(client.finish(draft)) == 1


@on_durable_stores
def test_a_killed_processor_resumes_its_job(tmp_path: Path, database: Database) -> None:
    """No item is lost, no result doubled, and only calls that had begun or were announced are uncertain."""
    with ExitStack() as stack:
        mock = stack.enter_context(mock_endpoint(latency_ms=30))
        environment = (
            configured(tmp_path, mock) | database.env("processor") | {"PROCESSOR_MAX_CONCURRENCY": "4"}
        )
        first = stack.enter_context(running_service("processor", environment, directory=tmp_path))
        client = _client(stack, first)
        job_id = client.new_job([raw_item(f"i{n}") for n in range(80)])
        client.start(job_id)
        while client.job(job_id).counts.succeeded < 10:
            pass
        first.kill()
        again = stack.enter_context(running_service("processor", environment, directory=tmp_path))
        client = _client(stack, again)
        results = client.finish(job_id)
        job, counts = client.job(job_id), mock.counts()
    assert len(results) == job.counts.succeeded == 80
    # Four with the model, four announced next to them, and as many answers again on their way to the store.
    assert 1 <= job.usage.uncertain_calls <= 12
    assert 80 <= counts["requests"] <= 80 + job.usage.uncertain_calls
    per_call = job.usage.uncertain_spend_micros / job.usage.uncertain_calls
    assert per_call >= max(each.piece.cost_micros for each in results.values())


@on_durable_stores
def test_a_stopped_processor_hands_its_job_over_without_losing_money(
    tmp_path: Path, database: Database
) -> None:
    """SIGTERM lets calls in flight come back: the next processor goes on, and nothing is uncertain."""
    with ExitStack() as stack:
        mock = stack.enter_context(mock_endpoint(latency_ms=30))
        environment = (
            configured(tmp_path, mock) | database.env("processor") | {"PROCESSOR_MAX_CONCURRENCY": "4"}
        )
        first = stack.enter_context(running_service("processor", environment, directory=tmp_path))
        client = _client(stack, first)
        job_id = client.new_job([raw_item(f"i{n}") for n in range(80)])
        client.start(job_id)
        while client.job(job_id).counts.succeeded < 10:
            pass
        assert first.stop() == 0
        again = stack.enter_context(running_service("processor", environment, directory=tmp_path))
        client = _client(stack, again)
        results = client.finish(job_id)
        job, counts = client.job(job_id), mock.counts()
    assert len(results) == 80
    assert (job.usage.uncertain_calls, job.usage.uncertain_spend_micros) == (0, 0)
    assert counts["requests"] == counts["completions"] == job.usage.model_calls == 80


def test_a_batch_as_large_as_a_message(client: Client) -> None:
    """What one request may hold is taken, whatever the store takes at once."""
    items = [raw_item(f"i{n}", f"{n:03}" + "x" * 259_000) for n in range(16)]
    job_id = client.new_job(items)
    assert client.job(job_id).counts.total == len(items)
    repeated = client.BatchAddItems(pb.BatchAddItemsRequest(job_id=job_id, items=items)).results
    assert all(each.value.already_added for each in repeated)


def test_five_thousand_items_in_repeated_batches(factory: Factory) -> None:
    """A client that repeats half of every batch adds each item once, and gets each result once."""
    client, run = factory.client(), uuid4().hex
    items = [raw_item(f"i{n:04}", f"{run} {n}", max_tokens=2) for n in range(5000)]
    job_id = client.new_job()
    added = 0
    for start in range(0, 5000, 500):
        batch = items[max(0, start - 500) : start + 500]
        answers = client.BatchAddItems(pb.BatchAddItemsRequest(job_id=job_id, items=batch)).results
        assert all(each.HasField("value") for each in answers)
        added += sum(not each.value.already_added for each in answers)
    assert added == client.job(job_id).counts.total == 5000
    client.start(job_id)
    results = client.finish(job_id)
    job = client.job(job_id)
    assert len(results) == job.counts.succeeded == job.usage.model_calls == 5000
    assert len({each.piece.cache_key for each in results.values()}) == 5000


@on_durable_stores
def test_templates_are_rendered_while_the_optimizer_is_away(database: Database) -> None:
    """A processor that has seen the templates once, restarted without an optimizer, makes the same keys."""
    spec = pb.PieceSpec(template_id="faq", variables={"topic": "tides"})
    item = pb.JobItem(item_id="a", spec=spec)
    with a_factory(database, "optimizer") as running:
        _, with_optimizer = running.client().run([item])
    with a_factory(database) as alone:
        _, without = alone.client().run([item])
    assert with_optimizer["a"].piece.cache_key == without["a"].piece.cache_key
    assert without["a"].piece.template_version == with_optimizer["a"].piece.template_version


def test_results_larger_than_a_commit_together(tmp_path: Path, database: Database) -> None:
    """A shard's results are committed in parts that the store takes, however many come at once."""
    with ExitStack() as stack:
        mock = stack.enter_context(mock_endpoint(text_characters=LONG))
        environment = configured(tmp_path, mock) | database.env("processor")
        environment["PROCESSOR_COMMIT_INTERVAL_S"] = "1"
        processor = stack.enter_context(running_service("processor", environment, directory=tmp_path))
        client = _client(stack, processor)
        job, results = client.run([raw_item(f"i{n}", max_tokens=LONG // 2) for n in range(96)])
        assert job.counts.succeeded == len(results) == 96
        assert sum(len(each.piece.content) for each in results.values()) > 9 * 1024 * 1024, "it fits anyway"
        assert not processor.events("shard_run_ended")


def _client(stack: ExitStack, process: ServiceProcess) -> Client:
    client = Client(process.address, tenant="acme")
    stack.enter_context(client.channel)
    return client
