"""What is paid once: cache policies, variations, equal items, and work without the neighbours."""

from __future__ import annotations

from typing import TypeAlias
from uuid import uuid4

import pytest
from contentfactory.processor.v1 import processor_pb2 as pb

from tests.integration.processor.conftest import Client, Factory, piece_of, raw_item

Policy: TypeAlias = "pb.CachePolicy.ValueType"
USE, REFRESH, BYPASS = pb.CACHE_POLICY_USE, pb.CACHE_POLICY_REFRESH, pb.CACHE_POLICY_BYPASS


def calls_for(
    factory: Factory, client: Client, *items: pb.JobItem, policy: Policy = USE
) -> tuple[int, pb.Job]:
    """Run a job; returns how often the endpoint was called, and the job."""
    before = factory.mock.counts()["requests"]
    job, _ = client.run(items, cache_policy=policy)
    assert job.state == pb.JOB_STATE_SUCCEEDED
    return factory.mock.counts()["requests"] - before, job


def test_a_job_run_again_costs_nothing(factory: Factory, client: Client) -> None:
    """The second run is served from the cache alone, and says what it saved."""
    items = [raw_item(f"i{n}", f"{uuid4()}") for n in range(20)]
    first_calls, first = calls_for(factory, client, *items)
    second_calls, second = calls_for(factory, client, *items)
    assert (first_calls, second_calls) == (20, 0)
    assert (second.counts.cached, second.usage.cost_micros, second.usage.model_calls) == (20, 0, 0)
    assert second.usage.saved_micros == first.usage.cost_micros > 0


def test_two_hundred_equal_items_make_one_call(factory: Factory, client: Client) -> None:
    """Equal items of one job, over several shards, are generated once; all others count as cached."""
    text = uuid4().hex
    calls, job = calls_for(factory, client, *(raw_item(f"i{n}", text) for n in range(200)))
    assert calls == 1
    assert (job.counts.succeeded, job.counts.cached, job.usage.model_calls) == (200, 199, 1)


def test_variations_are_pieces_of_their_own(factory: Factory, client: Client) -> None:
    """Each variation is generated once, and cached as itself."""
    text = uuid4().hex
    items = [raw_item(f"i{n}", text, variation=n) for n in range(3)]
    assert calls_for(factory, client, *items)[0] == 3
    assert calls_for(factory, client, *items, raw_item("again", text))[0] == 0


def test_refresh_generates_anew_and_replaces(factory: Factory, client: Client) -> None:
    """A REFRESH calls the model though the entry is there, and what it made is there afterwards."""
    item = raw_item("a", uuid4().hex)
    assert calls_for(factory, client, item)[0] == 1
    assert calls_for(factory, client, item, policy=REFRESH)[0] == 1
    assert calls_for(factory, client, item)[0] == 0
    fresh = raw_item("a", uuid4().hex)
    assert calls_for(factory, client, fresh, policy=REFRESH)[0] == 1
    assert calls_for(factory, client, fresh)[0] == 0


def test_bypass_neither_reads_nor_stores(factory: Factory, client: Client) -> None:
    """A BYPASS calls the model every time, also for equal items of one job, and leaves nothing behind."""
    text = uuid4().hex
    twins = raw_item("a", text), raw_item("b", text)
    assert calls_for(factory, client, *twins, policy=BYPASS)[0] == 2
    assert calls_for(factory, client, *twins)[0] == 1


def test_an_items_own_policy_goes_before_its_jobs(factory: Factory, client: Client) -> None:
    """In a job that bypasses the cache, an item that says USE uses it."""
    text = uuid4().hex
    calls_for(factory, client, raw_item("a", text))
    assert calls_for(factory, client, raw_item("a", text, cache_policy=USE), policy=BYPASS)[0] == 0


def test_without_any_neighbour_a_job_is_done(lone: Factory) -> None:
    """Cache, optimizer and tracker away: raw items are generated, equal ones of a shard once."""
    client = lone.client()
    text = uuid4().hex
    calls, job = calls_for(lone, client, *(raw_item(f"i{n}", text) for n in range(10)))
    assert (calls, job.counts.succeeded, job.counts.cached) == (1, 10, 9)


@pytest.mark.parametrize("times", [1, 2])
def test_a_job_cannot_be_cancelled_too_often(client: Client, factory: Factory, times: int) -> None:
    """Cancelling stops what has not finished, keeps what has, and counts the call cut off as uncertain."""
    run = uuid4().hex
    factory.mock.script({"fault": "hang", "contains": f"hang {run}"})
    items = [raw_item("done", f"write {run}"), raw_item("stuck", f"hang {run}")]
    items.append(piece_of("faq", run, "stuck"))
    job_id = client.new_job(items)
    client.start(job_id)
    while client.job(job_id).counts.succeeded < 1:
        pass
    for _ in range(times):
        client.CancelJob(pb.CancelJobRequest(job_id=job_id))
    results = client.finish(job_id)
    job = client.job(job_id)
    assert (job.state, job.counts.succeeded, job.counts.cancelled) == (pb.JOB_STATE_CANCELLED, 1, 2)
    assert results["stuck"].error.reason == "JOB_CANCELLED"
    assert results["done"].piece.content
    assert job.usage.uncertain_calls == 1
    assert job.usage.uncertain_spend_micros > 0


def test_cancelling_a_finished_job_changes_nothing(client: Client) -> None:
    """It succeeds and the job stays what it was."""
    job, _ = client.run([raw_item("a", uuid4().hex)])
    assert client.CancelJob(pb.CancelJobRequest(job_id=job.job_id)).job == job


def test_a_cancelled_draft_has_cancelled_items(client: Client) -> None:
    """A job that never started is over with all its items cancelled, and its stream ends."""
    job_id = client.new_job([raw_item("a"), raw_item("b")])
    job = client.CancelJob(pb.CancelJobRequest(job_id=job_id)).job
    assert (job.counts.total, job.counts.cancelled, job.counts.pending) == (2, 2, 0)
    items = client.ListItems(pb.ListItemsRequest(job_id=job_id)).items
    assert {each.state for each in items} == {pb.ITEM_STATE_CANCELLED}
    assert client.finish(job_id) == {}


def test_urgent_items_pass_others(factory: Factory, client: Client) -> None:
    """An urgent job with the keys of a job that hangs is not held up by it for long."""
    run = uuid4().hex
    factory.mock.script({"fault": "hang", "contains": run, "times": 1})
    slow = client.new_job([raw_item("a", run)], priority=pb.JOB_PRIORITY_LOW)
    client.start(slow)
    while not client.job(slow).counts.running:
        pass
    job, results = client.run([raw_item("a", run)], priority=pb.JOB_PRIORITY_URGENT)
    assert results["a"].piece.content
    assert job.state == pb.JOB_STATE_SUCCEEDED
    client.CancelJob(pb.CancelJobRequest(job_id=slow))
