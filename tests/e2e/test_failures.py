"""What goes wrong at the model endpoint: refusals end an item and say why, what passes is waited out."""

from __future__ import annotations

import os
import signal

import pytest
from contentfactory.processor.v1 import processor_pb2 as pb

from tests.e2e.conftest import RunFactory
from tests.support.bill import abandoned, bill, completed
from tests.support.factory import Factory, eventually
from tests.support.factory_client import raw_item, raw_items, topic_items
from tests.support.mock_process import mock_endpoint

pytestmark = pytest.mark.xdist_group("e2e-single-flight")
FACTORY = {"latency_ms": 100, "env": {"processor": {"PROCESSOR_MAX_CONCURRENCY": "8"}}}


@pytest.fixture
def factory(shared_factory: Factory) -> Factory:
    """The module's factory; its endpoint answers well."""
    shared_factory.model.script()
    return shared_factory


def test_a_refused_outline_fails_and_its_seven_are_skipped(factory: Factory) -> None:
    """The refusal is the item's error, its dependants name it, and another topic is none the worse."""
    factory.model.script({"fault": "invalid", "contains": "Refused"})
    client = factory.client()
    good = topic_items(1, "Welcome")
    bad = topic_items(1, "Refused")
    for each in bad:
        each.item_id = each.item_id.replace("t0/", "bad/")
        for needed in each.depends_on:
            needed.item_id = "bad/outline"
    job_id = client.submit([*good, *bad])
    results = {each.item_id: each for each in client.results(job_id)}
    job = client.wait(job_id)

    assert job.state == pb.JOB_STATE_PARTIALLY_SUCCEEDED
    assert (job.counts.succeeded, job.counts.failed, job.counts.skipped) == (8, 1, 7)
    assert results["bad/outline"].state == pb.ITEM_STATE_FAILED
    assert results["bad/outline"].error.reason == "MODEL_REFUSED"
    skipped = [results[each.item_id] for each in bad[1:]]
    assert {each.state for each in skipped} == {pb.ITEM_STATE_SKIPPED}
    assert all("bad/outline" in each.error.message for each in skipped)
    assert client.wait(client.submit(bad)).state == pb.JOB_STATE_FAILED


def test_a_cancelled_job_keeps_what_is_finished_and_cuts_off_the_rest(factory: Factory) -> None:
    """Calls in flight are cancelled and uncertain; finished results stay; everything else is CANCELLED."""
    client = factory.client()
    seen = len(factory.model_log())
    job_id = client.submit(raw_items(64, "cancelled"))
    eventually(lambda: client.finished_items(job_id), lambda finished: finished >= 8)
    client.processor.CancelJob(pb.CancelJobRequest(job_id=job_id), timeout=10)
    results = client.results(job_id)
    job = client.wait(job_id)
    eventually(lambda: factory.model.counts()["in_flight"] == 0)
    lines = factory.model_log()[seen:]

    assert job.state == pb.JOB_STATE_CANCELLED
    assert job.counts.cancelled
    assert job.counts.succeeded >= 8
    assert job.counts.succeeded + job.counts.cancelled == 64
    assert len({each.item_id for each in results}) == len(results) == 64
    kept = [each for each in results if each.state == pb.ITEM_STATE_SUCCEEDED]
    assert len(kept) == job.counts.succeeded
    assert all(each.piece.content for each in kept)
    assert len(abandoned(lines)) <= job.usage.uncertain_calls <= 8
    assert job.usage.cost_micros <= bill(completed(lines))
    assert bill(lines) <= job.usage.cost_micros + job.usage.uncertain_spend_micros


def test_rate_limits_are_waited_out(factory: Factory) -> None:
    """However many calls get 429, no item fails for it, and nothing is counted that was not charged."""
    factory.model.script({"fault": "rate_limited", "every": 2, "retry_after": "0.1"})
    client = factory.client()
    seen = len(factory.model_log())
    job_id = client.submit(raw_items(12, "limited"))
    results = client.results(job_id)
    job = client.wait(job_id)
    lines = factory.model_log()[seen:]
    assert job.state == pb.JOB_STATE_SUCCEEDED
    assert sum(each.status == 429 for each in lines) >= 6
    assert len(completed(lines)) == 12
    assert sum(each.attempts for each in results) == len(lines)
    assert (job.usage.cost_micros, job.usage.uncertain_spend_micros) == (bill(completed(lines)), 0)


def test_a_malformed_reply_is_asked_for_again_and_counts_as_spent(factory: Factory) -> None:
    """Nobody can read what a broken reply was charged, so its worst case is uncertain spend."""
    factory.model.script({"fault": "malformed", "contains": "garbled", "times": 2})
    client = factory.client()
    seen = len(factory.model_log())
    job_id = client.submit([raw_item("one", "garbled")])
    (result,) = client.results(job_id)
    usage = client.wait(job_id).usage
    lines = completed(factory.model_log()[seen:])
    assert (result.state, result.attempts, len(lines)) == (pb.ITEM_STATE_SUCCEEDED, 3, 3)
    assert (usage.model_calls, usage.uncertain_calls) == (1, 2)
    assert usage.cost_micros == lines[-1].micros
    assert bill(lines) <= usage.cost_micros + usage.uncertain_spend_micros


def test_an_outage_of_the_endpoint_fails_nothing(run_factory: RunFactory) -> None:
    """It dies in the middle of a job and comes back after its breaker opened: the job waits and completes."""
    with run_factory(**FACTORY) as factory:
        client = factory.client()
        items = raw_items(64)
        job_id = client.submit(items)
        eventually(lambda: client.finished_items(job_id), lambda finished: finished >= 8)
        os.kill(factory.model.pid, signal.SIGKILL)
        eventually(lambda: client.breakers()["model"], lambda state: state == "BREAKER_STATE_OPEN")
        with mock_endpoint(port=factory.model.port, log=factory.directory / "model.log"):
            results = client.results(job_id)
            job = client.wait(job_id)
        assert job.state == pb.JOB_STATE_SUCCEEDED
        assert len({each.item_id for each in results}) == len(results) == len(items)
        assert client.breakers()["model"] == "BREAKER_STATE_CLOSED"
        assert job.usage.cost_micros == bill(completed(factory.model_log()))
