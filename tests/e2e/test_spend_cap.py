"""The cap holds by the endpoint's own bill, over two processors and through the death of one or both."""

from __future__ import annotations

import time

import pytest
from contentfactory.processor.v1 import processor_pb2 as pb

from tests.e2e.conftest import RunFactory
from tests.support.bill import abandoned, bill, completed
from tests.support.factory import PROCESSOR, Factory, eventually
from tests.support.factory_client import FactoryClient, raw_items

pytestmark = pytest.mark.xdist_group("e2e-processors")
SLOTS = 16
SECOND = "second"
ENV = {"processor": {"PROCESSOR_MAX_CONCURRENCY": str(SLOTS)}}
CAP = 200_000
"""What the endpoint charges for about two hundred of the items."""
ITEMS = 4 * 96


def capped(client: FactoryClient) -> str:
    """Start a job that costs more than its cap, and return its id."""
    job_id = client.processor.CreateJob(
        pb.CreateJobRequest(terms=pb.JobTerms(max_cost_micros=CAP))
    ).job.job_id
    client.processor.BatchAddItems(pb.BatchAddItemsRequest(job_id=job_id, items=raw_items(ITEMS)))
    client.start(job_id)
    return job_id


def charged(factory: Factory) -> int:
    """Return what the endpoint charges, for calls whose client went away too."""
    lines = factory.model_log()
    return bill(completed(lines)) + bill(abandoned(lines))


def used(job: pb.Job) -> int:
    """Return what a job says it has spent, uncertain spend at its worst."""
    micros: int = job.usage.cost_micros + job.usage.uncertain_spend_micros
    return micros


def test_a_killed_processor_does_not_lead_beyond_the_cap(run_factory: RunFactory) -> None:
    """What was out when it died counts at its worst; the other processor spends what is left, and no more."""
    with run_factory(latency_ms=200, env=ENV) as factory:
        factory.add_processor(SECOND)
        client = factory.client(SECOND)
        job_id = capped(client)
        eventually(lambda: client.finished_items(job_id), lambda finished: finished >= 2 * SLOTS)
        eventually(lambda: factory.model.counts()["in_flight"])
        factory.kill(PROCESSOR)
        job = client.wait_for_rest(job_id)
        assert abandoned(factory.model_log()), "no call was in flight: the test shows nothing"
        assert job.usage.uncertain_calls
        assert 0.95 * CAP < used(job) <= CAP
        assert charged(factory) <= used(job)
        assert 0 < job.counts.succeeded < ITEMS
        assert job.counts.failed == 0


def test_a_job_rests_until_its_cap_is_raised_whoever_dies(run_factory: RunFactory) -> None:
    """Both processors die while it rests and again once it goes on: no item and no cent is lost."""
    with run_factory(latency_ms=200, env=ENV) as factory:
        factory.add_processor(SECOND)
        client = factory.client()
        job_id = capped(client)
        resting = client.wait_for_rest(job_id)
        for each in (PROCESSOR, SECOND):
            factory.kill(each)
            factory.restart(each)
        asked = factory.model.counts()["completions"]
        client = factory.client(SECOND)
        time.sleep(3.0)  # longer than a lease, in which nothing must happen
        assert client.wait_for_rest(job_id).usage == resting.usage
        assert factory.model.counts()["completions"] == asked
        client.set_cap(job_id, 10 * CAP)
        eventually(lambda: factory.model.counts()["in_flight"])
        factory.kill(PROCESSOR)
        client.results(job_id)
        job = client.wait(job_id)
        assert (job.state, job.counts.succeeded) == (pb.JOB_STATE_SUCCEEDED, ITEMS)
        assert job.usage.model_calls == ITEMS
        assert charged(factory) <= used(job) <= 10 * CAP
