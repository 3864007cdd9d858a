"""Failed items run again, and jobs deleted, over gRPC."""

from __future__ import annotations

import time
from collections.abc import Callable
from uuid import uuid4

import pytest
from contentfactory.processor.v1 import processor_pb2 as pb
from google.protobuf.message import Message

from tests.integration.processor.conftest import (
    Client,
    Factory,
    a_factory,
    error_of,
    kind_and_reason,
    piece_of,
    raw_item,
)
from tests.integration.processor.test_job_life import slow_items, until, update
from tests.support.backends import Database

BY_JOB: list[tuple[str, Callable[[str], Message]]] = [
    ("RetryFailedItems", lambda job_id: pb.RetryFailedItemsRequest(job_id=job_id)),
    ("DeleteJob", lambda job_id: pb.DeleteJobRequest(job_id=job_id)),
]


def retry(client: Client, job_id: str) -> pb.RetryFailedItemsResponse:
    """Retry a job's failed items."""
    answer: pb.RetryFailedItemsResponse = client.RetryFailedItems(pb.RetryFailedItemsRequest(job_id=job_id))
    return answer


def listed(client: Client, job_id: str) -> dict[str, pb.ItemResult]:
    """Return a job's results by item, each of which is listed once."""
    results: dict[str, pb.ItemResult] = {}
    token = ""
    while True:
        page = client.ListResults(pb.ListResultsRequest(job_id=job_id, page_token=token, page_size=40))
        for each in page.results:
            assert each.item_id not in results
            results[each.item_id] = each
        token = page.next_page_token
        if not token:
            return results


def last_token(client: Client, job_id: str) -> str:
    """Read a finished job's stream to its end and return its last token."""
    frames = list(client.StreamResults(pb.StreamResultsRequest(job_id=job_id)))
    token: str = frames[-1].resume_token
    return token


@pytest.mark.parametrize(("rpc", "request_of"), BY_JOB, ids=[name for name, _ in BY_JOB])
def test_unknown_jobs_and_those_of_others_do_not_exist(
    client: Client, factory: Factory, rpc: str, request_of: Callable[[str], Message]
) -> None:
    """An id that nobody gave out and another tenant's job are NOT_FOUND; an empty id is a bad field."""
    mine = client.new_job([raw_item("a")])
    for caller, job_id in ((client, "0" * 32), (factory.client("umbrella"), mine)):
        error = error_of(getattr(caller, rpc), request_of(job_id))
        assert kind_and_reason(error) == ("NOT_FOUND", "JOB_NOT_FOUND")
    assert error_of(getattr(client, rpc), request_of("")).kind.value == "INVALID_ARGUMENT"


def test_failed_items_of_a_finished_job_run_again(client: Client, factory: Factory) -> None:
    """They and what depends on them succeed; what had content keeps it, and readers see each end once."""
    run = uuid4().hex
    factory.mock.script({"fault": "invalid", "contains": f"{run}-bad"})
    items = [raw_item(f"i{each}", f"{run}{'-bad' if each % 3 == 0 else ''} {each}") for each in range(300)]
    bad, good = piece_of("outline", f"{run}-bad"), piece_of("outline", f"{run}-good")
    items += [
        bad,
        piece_of("faq", f"{run}-bad", bad.item_id),
        good,
        piece_of("faq", f"{run}-good", good.item_id),
    ]
    before, first = client.run(items)
    assert (before.counts.succeeded, before.counts.failed, before.counts.skipped) == (202, 101, 1)
    token = last_token(client, before.job_id)
    factory.mock.script()
    answer = retry(client, before.job_id)
    assert (answer.items, answer.job.state) == (102, pb.JOB_STATE_RUNNING)
    assert not answer.job.HasField("finish_time")
    news = client.finish_from(before.job_id, token)
    job = client.job(before.job_id)
    assert (job.state, job.counts.succeeded, job.counts.total) == (pb.JOB_STATE_SUCCEEDED, 304, 304)
    assert job.usage.model_calls == 304
    lost = {name for name, each in first.items() if not each.piece.content}
    assert news.keys() == lost
    assert all(each.piece.content for each in news.values())
    now = listed(client, before.job_id)
    assert now == client.finish(before.job_id)
    assert {name: each for name, each in now.items() if name not in lost} == {
        name: each for name, each in first.items() if name not in lost
    }
    states = {
        each.state for each in client.ListItems(pb.ListItemsRequest(job_id=job.job_id, page_size=1000)).items
    }
    assert states == {pb.ITEM_STATE_SUCCEEDED}
    assert retry(client, before.job_id).items == 0
    assert client.job(before.job_id) == job


def test_what_fails_again_fails_again(client: Client, factory: Factory) -> None:
    """The item has one result, of its last end; the job is over as before, and can be retried once more."""
    run = uuid4().hex
    factory.mock.script({"fault": "invalid", "contains": f"{run}-bad"})
    job, _ = client.run([raw_item("bad", f"{run}-bad"), raw_item("good", f"{run}-good")])
    for _ in range(2):
        assert retry(client, job.job_id).items == 1
        results = client.finish(job.job_id)
        again = client.job(job.job_id)
        assert (again.state, again.counts) == (pb.JOB_STATE_PARTIALLY_SUCCEEDED, job.counts)
        assert (results["bad"].error.reason, results["bad"].attempts) == ("MODEL_REFUSED", 1)
        assert results["bad"].finish_time.ToNanoseconds() > job.finish_time.ToNanoseconds()


def test_failed_items_of_a_running_job_run_again(client: Client, factory: Factory) -> None:
    """What failed before the call is tried again when its shard is over; the job goes on meanwhile."""
    run = uuid4().hex
    factory.mock.script(
        {"fault": "invalid", "contains": f"{run}-bad"},
        {"fault": "slow", "contains": run, "latency_ms": 300},
    )
    items = [raw_item(f"i{each}", f"{run}{'-bad' if each < 5 else ''} {each}") for each in range(150)]
    job_id = client.new_job(items)
    client.start(job_id)
    until(client, job_id, lambda job: job.counts.failed == 5)
    factory.mock.script({"fault": "slow", "contains": run, "latency_ms": 50})
    answer = retry(client, job_id)
    assert (answer.items, answer.job.state) == (5, pb.JOB_STATE_RUNNING)
    until(client, job_id, lambda job: job.HasField("finish_time"))
    job = client.job(job_id)
    assert (job.state, job.counts.succeeded) == (pb.JOB_STATE_SUCCEEDED, 150)
    assert {each.state for each in listed(client, job_id).values()} == {pb.ITEM_STATE_SUCCEEDED}


def test_a_job_that_was_given_up_can_be_tried_again(client: Client, factory: Factory) -> None:
    """With other terms it goes on where it stopped: what failed, and what was cancelled for it."""
    run = uuid4().hex
    factory.mock.script(
        {"fault": "invalid", "contains": f"{run}-bad"}, {"fault": "slow", "contains": run, "latency_ms": 200}
    )
    items = [raw_item(f"i{each}", f"{run}{'-bad' if each < 9 else ''} {each}") for each in range(200)]
    job_id = client.new_job(items, terms=pb.JobTerms(max_failed_ratio=0.0))
    client.start(job_id)
    client.finish(job_id)
    assert client.job(job_id).state_reason.reason == "TOO_MANY_FAILURES"
    factory.mock.script()
    retry(client, job_id)
    client.finish(job_id)
    job = client.job(job_id)
    assert (job.state, job.counts.succeeded) == (pb.JOB_STATE_SUCCEEDED, 200)
    assert not job.HasField("state_reason")


def test_a_late_job_needs_more_time_first(client: Client, factory: Factory) -> None:
    """Its deadline is moved, then its items are tried again."""
    job_id = client.new_job(slow_items(factory, uuid4().hex, 20, latency_ms=400))
    client.start(job_id)
    past = pb.JobTerms()
    past.deadline.FromSeconds(1_000)
    client.UpdateJob(update(job_id, "terms.deadline", terms=past))
    client.finish(job_id)
    error = error_of(client.RetryFailedItems, pb.RetryFailedItemsRequest(job_id=job_id))
    assert kind_and_reason(error) == ("FAILED_PRECONDITION", "DEADLINE_EXCEEDED")
    client.UpdateJob(update(job_id, "terms.deadline"))
    assert retry(client, job_id).items == 20
    client.finish(job_id)
    assert client.job(job_id).counts.succeeded == 20


def test_jobs_under_way_are_not_deleted(client: Client, factory: Factory) -> None:
    """They are refused; a draft goes, and so does the job once it is cancelled and over."""
    draft = client.new_job([raw_item("a")])
    client.DeleteJob(pb.DeleteJobRequest(job_id=draft))
    assert kind_and_reason(error_of(client.GetJob, pb.GetJobRequest(job_id=draft))) == (
        "NOT_FOUND",
        "JOB_NOT_FOUND",
    )
    job_id = client.new_job(slow_items(factory, uuid4().hex, 100, latency_ms=300))
    client.start(job_id)
    error = error_of(client.DeleteJob, pb.DeleteJobRequest(job_id=job_id))
    assert kind_and_reason(error) == ("FAILED_PRECONDITION", "JOB_NOT_FINISHED")
    client.CancelJob(pb.CancelJobRequest(job_id=job_id))
    client.finish(job_id)
    client.DeleteJob(pb.DeleteJobRequest(job_id=job_id))
    assert job_id not in [each.job_id for each in client.ListJobs(pb.ListJobsRequest()).jobs]


def versions(client: Client, item_id: str) -> list[str]:
    """Return the ids of an item's content versions."""
    request = pb.ListContentVersionsRequest(item_id=item_id)
    return [each.version_id for each in client.ListContentVersions(request).versions]


def test_a_deleted_job_takes_its_results_with_it(client: Client) -> None:
    """Its content versions are gone, those of another job are not."""
    item = f"item-{uuid4().hex}"
    first, _ = client.run([raw_item(item, uuid4().hex)])
    second, _ = client.run([raw_item(item, uuid4().hex)])
    newer, older = versions(client, item)
    client.DeleteJob(pb.DeleteJobRequest(job_id=first.job_id))
    ends_at = time.monotonic() + 20
    while versions(client, item) != [newer]:
        assert time.monotonic() < ends_at
    error = error_of(client.GetContentVersion, pb.GetContentVersionRequest(version_id=older))
    assert error.reason == "CONTENT_VERSION_NOT_FOUND"
    assert client.job(second.job_id).counts.succeeded == 1
    error = error_of(client.DeleteJob, pb.DeleteJobRequest(job_id=first.job_id))
    assert error.reason == "JOB_NOT_FOUND"


def test_finished_jobs_are_forgotten_after_their_time(database: Database) -> None:
    """A job that finished longer ago than jobs are kept is deleted; a draft is not."""
    seconds = 2.0
    with a_factory(database, PROCESSOR_RETENTION_D=str(seconds / 86_400)) as factory:
        client = factory.client()
        draft = client.new_job([raw_item("a")])
        job, _ = client.run([raw_item("a", uuid4().hex)])
        ends_at = time.monotonic() + 30
        while [each.job_id for each in client.ListJobs(pb.ListJobsRequest()).jobs] != [draft]:
            assert time.monotonic() < ends_at
            time.sleep(0.1)
        assert error_of(client.GetJob, pb.GetJobRequest(job_id=job.job_id)).reason == "JOB_NOT_FOUND"
