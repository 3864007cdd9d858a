"""The figures on the metrics endpoints are those that the client and the model endpoint counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import grpc
import pytest
from contentfactory.processor.v1 import processor_pb2 as pb
from contentfactory.tracker.v1 import tracker_pb2

from tests.e2e.conftest import RunFactory
from tests.support.bill import bill, completed
from tests.support.factory import MODEL, PROCESSOR, Factory, eventually
from tests.support.factory_client import FactoryClient, raw_item
from tests.support.scrape import Scrape, scrape

pytestmark = pytest.mark.xdist_group("e2e-neighbours")
ESSAYS, POEMS = 12, 6
RULES = [
    {"fault": "invalid", "contains": "refused"},
    {"fault": "filtered_output", "contains": "filtered"},
    {"fault": "empty", "contains": "empty", "times": 2},
]
FAULTY = ["refused 1", "refused 2", "filtered", "empty 1", "empty 2"]
PROCESSOR_SERVICE = "contentfactory.processor.v1.ProcessorService"


@dataclass(frozen=True, slots=True)
class Load:
    """What the client itself saw of one job."""

    job: pb.Job
    results: Sequence[pb.ItemResult]
    events: Sequence[tracker_pb2.ProgressEvent]


def _items() -> list[pb.JobItem]:
    essays = [raw_item(f"essay-{n}", f"essay {n}", content_type="essay") for n in range(ESSAYS)]
    poems = [raw_item(f"poem-{n}", f"poem {n}", content_type="poem") for n in range(POEMS)]
    return essays + poems


def _run(client: FactoryClient, items: Sequence[pb.JobItem]) -> Load:
    """Run one job and count everything about it from outside."""
    job_id = client.submit(items)
    results = client.results(job_id)
    job = client.wait(job_id)
    watch = tracker_pb2.WatchProgressRequest(
        job_id=job_id, mode=tracker_pb2.WATCH_MODE_EVENTS, wait_for_job=True
    )
    events = [event for frame in client.tracker.WatchProgress(watch, timeout=30) for event in frame.events]
    return Load(job, results, events)


def _scrape(factory: Factory) -> dict[str, Scrape]:
    return {name: scrape(service) for name, service in factory.services.items()}


def test_scraped_values_equal_independent_counts(run_factory: RunFactory) -> None:
    """Over a cold run, a warm run, faults and one Generate, each metric says what client and endpoint say."""
    with run_factory(rules=RULES) as factory:
        client = factory.client()
        cold = _run(client, _items())
        after_cold = _scrape(factory)
        warm = _run(client, _items())
        after_warm = _scrape(factory)
        faulty = _run(client, [raw_item(name.replace(" ", "-"), name) for name in FAULTY])
        request = pb.GenerateRequest(spec=raw_item("now", "at once").spec)
        piece = client.processor.Generate(request, timeout=10).piece
        with pytest.raises(grpc.RpcError):
            client.job("no-such-job")
        after_all = _scrape(factory)

        _check_cache(after_cold["cache"], after_warm["cache"], after_all["cache"])
        _check_items(after_all[PROCESSOR], [cold, warm, faulty])
        spent = sum(load.job.usage.cost_micros for load in (cold, warm, faulty)) + piece.cost_micros
        assert spent == bill(completed(factory.model_log()))
        _check_money(after_all[PROCESSOR], factory, cold)
        _check_progress(after_all["tracker"], [cold, warm, faulty])
        _check_calls(after_all[PROCESSOR])
        assert after_all[PROCESSOR].value("circuit_breaker_state") == 0


def _check_cache(cold: Scrape, warm: Scrape, end: Scrape) -> None:
    """A cold run finds nothing, a warm run everything; failed items have no entry."""
    distinct = ESSAYS + POEMS
    assert cold.value("content_cache_hits_total") == 0
    assert cold.value("content_cache_items_total") == distinct
    assert cold.value("content_cache_misses_total") >= distinct
    assert warm.since(cold, "content_cache_hits_total") == distinct
    assert warm.since(cold, "content_cache_misses_total") == 0
    assert end.since(warm, "content_cache_hits_total") == 0
    assert (
        end.value("content_cache_items_total") == distinct + 2 + 1
    )  # two that were empty at first, and the one of Generate
    assert end.value("content_cache_leases") == 0


def _check_items(shown: Scrape, loads: Sequence[Load]) -> None:
    """Items by state and by whether they were cached, as their results say."""
    results = [result for load in loads for result in load.results]
    expected = Counter((pb.ItemState.Name(each.state), each.piece.cached) for each in results)
    for (state, cached), count in expected.items():
        labels = {"state": state.removeprefix("ITEM_STATE_"), "cached": str(cached).lower()}
        assert shown.value("parallel_items_total", **labels) == count
    assert shown.value("parallel_items_total") == len(results)
    assert shown.value("parallel_task_duration_seconds_count") == len(results)
    assert shown.value("parallel_active_workers") == shown.value("parallel_queue_size") == 0
    assert shown.value("parallel_memory_usage_mb") > 1


def _check_money(shown: Scrape, factory: Factory, cold: Load) -> None:
    """Spend and tokens as the endpoint billed them, split by content type as the results say."""
    paid = completed(factory.model_log())
    assert shown.value("model_spend_micros_total") == bill(paid)
    for content_type in ("essay", "poem"):
        micros = sum(
            each.piece.cost_micros for each in cold.results if each.piece.content_type == content_type
        )
        labels = {"model": MODEL, "content_type": content_type}
        assert shown.value("model_spend_micros_total", **labels) == micros
    assert shown.value("model_tokens_total", kind="prompt") == sum(each.prompt_tokens for each in paid)
    assert shown.value("model_tokens_total", kind="output") == sum(each.output_tokens for each in paid)


def _check_progress(shown: Scrape, loads: Sequence[Load]) -> None:
    """Updates by kind as a watcher received them, durations once per generated item."""
    events = [event for load in loads for event in load.events]
    kinds = Counter(each.WhichOneof("event") for each in events)
    assert kinds["item"] == sum(len(load.results) for load in loads)
    assert shown.value("progress_updates_total", kind="item") == kinds["item"]
    assert shown.value("progress_updates_total", kind="job") == kinds["job"]
    assert shown.value("generation_duration_seconds_count", content_type="essay") == ESSAYS
    assert shown.value("generation_duration_seconds_count", content_type="poem") == POEMS


def _check_calls(shown: Scrape) -> None:
    """Calls by method and code, as the client made them."""

    def handled(method: str, code: str = "OK") -> float:
        labels = {"grpc_service": PROCESSOR_SERVICE, "grpc_method": method, "grpc_code": code}
        return shown.value("grpc_server_handled_total", **labels)

    for method in ("CreateJob", "BatchAddItems", "StartJob", "StreamResults"):
        assert handled(method) == 3
    assert handled("GetJob", "NOT_FOUND") == 1
    assert handled("Generate") == 1
    assert handled("CancelJob") == 0


def test_gauges_follow_the_work(run_factory: RunFactory) -> None:
    """While calls hang, active workers are the endpoint's calls in flight; an outage shows on the breaker."""
    env = {PROCESSOR: {"PROCESSOR_MAX_CONCURRENCY": "4", "PROCESSOR_MODEL_TIMEOUT_S": "60"}}
    with run_factory(rules=[{"fault": "hang"}], env=env) as factory:
        client = factory.client()
        job_id = client.submit([raw_item(f"item-{n}", f"hangs {n}") for n in range(10)])
        eventually(lambda: factory.model.counts()["in_flight"], lambda calls: calls == 4)
        shown = scrape(factory.services[PROCESSOR])
        assert shown.value("parallel_active_workers") == 4
        assert shown.value("parallel_queue_size") == 6
        client.processor.CancelJob(pb.CancelJobRequest(job_id=job_id), timeout=10)
        client.wait(job_id)
        factory.model.script({"fault": "server_error"})
        client.submit([raw_item(f"item-{n}", f"fails {n}") for n in range(40)])
        eventually(lambda: _model_breaker(factory), lambda state: state == 2)
        factory.model.script()
        client.submit([raw_item(f"item-{n}", f"works {n}") for n in range(10)])
        eventually(lambda: _model_breaker(factory), lambda state: state == 0)


def _model_breaker(factory: Factory) -> float:
    return scrape(factory.services[PROCESSOR]).value("circuit_breaker_state", neighbour="model")
