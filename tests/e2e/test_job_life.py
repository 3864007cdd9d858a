"""A job's life over two processors on one store: what one is told reaches the other, also through kills."""

from __future__ import annotations

import time

import pytest
from contentfactory.processor.v1 import processor_pb2 as pb
from contentfactory.tracker.v1 import tracker_pb2

from tests.e2e.conftest import RunFactory
from tests.support.bill import completed
from tests.support.factory import PROCESSOR, Factory, eventually
from tests.support.factory_client import FactoryClient, raw_item, raw_items

pytestmark = pytest.mark.xdist_group("e2e-processors")
SLOTS = 8
SECOND = "second"
ENV = {"processor": {"PROCESSOR_MAX_CONCURRENCY": str(SLOTS)}}
LATENCY_MS = 200


def leased(factory: Factory) -> list[int]:
    """Return how many shards each processor holds."""
    names = (PROCESSOR, SECOND)
    request = pb.GetCapacityRequest()
    return [factory.client(name).processor.GetCapacity(request).leased_shards for name in names]


def begun(factory: Factory, client: FactoryClient, items: int) -> str:
    """Start a job in which both processors have a share, and return its id."""
    job_id = client.submit(raw_items(items))
    eventually(lambda: leased(factory), all)
    eventually(lambda: factory.model.counts()["in_flight"], lambda calls: calls > SLOTS)
    return job_id


def quiet(factory: Factory, *, for_s: float = 1.5) -> int:
    """Check that no call is made for a while; returns how many were made before."""
    calls: int = factory.model.counts()["completions"]
    time.sleep(for_s)  # nobody announces that nothing happens
    assert factory.model.counts()["completions"] == calls
    return calls


def test_a_pause_reaches_all_processors_and_outlives_them(run_factory: RunFactory) -> None:
    """Calls come back and count, leases are given back, nothing begins, not even after a kill."""
    with run_factory(latency_ms=LATENCY_MS, env=ENV) as factory:
        factory.add_processor(SECOND)
        client = factory.client(SECOND)
        job_id = begun(factory, client, 600)
        client.processor.PauseJob(pb.PauseJobRequest(job_id=job_id))
        eventually(lambda: leased(factory), lambda shards: not any(shards))
        asked = quiet(factory)
        assert len(completed(factory.model_log())) == asked, "a call was cut"
        progress = client.tracker.GetProgress(tracker_pb2.GetProgressRequest(job_id=job_id)).progress
        assert progress.state == tracker_pb2.JOB_STATE_PAUSED
        assert "ResumeJob" in progress.message
        factory.kill(PROCESSOR)
        factory.restart(PROCESSOR)
        quiet(factory)
        factory.client().processor.ResumeJob(pb.ResumeJobRequest(job_id=job_id))
        eventually(lambda: leased(factory), all)
        client.results(job_id)
        job = client.wait(job_id)
        assert (job.state, job.counts.succeeded) == (pb.JOB_STATE_SUCCEEDED, 600)
        assert (job.usage.model_calls, job.usage.uncertain_calls) == (600, 0)


def test_shards_of_a_worker_that_died_wait_for_the_resumption(run_factory: RunFactory) -> None:
    """A processor dies with calls in flight, the job is paused: whoever finds its shards parks them."""
    with run_factory(latency_ms=LATENCY_MS, env=ENV) as factory:
        factory.add_processor(SECOND)
        client = factory.client(SECOND)
        job_id = begun(factory, client, 400)
        factory.kill(PROCESSOR)
        client.processor.PauseJob(pb.PauseJobRequest(job_id=job_id))
        eventually(lambda: factory.model.counts()["in_flight"], lambda calls: calls == 0)
        quiet(factory, for_s=4.0)  # longer than a lease
        client.processor.ResumeJob(pb.ResumeJobRequest(job_id=job_id))
        client.results(job_id)
        job = client.wait(job_id)
        assert (job.state, job.counts.succeeded) == (pb.JOB_STATE_SUCCEEDED, 400)
        assert 0 < job.usage.uncertain_calls <= SLOTS + 2  # announced ahead: 50 ms to prepare, 200 ms to call


def test_a_cancellation_reaches_all_processors(run_factory: RunFactory) -> None:
    """Calls in flight are cut on both, and what is waiting ends without a call."""
    with run_factory(latency_ms=60_000, env=ENV) as factory:
        factory.add_processor(SECOND)
        client = factory.client(SECOND)
        job_id = begun(factory, client, 600)
        client.processor.CancelJob(pb.CancelJobRequest(job_id=job_id))
        eventually(lambda: factory.model.counts()["in_flight"], lambda calls: calls == 0)
        results = client.results(job_id)
        job = client.wait(job_id)
        assert (job.state, job.counts.cancelled, len(results)) == (pb.JOB_STATE_CANCELLED, 600, 600)
        assert SLOTS < job.usage.uncertain_calls <= 2 * SLOTS


def test_an_item_that_kills_workers_fails_alone(run_factory: RunFactory) -> None:
    """Its call is out at each of five deaths: then it is poison, and everything else has succeeded."""
    with run_factory(latency_ms=20, env=ENV) as factory:
        factory.model.script({"fault": "hang", "contains": "deadly"})
        client = factory.client()
        job_id = client.submit([raw_item("deadly", "deadly"), *raw_items(60)])
        for _ in range(5):
            eventually(lambda: factory.model.counts()["in_flight"], lambda calls: calls == 1)
            factory.kill(PROCESSOR)
            eventually(lambda: factory.model.counts()["in_flight"], lambda calls: calls == 0)
            factory.restart(PROCESSOR)
        results = {each.item_id: each for each in client.results(job_id)}
        job = client.wait(job_id)
        assert (job.counts.succeeded, job.counts.failed) == (60, 1)
        assert results["deadly"].error.reason == "POISON_ITEM"
        assert job.usage.uncertain_calls >= 5


def test_failures_of_all_processors_count(run_factory: RunFactory) -> None:
    """A rule that neither processor sees broken by itself is broken by both together."""
    with run_factory(latency_ms=LATENCY_MS, env=ENV) as factory:
        factory.add_processor(SECOND)
        factory.model.script({"fault": "invalid", "contains": "bad"})
        client = factory.client()
        items = [raw_item(f"i{each}", f"{'bad' if each % 4 == 0 else 'good'} {each}") for each in range(800)]
        terms = pb.JobTerms(max_failed_ratio=0.03)
        job_id = client.processor.CreateJob(pb.CreateJobRequest(terms=terms)).job.job_id
        client.processor.BatchAddItems(pb.BatchAddItemsRequest(job_id=job_id, items=items))
        client.processor.StartJob(pb.StartJobRequest(job_id=job_id))
        client.results(job_id)
        job = client.wait(job_id)
        assert (job.state, job.state_reason.reason) == (pb.JOB_STATE_FAILED, "TOO_MANY_FAILURES")
        assert 24 < job.counts.failed <= 24 + 6 * SLOTS
