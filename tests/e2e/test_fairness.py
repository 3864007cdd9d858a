"""Tenants share the endpoint in tokens, urgent jobs overtake, and the tracker knows where jobs stand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from contentfactory.processor.v1 import processor_pb2 as pb
from contentfactory.tracker.v1 import tracker_pb2

from tests.e2e.conftest import RunFactory
from tests.support.bill import Line, completed
from tests.support.factory import PROCESSOR, Factory, eventually

SLOTS = 4
TENANTS = ("many", "few")
OPTIONS = {
    "tokens": [{"token": name, "tenant": name, "user": "ann"} for name in TENANTS],
    "env": {PROCESSOR: {"PROCESSOR_MAX_CONCURRENCY": str(SLOTS), "PROCESSOR_PRICES_FILE": ""}},
    "latency_ms": 30,
    "text_characters": 2_000,
}


def items(tenant: str, number: int, *, tokens: int) -> list[pb.JobItem]:
    """Return items that stand in one model's line; the length of their answers tells whose they are."""
    made: list[pb.JobItem] = []
    for each in range(number):
        item = pb.JobItem(item_id=f"item-{each}")
        item.spec.raw.max_tokens = tokens
        item.spec.raw.messages.add(role=pb.ChatMessage.ROLE_USER, content=f"{tenant} {each}")
        made.append(item)
    return made


def tokens_of(lines: Sequence[Line], output_tokens: int) -> int:
    """Return what the endpoint counted of the answers of one length."""
    same = [each for each in lines if each.output_tokens == output_tokens]
    return sum(each.prompt_tokens + each.output_tokens for each in same)


@pytest.mark.parametrize("processors", [1, 2])
def test_a_small_backlog_of_large_items_and_a_large_one_of_small_items_are_served_alike(
    run_factory: RunFactory, processors: int
) -> None:
    """While both have a backlog, either has half of the tokens, with one processor and with two."""
    with run_factory(**OPTIONS) as factory:
        for number in range(1, processors):
            factory.add_processor(f"processor-{number}")
        factory.client(token="many").submit(items("many", 4_000, tokens=10))
        few = factory.client(token="few")
        job_id = few.submit(items("few", 300, tokens=100))
        few.wait(job_id)
        lines = completed(factory.model_log())
    served = [at for at, each in enumerate(lines) if each.output_tokens == 100]
    both = lines[served[10] : served[180]]  # neither while it begins, nor while it runs out at one processor
    assert 0.75 <= tokens_of(both, 100) / tokens_of(both, 10) <= 1.33


def overtaken(factory: Factory, tenant: str) -> int:
    """Start an urgent job of a tenant; return how many other calls are answered before its first."""
    client = factory.client(token=tenant)
    job_id = client.draft(items("urgent", 1, tokens=30), priority=pb.JOB_PRIORITY_URGENT)
    before = len(factory.model_log())
    client.start(job_id)
    client.wait(job_id)
    later = [each.output_tokens for each in completed(factory.model_log()[before:])]
    return later.index(30)


@pytest.mark.parametrize("tenant", TENANTS)
def test_an_urgent_job_overtakes_what_is_queued(run_factory: RunFactory, tenant: str) -> None:
    """Of its own tenant and of another, over many jobs: it is among the next to be served."""
    with run_factory(**{**OPTIONS, "latency_ms": 100}) as factory:
        busy = factory.client(token="many")
        for _ in range(20):
            busy.submit(items("many", 100, tokens=20))
        eventually(lambda: len(factory.model_log()) > SLOTS)
        assert overtaken(factory, tenant) < 100
        left = 20 * 100 - tokens_of(completed(factory.model_log()), 20) // 20
        assert left > 1_000, "there was still a queue to overtake"


def test_the_tracker_knows_where_jobs_stand(run_factory: RunFactory) -> None:
    """The job that is served and the one that waits behind it have a place, a priority and a time."""
    with run_factory(**{**OPTIONS, "latency_ms": 200}) as factory:
        client = factory.client(token="few")
        first = client.submit(items("few", 200, tokens=20), priority=pb.JOB_PRIORITY_HIGH)
        second = client.submit(items("few", 50, tokens=30), priority=pb.JOB_PRIORITY_LOW)

        def standing(job_id: str) -> tracker_pb2.QueueStanding:
            request = tracker_pb2.GetProgressRequest(job_id=job_id)
            return client.tracker.GetProgress(request, timeout=10).progress.queue

        ahead = eventually(lambda: standing(first), lambda each: each.position > 0)
        behind = eventually(lambda: standing(second), lambda each: each.position > 0)
        assert (ahead.priority, behind.priority) == (
            tracker_pb2.JOB_PRIORITY_HIGH,
            tracker_pb2.JOB_PRIORITY_LOW,
        )
        assert ahead.position < behind.position
        assert behind.waiting_since.seconds >= client.job(second).start_time.seconds
