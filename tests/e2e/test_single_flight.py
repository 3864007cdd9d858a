"""The same piece of one tenant is paid once, whoever asks for it and however often at the same time."""

from __future__ import annotations

import pytest
from contentfactory.processor.v1 import processor_pb2 as pb

from tests.e2e.conftest import RunFactory
from tests.support.bill import bill, completed
from tests.support.factory import PROCESSOR, Factory, eventually
from tests.support.factory_client import FactoryClient, raw_item, raw_items

pytestmark = pytest.mark.xdist_group("e2e-single-flight")
FACTORY = {"latency_ms": 300}
ITEMS = 200


def _same(text: str, count: int = ITEMS) -> list[pb.JobItem]:
    return [raw_item(f"item-{number}", text) for number in range(count)]


def test_identical_items_of_one_job_make_one_call(shared_factory: Factory) -> None:
    """200 equal items over several shards: one model call, one bill, 199 cached."""
    client = shared_factory.client()
    before = len(completed(shared_factory.model_log()))
    job_id = client.submit(_same("the same in one job"))
    results = client.results(job_id)
    job = client.wait(job_id)
    paid = completed(shared_factory.model_log())[before:]
    assert len(results) == len({each.item_id for each in results}) == ITEMS
    assert len({each.piece.content for each in results}) == len(paid) == job.usage.model_calls == 1
    assert job.counts.cached == ITEMS - 1
    assert (job.usage.cost_micros, job.usage.saved_micros) == (bill(paid), bill(paid) * (ITEMS - 1))


def test_identical_items_of_two_jobs_on_two_processors_make_one_call(shared_factory: Factory) -> None:
    """The cache's lease is what joins processes: whoever comes second waits for the first one's content."""
    factory = shared_factory
    factory.add_processor("apart", STORE_URL=f"sqlite:///{factory.directory}/apart.db")
    clients = [factory.client(), factory.client("apart")]
    before = len(completed(factory.model_log()))
    jobs = [client.draft(_same("the same in two jobs", ITEMS // 2)) for client in clients]
    for client, job_id in zip(clients, jobs, strict=True):
        client.start(job_id)
    results = [client.results(job_id) for client, job_id in zip(clients, jobs, strict=True)]
    usages = [client.wait(job_id).usage for client, job_id in zip(clients, jobs, strict=True)]
    paid = completed(factory.model_log())[before:]
    assert [len(each) for each in results] == [ITEMS // 2] * 2
    assert len({each.piece.content for part in results for each in part}) == len(paid) == 1
    assert sum(each.model_calls for each in usages) == 1
    assert sum(each.cost_micros for each in usages) == bill(paid)


PATIENCE = {"processor": {"PROCESSOR_URGENT_PATIENCE_S": "1", "PROCESSOR_MAX_CONCURRENCY": "32"}}
LEASE_TTL_S = 30


def _begin_and_pause(factory: Factory, items: list[pb.JobItem]) -> str:
    """Start a job and stop its processor while it holds the cache lease of every item."""
    job_id = factory.client().submit(items)
    eventually(lambda: factory.model.counts()["in_flight"], lambda calls: calls == len(items))
    factory.pause(PROCESSOR)
    return job_id


def _finish_urgently(client: FactoryClient, items: list[pb.JobItem]) -> str:
    """Run an urgent job to its end, long before the paused process's cache leases are over."""
    job_id = client.submit(items, priority=pb.JOB_PRIORITY_URGENT)
    results = client.results(job_id, timeout_s=LEASE_TTL_S / 2)
    assert [each.state for each in results] == [pb.ITEM_STATE_SUCCEEDED] * len(items)
    return job_id


def test_a_paused_holder_of_leases_does_not_block_an_urgent_job(run_factory: RunFactory) -> None:
    """An urgent job waits a bounded time for content that a stalled process was about to make."""
    with run_factory(latency_ms=1_000, env=PATIENCE) as factory:
        items = raw_items(8)  # as many as a lane begins with
        slow_job = _begin_and_pause(factory, items)
        factory.add_processor("apart", STORE_URL=f"sqlite:///{factory.directory}/apart.db")
        _finish_urgently(factory.client("apart"), items)
        factory.resume(PROCESSOR)
        results = factory.client().results(slow_job)
        assert [each.state for each in results] == [pb.ITEM_STATE_SUCCEEDED] * len(items)
        assert len({each.item_id for each in results}) == len(items)


def test_a_paused_worker_commits_nothing_once_its_shard_was_taken_over(run_factory: RunFactory) -> None:
    """Going on after its leases ran out, it is refused; results stay single and the books unchanged."""
    with run_factory(latency_ms=1_000, env=PATIENCE) as factory:
        items = raw_items(8)  # as many as a lane begins with
        slow_job = _begin_and_pause(factory, items)
        factory.add_processor("second")
        second = factory.client("second")
        urgent_job = _finish_urgently(second, items)
        taken_over = second.wait(slow_job)
        factory.resume(PROCESSOR)
        ended = eventually(lambda: factory.services[PROCESSOR].events("shard_run_ended"))

        assert {each["reason"] for each in ended} == {"LEASE_LOST"}
        results = factory.client().results(slow_job)
        assert len(results) == len({each.item_id for each in results}) == len(items)
        assert second.job(slow_job) == taken_over
        usages = [taken_over.usage, second.job(urgent_job).usage]
        spent = sum(each.cost_micros + each.uncertain_spend_micros for each in usages)
        assert bill(completed(factory.model_log())) <= spent
