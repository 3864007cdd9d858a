"""What outlives a process: what was answered, also if it is killed the moment after; outcomes once stored."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
from contentfactory.optimizer.v1 import optimizer_pb2 as pb
from contentfactory.optimizer.v1 import optimizer_pb2_grpc as rpc

from tests.integration.optimizer.conftest import error_of, source
from tests.integration.optimizer.test_outcomes import outcome
from tests.support.backends import Database, on_durable_stores
from tests.support.processes import running_service


@on_durable_stores
async def test_a_killed_optimizer_keeps_what_it_answered(tmp_path: Path, database: Database) -> None:
    """Templates, the active version, the way back, request ids and decisions; stored outcomes count once."""
    env = {**database.env("optimizer"), "OPTIMIZER_FLUSH_INTERVAL_S": "0.05"}
    create = pb.CreateTemplateRequest(template_id="haiku", source=source(), request_id="r")
    ask = pb.OptimizeRequest(template_id="haiku", variables={"topic": "x"})
    get = pb.GetTemplateRequest(template_id="haiku")
    with running_service("optimizer", env, directory=tmp_path) as service:
        async with grpc.aio.insecure_channel(service.address) as channel:
            client = rpc.OptimizerServiceStub(channel)
            created = await client.CreateTemplate(create)
            await client.CreateTemplateVersion(
                pb.CreateTemplateVersionRequest(template_id="haiku", source=source("second"))
            )
            await client.ActivateVersion(pb.ActivateVersionRequest(template_id="haiku", version=2))
            await client.CreateTemplate(pb.CreateTemplateRequest(template_id="gone", source=source()))
            await client.DeleteTemplate(pb.DeleteTemplateRequest(template_id="gone"))
            before = (await client.GetTemplate(get)).template
            made = await client.Optimize(ask)
            batch = pb.BatchRecordOutcomesRequest(batch_id="b", outcomes=[outcome(made.decision_id)])
            scored = await client.BatchRecordOutcomes(batch)
            await records_of(client, 1)
        service.kill()
    with running_service("optimizer", env, directory=tmp_path) as service:
        async with grpc.aio.insecure_channel(service.address) as channel:
            client = rpc.OptimizerServiceStub(channel)
            assert (await client.GetTemplate(get)).template == before
            assert await client.CreateTemplate(create) == created
            assert await client.BatchRecordOutcomes(batch) == scored
            found = await client.GetTemplateVersion(pb.GetTemplateVersionRequest(template_id="haiku"))
            assert found.statistics.outcomes == 1
            again = await client.Optimize(ask)
            assert (again.decision_id, again.messages) == (made.decision_id, made.messages)
            gone = pb.GetTemplateRequest(template_id="gone")
            assert (await error_of(client.GetTemplate(gone))).reason == "TEMPLATE_NOT_FOUND"
            back = await client.RollbackTemplate(pb.RollbackTemplateRequest(template_id="haiku"))
            assert back.template.active_version == 1
        assert service.stop() == 0


async def records_of(
    client: rpc.OptimizerServiceAsyncStub, count: int, request: pb.ListQualityRecordsRequest | None = None
) -> list[pb.QualityRecord]:
    """Wait until so many records are listed, and return them."""
    async with asyncio.timeout(10):
        while True:
            answer = await client.ListQualityRecords(request or pb.ListQualityRecordsRequest())
            if len(answer.records) >= count:
                return list(answer.records)
            await asyncio.sleep(0.02)


@on_durable_stores
async def test_outcomes_of_the_last_interval_are_lost_by_a_kill_and_kept_by_a_stop(
    tmp_path: Path, database: Database
) -> None:
    """Lost ones are lost whole: sent again, they count. A graceful stop stores what waits."""
    slow = {**database.env("optimizer"), "OPTIMIZER_FLUSH_INTERVAL_S": "60"}
    ask = pb.OptimizeRequest(template_id="faq", variables={"topic": "x"})
    get = pb.GetTemplateVersionRequest(template_id="faq")
    kept = []
    for attempt in (1, 2, 3):
        with running_service("optimizer", slow, directory=tmp_path) as service:
            async with grpc.aio.insecure_channel(service.address) as channel:
                client = rpc.OptimizerServiceStub(channel)
                kept.append((await client.GetTemplateVersion(get)).statistics.outcomes)
                made = outcome((await client.Optimize(ask)).decision_id)
                await client.BatchRecordOutcomes(
                    pb.BatchRecordOutcomesRequest(batch_id="b", outcomes=[made], attempt=attempt)
                )
                assert (await client.GetTemplateVersion(get)).statistics.outcomes == 1
            if attempt == 1:
                service.kill()
            else:
                assert service.stop() == 0
    assert kept == [0, 0, 1]
