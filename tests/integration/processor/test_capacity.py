"""Capacity as an operator sees it: each model's limit and what holds it, in GetCapacity and Prometheus."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from contentfactory.processor.v1 import processor_pb2 as pb

from tests.integration.conftest import NewDatabase
from tests.integration.processor.conftest import MODEL, Client, Factory, a_factory, raw_item, scraped

PATIENCE_S = 30


@pytest.fixture
def narrow(new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    """A processor whose endpoint the test makes as narrow as it wants."""
    database = new_database(tmp_path_factory.mktemp("narrow"))
    with a_factory(database, PROCESSOR_MAX_CONCURRENCY="32") as running:
        yield running


def _lane(client: Client) -> pb.GetCapacityResponse.Lane:
    capacity = client.GetCapacity(pb.GetCapacityRequest())
    return next((each for each in capacity.lanes if each.model == MODEL), pb.GetCapacityResponse.Lane())


def _until(
    client: Client, true: Callable[[pb.GetCapacityResponse.Lane], bool]
) -> pb.GetCapacityResponse.Lane:
    """Wait until the lane stands so."""
    gives_up_at = time.monotonic() + PATIENCE_S
    while not true(lane := _lane(client)):
        assert time.monotonic() < gives_up_at, lane
        time.sleep(0.05)
    return lane


def _started(client: Client, items: list[pb.JobItem]) -> str:
    job_id = client.new_job(items)
    client.start(job_id)
    return job_id


def test_refusals_hold_a_limit_and_are_named(narrow: Factory) -> None:
    """Where five calls are borne the limit rests there and says by whom; it pauses, and comes back."""
    narrow.mock.script({"fault": "slow", "latency_ms": 100})
    narrow.mock.bear({"concurrent": 5})
    client = narrow.client()
    job_id = _started(client, [raw_item(f"refused-{number}") for number in range(3000)])
    refused = pb.LIMIT_CAUSE_REFUSED
    lane = _until(client, lambda lane: lane.cause == refused and lane.held_for.seconds >= 2)

    assert 3 <= lane.limit <= 7
    assert lane.explanation.startswith(f"held at {lane.limit} by 429s from {narrow.mock.url}, ")
    capacity = client.GetCapacity(pb.GetCapacityRequest())
    assert (capacity.concurrency_limit, capacity.bottleneck) == (32, pb.BOTTLENECK_ENDPOINT)
    assert "by 429s from" in capacity.explanation
    assert 3 <= scraped(narrow, "parallel_concurrency_limit", model=MODEL) <= 7
    assert scraped(narrow, "parallel_concurrency_limit_cause", model=MODEL, cause="refused") == 1
    assert scraped(narrow, "parallel_concurrency_limit_cause", model=MODEL) == 1

    narrow.mock.bear({"concurrent": 0})
    assert "paused by 429s" in _until(client, lambda lane: lane.limit == 0).explanation
    narrow.mock.bear()
    _until(client, lambda lane: lane.limit >= 16)
    client.CancelJob(pb.CancelJobRequest(job_id=job_id))


def test_rate_limit_headers_are_kept(narrow: Factory) -> None:
    """An endpoint that tells its rate gets no more than that, idle before or not: no request is refused."""
    narrow.mock.bear({"requests_per_minute": 1200, "burst_s": 2, "headers": "openai"})
    client = narrow.client()
    client.finish(_started(client, [raw_item("first")]))
    time.sleep(1.5)  # what it saves up meanwhile is a burst of 40, not the 1,200 of its limit
    items = [raw_item(f"rated-{number}") for number in range(150)]
    began = time.monotonic()
    results = client.finish(_started(client, items))
    took_s = time.monotonic() - began

    assert len(results) == len(items)
    assert narrow.mock.counts()["statuses"] == {"200": len(items) + 1}
    assert took_s >= (len(items) - 40) / 20  # a burst of 40, and 20 a second
