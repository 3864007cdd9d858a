"""Each class of trouble, injected: it lands in its own counter and gets its own treatment."""

from __future__ import annotations

import time
from uuid import uuid4

import pytest
from contentfactory.processor.v1 import processor_pb2 as pb
from parallel_processor.running.error_class import ErrorClass

from tests.integration.processor.conftest import Client, Factory, piece_of, raw_item, scraped
from tests.integration.processor.test_job_life import resume, slow_items, until, update

PASSING: dict[str, tuple[dict[str, object], ErrorClass]] = {
    "rate_limited": ({"fault": "rate_limited"}, ErrorClass.RATE_LIMITED),
    "overloaded": ({"fault": "overloaded"}, ErrorClass.OVERLOADED),
    "network": ({"fault": "reset"}, ErrorClass.NETWORK),
    "timeout": ({"fault": "status", "status": 504}, ErrorClass.TIMEOUT),
    "server_error": ({"fault": "server_error"}, ErrorClass.SERVER_ERROR),
    "malformed": ({"fault": "malformed"}, ErrorClass.MALFORMED),
    "empty": ({"fault": "empty"}, ErrorClass.EMPTY),
}
FINAL = {
    "invalid": ("MODEL_REFUSED", ErrorClass.INVALID_REQUEST),
    "filtered_prompt": ("CONTENT_FILTERED", ErrorClass.CONTENT_FILTERED),
    "filtered_output": ("CONTENT_FILTERED", ErrorClass.CONTENT_FILTERED),
}
PAUSING = {
    "quota_exhausted": ("MODEL_QUOTA_EXHAUSTED", ErrorClass.QUOTA_EXHAUSTED),
    "unauthenticated": ("MODEL_UNAUTHENTICATED", ErrorClass.UNAUTHENTICATED),
}


def an_item(item_id: str, text: str) -> pb.JobItem:
    """Return an item whose answer is not cut."""
    return raw_item(item_id, text, max_tokens=200)


class Counters:
    """How often each class was counted since this was made."""

    def __init__(self, factory: Factory) -> None:
        self._factory = factory
        self._before = self._read()

    def _read(self) -> dict[ErrorClass, float]:
        return {
            each: scraped(self._factory, "parallel_errors_total", **{"class": each.value})
            for each in ErrorClass
        }

    def news(self) -> dict[ErrorClass, float]:
        """Return the classes that were counted, with how often."""
        return {
            each: now - self._before[each] for each, now in self._read().items() if now > self._before[each]
        }


@pytest.mark.parametrize("name", PASSING)
def test_what_passes_is_tried_again(client: Client, factory: Factory, name: str) -> None:
    """The item succeeds with its second call, and the failure is counted once, in its own class."""
    rule, kind = PASSING[name]
    run, counters = uuid4().hex, Counters(factory)
    factory.mock.script({**rule, "contains": run, "times": 1})
    job, results = client.run([an_item("a", run), an_item("b", uuid4().hex)])
    assert (job.state, results["a"].attempts, results["b"].attempts) == (pb.JOB_STATE_SUCCEEDED, 2, 1)
    assert counters.news() == {kind: 1}


@pytest.mark.parametrize("fault", FINAL)
def test_what_concerns_one_item_fails_it_alone(client: Client, factory: Factory, fault: str) -> None:
    """One call, no second; its dependants are skipped, others go on."""
    reason, kind = FINAL[fault]
    run, counters = uuid4().hex, Counters(factory)
    factory.mock.script({"fault": fault, "contains": run})
    items = [an_item("bad", run), an_item("good", uuid4().hex), piece_of("faq", uuid4().hex, "bad")]
    job, results = client.run(items)
    assert (job.counts.succeeded, job.counts.failed, job.counts.skipped) == (1, 1, 1)
    assert (results["bad"].error.reason, results["bad"].attempts) == (reason, 1)
    assert counters.news() == {kind: 1}


def test_truncated_output_is_kept_and_marked(client: Client, factory: Factory) -> None:
    """It is content, says that it is cut, and is counted."""
    run, counters = uuid4().hex, Counters(factory)
    factory.mock.script({"fault": "truncated", "contains": run})
    job, results = client.run([an_item("a", run)])
    assert (job.state, results["a"].piece.truncated) == (pb.JOB_STATE_SUCCEEDED, True)
    assert counters.news() == {ErrorClass.TRUNCATED: 1}


@pytest.mark.parametrize("fault", PAUSING)
def test_trouble_with_the_account_pauses_the_job(client: Client, factory: Factory, fault: str) -> None:
    """No retries are burnt, the job says what is the matter and what helps; resumed it completes."""
    reason, kind = PAUSING[fault]
    run, counters = uuid4().hex, Counters(factory)
    factory.mock.script({"fault": fault, "contains": run})
    job_id = client.new_job([an_item(f"i{each}", f"{run} {each}") for each in range(200)])
    client.start(job_id)
    job = until(client, job_id, lambda job: job.state == pb.JOB_STATE_PAUSED)
    assert job.state_reason.reason == reason
    assert "ResumeJob" in job.state_reason.message
    job = until(client, job_id, lambda job: job.counts.running == 0)
    assert (job.counts.failed, job.counts.pending) == (0, 200)
    assert (job.usage.cost_micros, job.usage.uncertain_spend_micros) == (0, 0)
    asked = counters.news()
    assert asked.keys() == {kind}
    assert asked[kind] <= 200, "an item was asked for twice"
    factory.mock.script()
    resume(client, job_id)
    assert len(client.finish(job_id)) == 200
    assert client.job(job_id).state == pb.JOB_STATE_SUCCEEDED


def test_what_is_not_finished_by_the_deadline_fails(client: Client, factory: Factory) -> None:
    """Calls in flight are cut and count as uncertain; what is finished stays; nothing is asked any more."""
    run, counters = uuid4().hex, Counters(factory)
    factory.mock.script({"fault": "hang", "contains": f"{run} hang"})
    # All are in one shard, and so in line in this order.
    items = [an_item(f"i{each}", f"{run} {each}") for each in range(8)]
    items += [an_item(f"h{each}", f"{run} hang {each}") for each in range(80)]
    job_id = client.new_job(items)
    client.start(job_id)
    until(client, job_id, lambda job: job.counts.succeeded == 8)
    deadline = pb.JobTerms()
    deadline.deadline.FromNanoseconds(time.time_ns() + 500_000_000)
    client.UpdateJob(update(job_id, "terms.deadline", terms=deadline))
    results = client.finish(job_id)
    job = client.job(job_id)
    assert (job.state, job.state_reason.reason) == (pb.JOB_STATE_PARTIALLY_SUCCEEDED, "DEADLINE_EXCEEDED")
    assert (job.counts.succeeded, job.counts.failed) == (8, 80)
    assert {each.error.reason for each in results.values() if not each.piece.content} == {"DEADLINE_EXCEEDED"}
    assert 0 < job.usage.uncertain_calls <= 64
    assert counters.news() == {ErrorClass.DEADLINE: 80}


def test_a_job_whose_deadline_has_passed_is_not_started(client: Client) -> None:
    """It stays a draft, until it gets more time."""
    terms = pb.JobTerms()
    terms.deadline.FromSeconds(1_000)
    job_id = client.new_job([an_item("a", uuid4().hex)], terms=terms)
    with pytest.raises(Exception, match="deadline"):
        client.start(job_id)
    client.UpdateJob(update(job_id, "terms.deadline"))
    client.start(job_id)
    assert len(client.finish(job_id)) == 1


def test_a_paused_job_is_late_too(client: Client, factory: Factory) -> None:
    """At its deadline its items fail, though nobody works on them."""
    job_id = client.new_job(slow_items(factory, uuid4().hex, 192, latency_ms=500))
    client.start(job_id)
    client.PauseJob(pb.PauseJobRequest(job_id=job_id))
    terms = pb.JobTerms()
    terms.deadline.FromSeconds(1_000)
    client.UpdateJob(update(job_id, "terms.deadline", terms=terms))
    assert len(client.finish(job_id)) == 192
    assert client.job(job_id).state_reason.reason == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize("ratio", [0.0, 0.1])
def test_too_many_failures_give_up_the_rest(client: Client, factory: Factory, ratio: float) -> None:
    """More failures than tolerated: the job has FAILED, the rest is CANCELLED and says why."""
    run = uuid4().hex
    factory.mock.script(
        {"fault": "invalid", "contains": f"{run} bad"},
        {"fault": "slow", "contains": run, "latency_ms": 400},
    )
    # Every other item is bad, for shards begin in any order.
    items = [an_item(f"i{each}", f"{run} {'bad' if each % 2 else ''} {each}") for each in range(400)]
    job_id = client.new_job(items, terms=pb.JobTerms(max_failed_ratio=ratio))
    client.start(job_id)
    results = client.finish(job_id)
    job = client.job(job_id)
    assert (job.state, job.state_reason.reason) == (pb.JOB_STATE_FAILED, "TOO_MANY_FAILURES")
    assert job.counts.cancelled > 100
    assert ratio * 400 < job.counts.failed < 200
    cancelled = [each for each in results.values() if each.state == pb.ITEM_STATE_CANCELLED]
    assert {each.error.reason for each in cancelled} == {"TOO_MANY_FAILURES"}


def test_tolerated_failures_stop_nothing(client: Client, factory: Factory) -> None:
    """As many as the terms say may fail."""
    run = uuid4().hex
    factory.mock.script({"fault": "invalid", "contains": f"{run} bad"})
    items = [an_item(f"i{each}", f"{run} {'bad' if each < 10 else ''} {each}") for each in range(100)]
    job, _ = client.run(items, terms=pb.JobTerms(max_failed_ratio=0.1))
    assert (job.state, job.counts.failed, job.counts.succeeded) == (pb.JOB_STATE_PARTIALLY_SUCCEEDED, 10, 90)
    assert not job.HasField("state_reason")
