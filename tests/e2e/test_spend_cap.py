"""The cap holds by the endpoint's own bill, over two processors and through the death of one."""

from __future__ import annotations

import pytest
from contentfactory.processor.v1 import processor_pb2 as pb

from tests.e2e.conftest import RunFactory
from tests.support.bill import abandoned, bill, completed
from tests.support.factory import PROCESSOR, eventually
from tests.support.factory_client import raw_items

pytestmark = pytest.mark.xdist_group("e2e-processors")
SLOTS = 16
ENV = {"processor": {"PROCESSOR_MAX_CONCURRENCY": str(SLOTS)}}
CAP = 200_000
"""What the endpoint charges for about two hundred of the items."""


def test_a_killed_processor_does_not_lead_beyond_the_cap(run_factory: RunFactory) -> None:
    """What was out when it died counts at its worst; the other processor spends what is left, and no more."""
    with run_factory(latency_ms=200, env=ENV) as factory:
        factory.add_processor("second")
        client = factory.client("second")
        items = raw_items(4 * 96)
        created = client.processor.CreateJob(pb.CreateJobRequest(terms=pb.JobTerms(max_cost_micros=CAP)))
        job_id = created.job.job_id
        client.processor.BatchAddItems(pb.BatchAddItemsRequest(job_id=job_id, items=items))
        client.start(job_id)
        eventually(lambda: client.finished_items(job_id), lambda finished: finished >= 2 * SLOTS)
        eventually(lambda: factory.model.counts()["in_flight"])
        factory.kill(PROCESSOR)
        job = client.wait(job_id)
        lines = factory.model_log()
        billed = bill(completed(lines)) + bill(abandoned(lines))
        used = job.usage.cost_micros + job.usage.uncertain_spend_micros
        assert abandoned(lines), "no call was in flight: the test shows nothing"
        assert job.usage.uncertain_calls
        assert billed <= used <= CAP
        assert job.reserved_micros == 0
        assert 0 < job.counts.succeeded < len(items)
        refused = {each.error.reason for each in client.results(job_id) if not each.HasField("piece")}
        assert refused == {"BUDGET_EXHAUSTED"}
