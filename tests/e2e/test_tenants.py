"""Tenants share a factory and nothing in it."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import pytest
from contentfactory.cache.v1 import cache_pb2
from contentfactory.processor.v1 import processor_pb2 as pb
from contentfactory.tracker.v1 import tracker_pb2

from tests.support.bill import completed
from tests.support.factory import Factory, eventually
from tests.support.factory_client import FactoryClient, raw_items, topic_items

pytestmark = pytest.mark.xdist_group("e2e-single-flight")
FACTORY = {
    "tokens": [
        {"token": "acme-secret", "tenant": "acme", "user": "ada"},
        {"token": "bolt-secret", "tenant": "bolt", "user": "bob"},
    ]
}


@pytest.fixture(scope="module")
def tenants(shared_factory: Factory) -> tuple[FactoryClient, FactoryClient]:
    """A client of each tenant."""
    return shared_factory.client(token="acme-secret"), shared_factory.client(token="bolt-secret")


def test_identical_prompts_of_two_tenants_share_no_entry(
    shared_factory: Factory, tenants: tuple[FactoryClient, FactoryClient]
) -> None:
    """Each tenant pays for its own piece, under a key of its own that the other's cache does not have."""
    items = [*topic_items(1), *raw_items(4)]
    before = len(completed(shared_factory.model_log()))
    results = [client.results(client.submit(items)) for client in tenants]
    keys = [{each.piece.cache_key for each in part} for part in results]
    assert [len(each) for each in keys] == [len(items)] * 2
    assert not keys[0] & keys[1]
    assert not any(each.piece.cached for part in results for each in part)
    assert len(completed(shared_factory.model_log())) - before == 2 * len(items)
    for client, own, others in zip(tenants, keys, reversed(keys), strict=True):
        assert _cached(client, own) == len(items)
        assert _cached(client, others) == 0


def _cached(client: FactoryClient, keys: set[str]) -> int:
    """Return how many of the keys the client's tenant has in the cache."""
    requests = [cache_pb2.GetRequest(key=key) for key in keys]
    answer = client.cache.BatchGet(cache_pb2.BatchGetRequest(requests=requests), timeout=10)
    return sum(each.value.HasField("entry") for each in answer.results)


CALLS: list[Callable[[FactoryClient, str], object]] = [
    lambda client, job: client.processor.GetJob(pb.GetJobRequest(job_id=job), timeout=10),
    lambda client, job: client.processor.ListItems(pb.ListItemsRequest(job_id=job), timeout=10),
    lambda client, job: client.processor.ListResults(pb.ListResultsRequest(job_id=job), timeout=10),
    lambda client, job: list(client.processor.StreamResults(pb.StreamResultsRequest(job_id=job), timeout=10)),
    lambda client, job: client.processor.StartJob(pb.StartJobRequest(job_id=job), timeout=10),
    lambda client, job: client.processor.CancelJob(pb.CancelJobRequest(job_id=job), timeout=10),
    lambda client, job: client.processor.BatchAddItems(
        pb.BatchAddItemsRequest(job_id=job, items=raw_items(1)), timeout=10
    ),
    lambda client, job: client.tracker.GetProgress(tracker_pb2.GetProgressRequest(job_id=job), timeout=10),
    lambda client, job: list(
        client.tracker.WatchProgress(tracker_pb2.WatchProgressRequest(job_id=job), timeout=10)
    ),
]


def test_a_job_does_not_exist_for_another_tenant(tenants: tuple[FactoryClient, FactoryClient]) -> None:
    """Whatever asks for another tenant's job, its progress or its results is answered NOT_FOUND."""
    owner, other = tenants
    job_id = owner.submit(raw_items(2, "secret"))
    job = owner.wait(job_id)
    eventually(lambda: _progress_state(owner, job_id), lambda state: state == tracker_pb2.JOB_STATE_SUCCEEDED)
    for call in CALLS:
        with pytest.raises(grpc.RpcError) as caught:
            call(other, job_id)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    listed = other.processor.ListJobs(pb.ListJobsRequest(page_size=1_000), timeout=10).jobs
    told = other.tracker.ListProgress(tracker_pb2.ListProgressRequest(page_size=1_000), timeout=10).progress
    assert job_id not in {each.job_id for each in listed} | {each.job_id for each in told}
    assert owner.job(job_id) == job
    assert job.user == "ada"


def _progress_state(client: FactoryClient, job_id: str) -> tracker_pb2.JobState.ValueType:
    try:
        request = tracker_pb2.GetProgressRequest(job_id=job_id)
        return client.tracker.GetProgress(request, timeout=10).progress.state
    except grpc.RpcError:
        return tracker_pb2.JOB_STATE_UNSPECIFIED
