"""A neighbour that dies in the middle of a job costs nothing: not an item, not a second call, not the job."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from contentfactory.processor.v1 import processor_pb2 as pb
from contentfactory.tracker.v1 import tracker_pb2

from tests.support.bill import bill, completed
from tests.support.factory import NEIGHBOURS, PROCESSOR, Factory, eventually
from tests.support.factory_client import FactoryClient, raw_items, topic_items
from tests.support.scrape import scrape

pytestmark = pytest.mark.xdist_group("e2e-neighbours")
FACTORY = {"latency_ms": 150, "env": {"processor": {"PROCESSOR_MAX_CONCURRENCY": "8"}}}
TOPICS = 8


@pytest.mark.parametrize("restarted", [True, False], ids=["restarted", "gone"])
@pytest.mark.parametrize("name", NEIGHBOURS)
def test_a_killed_neighbour_costs_no_item_and_no_second_call(
    shared_factory: Factory, name: str, *, restarted: bool
) -> None:
    """Whoever dies while a job runs: each item succeeds once, is paid once, and the tracker hears of it."""
    factory = shared_factory
    client = factory.client()
    paid_before = completed(factory.model_log())
    items = topic_items(TOPICS, f"{name} restarted={restarted}")
    job_id = client.submit(items)
    eventually(lambda: client.finished_items(job_id), lambda finished: finished >= 8)

    factory.kill(name)
    if restarted:
        factory.restart(name)
    results = client.results(job_id)
    job = client.wait(job_id)
    paid = completed(factory.model_log())[len(paid_before) :]
    if not restarted:
        factory.restart(name)  # for the next test

    assert Counter(each.item_id for each in results) == Counter(each.item_id for each in items)
    assert job.counts.succeeded == len(items) == len(paid) == len({each.digest for each in paid})
    assert job.usage.cost_micros == bill(paid)
    assert job.usage.uncertain_calls == 0
    held = ("JOB_STATE_SUCCEEDED", len(paid), bill(paid), Counter(each.item_id for each in items))
    eventually(lambda: _told(client, job_id), lambda told: told == held, timeout_s=30)


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_a_breaker_opens_with_its_neighbour_gone_and_closes_by_itself(
    shared_factory: Factory, name: str
) -> None:
    """Jobs, the only traffic, open the breaker, do not fail, and close it when the neighbour is back."""
    factory = shared_factory
    client = factory.client()

    def breaker_after_a_job() -> str:
        time.sleep(0.1)  # jobs are traffic here, not a load that would hold the neighbour up once it is back
        results = client.results(client.submit(raw_items(2, f"traffic without {name}")))
        assert {each.state for each in results} == {pb.ITEM_STATE_SUCCEEDED}
        return client.breakers()[name]

    factory.kill(name)
    eventually(breaker_after_a_job, lambda state: state == "BREAKER_STATE_OPEN")
    assert _shown(factory, name) > 0
    factory.restart(name)
    eventually(breaker_after_a_job, lambda state: state == "BREAKER_STATE_CLOSED")
    assert _shown(factory, name) == 0


def _shown(factory: Factory, name: str) -> float:
    """Return what the metric says of a neighbour's breaker."""
    labels = {"neighbour": name, "target": factory.address(name)}
    return scrape(factory.services[PROCESSOR]).value("circuit_breaker_state", **labels)


def _told(client: FactoryClient, job_id: str) -> tuple[str, int, int, Counter[str]]:
    """Return what the tracker says of a job: its state, calls and cost, and the items that ended."""
    progress = client.tracker.GetProgress(
        tracker_pb2.GetProgressRequest(job_id=job_id), timeout=10, wait_for_ready=True
    ).progress
    watch = tracker_pb2.WatchProgressRequest(job_id=job_id, mode=tracker_pb2.WATCH_MODE_EVENTS)
    ended: Counter[str] = Counter()
    for frame in client.tracker.WatchProgress(watch, timeout=10):
        ended.update(each.item.item_id for each in frame.events if each.HasField("item"))
        if frame.events and frame.events[-1].sequence >= progress.last_sequence:
            break  # the job may not be finished yet
    totals = progress.totals
    return tracker_pb2.JobState.Name(progress.state), totals.model_calls, totals.cost_micros, ended
