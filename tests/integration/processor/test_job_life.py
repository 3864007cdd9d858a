"""Jobs under way over gRPC: paused, resumed, updated, with every documented error."""

from __future__ import annotations

import time
from collections.abc import Callable
from uuid import uuid4

import pytest
from contentfactory.processor.v1 import processor_pb2 as pb
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from tests.integration.processor.conftest import (
    RESTING,
    Client,
    Factory,
    error_of,
    kind_and_reason,
    raw_item,
)

_PATIENCE_S = 20.0
BY_JOB: list[tuple[str, Callable[[str], Message]]] = [
    ("PauseJob", lambda job_id: pb.PauseJobRequest(job_id=job_id)),
    ("ResumeJob", lambda job_id: pb.ResumeJobRequest(job_id=job_id)),
    ("UpdateJob", lambda job_id: update(job_id, "display_name")),
]


def update(job_id: str, *paths: str, **fields: object) -> pb.UpdateJobRequest:
    """Return a request that changes these fields."""
    job = pb.Job(job_id=job_id, **fields)  # type: ignore[arg-type]  # a job's fields, by name
    return pb.UpdateJobRequest(job=job, update_mask=FieldMask(paths=paths))


def until(client: Client, job_id: str, holds: Callable[[pb.Job], bool]) -> pb.Job:
    """Wait until something holds of a job."""
    ends_at = time.monotonic() + _PATIENCE_S
    while not holds(job := client.job(job_id)):
        assert time.monotonic() < ends_at, f"the job is {job}"
    return job


def pause(client: Client, job_id: str) -> pb.Job:
    """Pause a job."""
    job: pb.Job = client.PauseJob(pb.PauseJobRequest(job_id=job_id)).job
    return job


def resume(client: Client, job_id: str) -> pb.Job:
    """Resume a job."""
    job: pb.Job = client.ResumeJob(pb.ResumeJobRequest(job_id=job_id)).job
    return job


def slow_items(factory: Factory, run: str, number: int, *, latency_ms: int) -> list[pb.JobItem]:
    """Return items whose calls take this long."""
    factory.mock.script({"fault": "slow", "contains": run, "latency_ms": latency_ms})
    return [raw_item(f"i{each}", f"{run} {each}") for each in range(number)]


@pytest.mark.parametrize(("rpc", "request_of"), BY_JOB, ids=[name for name, _ in BY_JOB])
def test_unknown_jobs_and_those_of_others_do_not_exist(
    client: Client, factory: Factory, rpc: str, request_of: Callable[[str], Message]
) -> None:
    """An id that nobody gave out and another tenant's job are NOT_FOUND; an empty id is a bad field."""
    mine = client.new_job([raw_item("a")])
    for caller, job_id in ((client, "0" * 32), (factory.client("umbrella"), mine)):
        error = error_of(getattr(caller, rpc), request_of(job_id))
        assert kind_and_reason(error) == ("NOT_FOUND", "JOB_NOT_FOUND")
    for bad in ("", "x" * 129, "../.."):
        error = error_of(getattr(client, rpc), request_of(bad))
        assert error.kind.value == "INVALID_ARGUMENT"


def test_a_paused_job_pays_for_what_is_in_flight_and_begins_nothing(client: Client, factory: Factory) -> None:
    """Calls in flight come back and count, no other is made, nothing is uncertain; resumed it goes on."""
    run = uuid4().hex
    items = slow_items(factory, run, 192, latency_ms=300)
    job_id = client.new_job(items)
    client.start(job_id)
    until(client, job_id, lambda job: job.counts.running >= 4)
    job = pause(client, job_id)
    assert (job.state, job.state_reason.reason) == (pb.JOB_STATE_PAUSED, "PAUSED_BY_REQUEST")
    still = until(client, job_id, lambda job: job.counts.running == 0)
    asked = factory.mock.counts()["completions"]
    assert still.counts.succeeded + still.counts.pending == 192
    assert 0 < still.counts.succeeded < 192
    time.sleep(1)  # a second in which nothing may happen: nobody announces that
    assert factory.mock.counts()["completions"] == asked
    assert client.job(job_id).counts == still.counts
    factory.mock.script()
    assert resume(client, job_id).state == pb.JOB_STATE_RUNNING
    client.finish(job_id)
    job = client.job(job_id)
    assert (job.state, job.counts.succeeded) == (pb.JOB_STATE_SUCCEEDED, 192)
    assert (job.usage.uncertain_calls, job.usage.model_calls) == (0, 192)
    assert not job.HasField("state_reason")


def test_a_pause_does_not_wait_for_items_that_back_off(client: Client, factory: Factory) -> None:
    """Items whose calls are refused again and again hold nothing: their shards are given back."""
    run = uuid4().hex
    factory.mock.script({"fault": "rate_limited", "contains": run, "retry_after": "60", "latency_ms": 500})
    items = [raw_item(f"i{each}", f"{run} {each}") for each in range(100)]
    job_id = client.new_job(items, model=RESTING)
    client.start(job_id)
    until(client, job_id, lambda job: job.counts.running >= 4)
    pause(client, job_id)  # with calls in flight, which come back refused
    ends_at = time.monotonic() + _PATIENCE_S
    while client.GetCapacity(pb.GetCapacityRequest()).leased_shards:
        assert time.monotonic() < ends_at
    client.CancelJob(pb.CancelJobRequest(job_id=job_id))
    assert client.finish(job_id)


def test_a_job_paused_before_it_began_waits_and_is_queued_again(client: Client, factory: Factory) -> None:
    """Pausing and resuming again and again loses no item, whoever is in between."""
    run = uuid4().hex
    job_id = client.new_job(slow_items(factory, run, 300, latency_ms=50))
    client.start(job_id)
    for _ in range(5):
        pause(client, job_id)
        resume(client, job_id)
    assert len(client.finish(job_id)) == 300
    assert client.job(job_id).state == pb.JOB_STATE_SUCCEEDED


def test_a_paused_job_can_be_cancelled(client: Client, factory: Factory) -> None:
    """Its items, parked, become CANCELLED, and its stream ends."""
    run = uuid4().hex
    job_id = client.new_job(slow_items(factory, run, 192, latency_ms=200))
    client.start(job_id)
    until(client, job_id, lambda job: job.counts.running > 0)
    pause(client, job_id)
    until(client, job_id, lambda job: job.counts.running == 0)
    client.CancelJob(pb.CancelJobRequest(job_id=job_id))
    results = client.finish(job_id)
    job = client.job(job_id)
    assert (job.state, job.state_reason.reason) == (pb.JOB_STATE_CANCELLED, "JOB_CANCELLED")
    assert job.counts.cancelled + job.counts.succeeded == len(results) == 192


def test_only_jobs_under_way_are_paused(client: Client) -> None:
    """Drafts, finished and cancelled jobs are refused, each with its reason."""
    draft = client.new_job([raw_item("a", uuid4().hex)])
    done, _ = client.run([raw_item("a", uuid4().hex)])
    stopped = client.new_job([raw_item("a")])
    client.CancelJob(pb.CancelJobRequest(job_id=stopped))
    reasons = {draft: "JOB_NOT_STARTED", done.job_id: "JOB_FINISHED", stopped: "JOB_CANCELLED"}
    for job_id, reason in reasons.items():
        for rpc, request in (("PauseJob", pb.PauseJobRequest), ("ResumeJob", pb.ResumeJobRequest)):
            error = error_of(getattr(client, rpc), request(job_id=job_id))
            assert kind_and_reason(error) == ("FAILED_PRECONDITION", reason)


def test_what_a_mask_names_changes_and_nothing_else(client: Client) -> None:
    """A term by itself leaves the others; `terms` sets them all; labels are replaced."""
    job_id = client.new_job(
        [raw_item("a")], labels={"a": "1"}, terms=pb.JobTerms(weight=7, max_failed_ratio=0.5)
    )
    one = client.UpdateJob(
        update(
            job_id,
            "terms.max_cost_micros",
            "labels",
            "priority",
            display_name="not this",
            labels={"b": "2"},
            priority=pb.JOB_PRIORITY_HIGH,
            terms=pb.JobTerms(max_cost_micros=5, weight=9),
        )
    ).job
    assert (one.display_name, dict(one.labels), one.priority) == ("", {"b": "2"}, pb.JOB_PRIORITY_HIGH)
    assert one.terms == pb.JobTerms(max_cost_micros=5, weight=7, max_failed_ratio=0.5)
    every = client.UpdateJob(update(job_id, "terms", terms=pb.JobTerms(weight=3))).job
    assert every.terms == pb.JobTerms(weight=3, max_failed_ratio=1.0)
    assert client.job(job_id) == every


BAD_UPDATES = {
    "update_mask": update("x"),
    "job.display_name": update("x", "display_name", display_name="é" * 129),
    "job.priority": update("x", "priority", priority=99),
    "job.labels": update("x", "labels", labels={"__reserved__": "x"}),
    "job.terms.weight": update("x", "terms.weight", terms=pb.JobTerms(weight=-1)),
}


@pytest.mark.parametrize("field", BAD_UPDATES)
def test_bad_updates_are_named(client: Client, field: str) -> None:
    """A bad field is refused by name; so is a mask that names nothing, or what cannot change."""
    error = error_of(client.UpdateJob, BAD_UPDATES[field])
    assert [each.field for each in error.violations] == [field]
    error = error_of(client.UpdateJob, update("x", "state"))
    assert [each.field for each in error.violations] == ["update_mask"]


def test_terms_of_a_cancelled_job_are_refused(client: Client) -> None:
    """They matter no more; its title may still change."""
    job_id = client.new_job([raw_item("a")])
    client.CancelJob(pb.CancelJobRequest(job_id=job_id))
    error = error_of(client.UpdateJob, update(job_id, "terms.weight"))
    assert kind_and_reason(error) == ("FAILED_PRECONDITION", "JOB_CANCELLED")
    assert client.UpdateJob(update(job_id, "display_name", display_name="x")).job.display_name == "x"


def test_a_waiting_job_made_urgent_goes_first(client: Client, factory: Factory) -> None:
    """Of two jobs the later one is begun before the rest of the first, once it is the more urgent."""
    run = uuid4().hex
    first = client.new_job(slow_items(factory, run, 480, latency_ms=2_000))
    second = client.new_job([raw_item(f"i{each}", f"{run} x{each}") for each in range(8)])
    client.start(first)
    until(client, first, lambda job: job.counts.running > 0)
    client.start(second)
    client.UpdateJob(update(second, "priority", priority=pb.JOB_PRIORITY_URGENT))
    client.finish(second)
    assert client.job(first).counts.pending > 0
    client.CancelJob(pb.CancelJobRequest(job_id=first))
