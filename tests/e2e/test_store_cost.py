"""What an item costs in the operations that a hosted database bills, all four services together."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.e2e.conftest import RunFactory
from tests.support.factory import PROCESSOR, Factory
from tests.support.factory_client import topic_items
from tests.support.firestore_emulator import Emulator, or_skipped, own_emulator
from tests.support.scrape import scrape

pytestmark = [pytest.mark.xdist_group("e2e-firestore"), pytest.mark.timeout(180)]
TOPICS = 100
PER_TOPIC = 8
MOST_WRITES, MOST_READS = 400, 300
"""Documents per 1,000 fresh items."""

USUAL_S = 6.0
"""What the job takes on two idle cores, and some more."""

AS_CONFIGURED = {
    "PROCESSOR_MAX_CONCURRENCY": "64",
    "PROCESSOR_COMMIT_INTERVAL_S": "1",
    "PROCESSOR_SETTLE_INTERVAL_S": "1.5",
    "PROCESSOR_POLL_S": "0.5",
    "PROCESSOR_LEASE_S": "15",
}
"""The defaults on Firestore, in place of the hurry of other tests."""


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """A Firestore emulator of the test's own."""
    with or_skipped(own_emulator()) as running:
        yield running


def operations(factory: Factory) -> Counter[str]:
    """Return what all services together have asked of their stores, by operation."""
    found: Counter[str] = Counter()
    for service in factory.services.values():
        for each in scrape(service).samples:
            if each.name == "store_operations_total":
                found[each.labels["operation"]] += round(each.value)
    return found


def test_an_item_costs_no_more_than_it_did(run_factory: RunFactory, emulator: Emulator) -> None:
    """A write or read more per item, per call or per look would be a multiple of what is allowed."""
    store = {
        "STORE_URL": f"firestore://factory-{uuid4().hex[:20]}/(default)",
        "FIRESTORE_EMULATOR_HOST": emulator.host,
    }
    with run_factory(latency_ms=200, env={"*": store, PROCESSOR: AS_CONFIGURED}) as factory:
        client = factory.client()
        items = topic_items(TOPICS)
        assert len(items) == TOPICS * PER_TOPIC
        before = operations(factory)
        began = time.monotonic()
        job_id = client.submit(items)
        while not (job := client.job(job_id)).HasField("finish_time"):
            time.sleep(1)  # each look is billed as well
        assert job.counts.succeeded == len(items)
        spent = operations(factory) - before
        # What is written once a second is written more often where everything takes longer.
        slowness = max(1.0, (time.monotonic() - began) / USUAL_S)
    each_1000 = 1_000 / len(items) / slowness
    assert spent["write"] * each_1000 <= MOST_WRITES
    assert spent["read"] * each_1000 <= MOST_READS
    assert spent["write"] >= len(items) / 50, "too few to be true: something is not counted"
