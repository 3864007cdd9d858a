"""One trace tells the whole way of a job: client, processor, optimizer, cache, model, tracker."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import RunFactory
from tests.support.factory import PROCESSOR, eventually
from tests.support.factory_client import topic_items
from tests.support.otlp_receiver import OtlpReceiver, otlp_receiver

pytestmark = pytest.mark.xdist_group("e2e-processors")
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
CLIENT_SPAN = "00f067aa0ba902b7"
NEEDED = {
    (PROCESSOR, "contentfactory.processor.v1.ProcessorService/StartJob"),
    (PROCESSOR, "shard.run"),
    (PROCESSOR, "model.generate"),
    ("optimizer", "contentfactory.optimizer.v1.OptimizerService/BatchOptimize"),
    ("optimizer", "contentfactory.optimizer.v1.OptimizerService/BatchRecordOutcomes"),
    ("cache", "contentfactory.cache.v1.CacheService/BatchGet"),
    ("cache", "contentfactory.cache.v1.CacheService/BatchAcquire"),
    ("cache", "contentfactory.cache.v1.CacheService/BatchFill"),
    ("tracker", "contentfactory.tracker.v1.TrackerService/BatchReportProgress"),
}


def _seen(receiver: OtlpReceiver) -> set[tuple[str, str]]:
    return {(each.service, each.name) for each in receiver.trace(TRACE_ID)}


def test_a_job_is_one_trace_from_the_client_to_the_model(run_factory: RunFactory) -> None:
    """Every span hangs below the client's; neighbours and model are called from spans of the processor."""
    with otlp_receiver() as receiver:
        env = {"*": {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"}}
        with run_factory(keep=100, env=env) as factory:
            client = factory.client()
            items = topic_items(1)
            job_id = client.draft(items)
            client.start(job_id, traceparent=f"00-{TRACE_ID}-{CLIENT_SPAN}-01")
            client.results(job_id)
            eventually(lambda: _seen(receiver), lambda seen: seen >= NEEDED, timeout_s=20)
            traceparents = [each["headers"]["traceparent"] for each in factory.model.requests()]
        # The factory has ended, so every span is here.
        spans = {each.span_id: each for each in receiver.trace(TRACE_ID)}
        assert {each.parent_id for each in spans.values()} <= spans.keys() | {CLIENT_SPAN}
        for each in spans.values():
            if each.is_server and each.service != PROCESSOR:
                assert spans[each.parent_id].service == PROCESSOR, each
        started = [each for each in spans.values() if each.name.endswith("/StartJob")]
        assert [each.parent_id for each in started] == [CLIENT_SPAN]
        called_by = [spans[each.split("-")[2]] for each in traceparents]
        assert {each.split("-")[1] for each in traceparents} == {TRACE_ID}
        assert [each.name for each in called_by] == ["model.generate"] * len(items)
