"""A processor that dies, drains or stalls loses no work, and money of unknown fate is counted as spent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from contentfactory.processor.v1 import processor_pb2 as pb

from tests.e2e.conftest import RunFactory
from tests.support.bill import Line, abandoned, bill, completed
from tests.support.factory import PROCESSOR, Factory, eventually
from tests.support.factory_client import FactoryClient, raw_items, topic_items

pytestmark = pytest.mark.xdist_group("e2e-processors")
SLOTS = 16
SHARD = 96
SOON_S = 25.0
"""Less than the 30 s that cache leases last: the next epoch inherits those of a dead one."""
LATENCY_MS = 300
AHEAD = 3
"""Calls announced before there is a slot for them: 50 ms to prepare one, at the most, in 300 ms of a call."""
ENV = {"processor": {"PROCESSOR_MAX_CONCURRENCY": str(SLOTS)}}


def _assert_nothing_lost(items: Sequence[pb.JobItem], results: Sequence[pb.ItemResult], job: pb.Job) -> None:
    assert Counter(each.item_id for each in results) == Counter(each.item_id for each in items)
    assert job.state == pb.JOB_STATE_SUCCEEDED
    assert job.counts.succeeded == job.counts.total == len(items)


def _assert_honest_books(usage: pb.Usage, lines: Sequence[Line], *, kills: int = 1) -> None:
    """Check the processor's books after crashes against the endpoint's log."""
    paid, cut_off = completed(lines), abandoned(lines)
    paid_twice = len(paid) - len({each.digest for each in paid})
    assert cut_off, "no call was in flight: the test shows nothing"
    assert paid_twice <= kills * SLOTS
    assert len(cut_off) + paid_twice <= usage.uncertain_calls <= kills * (SLOTS + AHEAD) + paid_twice
    assert usage.cost_micros <= bill(paid)
    assert bill(paid) + bill(cut_off) <= usage.cost_micros + usage.uncertain_spend_micros
    assert usage.model_calls + usage.uncertain_calls >= len(paid) + len(cut_off)


def _begin(factory: Factory, client: FactoryClient, items: Sequence[pb.JobItem]) -> str:
    """Start a job and return its id when it is well under way."""
    job_id = client.submit(items)
    eventually(lambda: client.finished_items(job_id), lambda finished: finished >= 2 * SLOTS)
    eventually(lambda: factory.model.counts()["in_flight"])
    return job_id


def test_a_killed_processor_resumes_where_it_was(run_factory: RunFactory) -> None:
    """Only calls in flight are made again, and each call whose fate is not known is uncertain spend."""
    with run_factory(latency_ms=LATENCY_MS, env=ENV) as factory:
        client = factory.client()
        items = topic_items(12)
        job_id = _begin(factory, client, items)
        factory.kill(PROCESSOR)
        factory.restart(PROCESSOR)
        results = client.results(job_id, timeout_s=SOON_S)
        job = client.wait(job_id)
        _assert_nothing_lost(items, results, job)
        _assert_honest_books(job.usage, factory.model_log())


def test_a_processor_killed_again_and_again_still_keeps_honest_books(run_factory: RunFactory) -> None:
    """Whatever a crash leaves unknown stays counted through the next one."""
    with run_factory(latency_ms=LATENCY_MS, env=ENV) as factory:
        client = factory.client()
        items = raw_items(SHARD)
        job_id = client.submit(items)
        for kill in range(1, 4):
            eventually(lambda: len(completed(factory.model_log())), lambda calls: calls >= kill * SLOTS)  # noqa: B023 - it is read at once
            eventually(lambda: factory.model.counts()["in_flight"])
            factory.kill(PROCESSOR)
            factory.restart(PROCESSOR)
        results = client.results(job_id, timeout_s=SOON_S)
        job = client.wait(job_id)
        _assert_nothing_lost(items, results, job)
        _assert_honest_books(job.usage, factory.model_log(), kills=3)


def test_another_processor_takes_over_from_a_killed_one(run_factory: RunFactory) -> None:
    """Of two processors on one store one dies; the other finishes its shards once their leases are over."""
    with run_factory(latency_ms=LATENCY_MS, env=ENV) as factory:
        factory.add_processor("second")
        client = factory.client("second")
        items = raw_items(3 * SHARD)
        job_id = _begin(factory, factory.client(), items)
        for name in (PROCESSOR, "second"):
            shards = factory.client(name).processor.GetCapacity(pb.GetCapacityRequest()).leased_shards
            assert shards, f"{name} has no share of the job"
        factory.kill(PROCESSOR)
        results = client.results(job_id, timeout_s=SOON_S)
        job = client.wait(job_id)
        _assert_nothing_lost(items, results, job)
        _assert_honest_books(job.usage, factory.model_log())


def test_a_drained_processor_pays_nothing_twice(run_factory: RunFactory) -> None:
    """SIGTERM lets calls in flight come back and hands the shards back, so nothing is uncertain."""
    with run_factory(latency_ms=LATENCY_MS, env=ENV) as factory:
        client = factory.client()
        items = topic_items(12)
        job_id = _begin(factory, client, items)
        assert factory.stop(PROCESSOR) == 0
        assert not factory.model.counts()["in_flight"]
        factory.restart(PROCESSOR)
        results = client.results(job_id, timeout_s=SOON_S)
        job = client.wait(job_id)
        paid = completed(factory.model_log())
        _assert_nothing_lost(items, results, job)
        assert len(paid) == len({each.digest for each in paid}) == len(items)
        assert not abandoned(factory.model_log())
        assert (job.usage.uncertain_calls, job.usage.uncertain_spend_micros) == (0, 0)
        assert job.usage.cost_micros == bill(paid)
