"""`factory quality` over a real optimizer: the records as a table and as JSON, filtered and in order."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from contentfactory.optimizer.v1 import optimizer_pb2 as pb
from contentfactory.optimizer.v1 import optimizer_pb2_grpc as rpc

from tests.integration.cli.conftest import Run
from tests.integration.optimizer.test_outcomes import decide, outcome
from tests.integration.optimizer.test_quality_records import of_quality
from tests.integration.optimizer.test_restart import records_of
from tests.support.processes import running_service


@pytest.fixture
async def reported(environ: dict[str, str], tmp_path: Path) -> AsyncIterator[None]:
    """An optimizer to which five FAQs, one of them failed, and an outline were reported."""
    quick = {"OPTIMIZER_FLUSH_INTERVAL_S": "0.05"}
    with running_service("optimizer", quick, directory=tmp_path / "optimizer") as service:
        async with grpc.aio.insecure_channel(service.address) as channel:
            client = rpc.OptimizerServiceStub(channel)
            faq = await decide(client)
            outcomes = [of_quality(faq, repeats) for repeats in (0, 40, 3, 12)]
            outcomes += [outcome(faq, pb.Outcome.STATUS_FAILED), outcome(await decide(client, "outline"))]
            await client.BatchRecordOutcomes(pb.BatchRecordOutcomesRequest(batch_id="b", outcomes=outcomes))
            await records_of(client, len(outcomes))
        environ["FACTORY_OPTIMIZER"] = service.address
        yield


@pytest.mark.usefixtures("reported")
async def test_records_are_listed_as_asked(factory: Run) -> None:
    """Latest first, or the worst first; by type and version; as many as wanted."""
    everything = [json.loads(line) for line in (await factory("quality", "--json")).out.splitlines()]
    assert [each["content_type"] for each in everything] == ["outline", *["faq"] * 5]
    assert (everything[1]["status"], everything[1]["score"], everything[1]["aspects"]) == ("failed", None, {})
    worst = (await factory("quality", "--type", "faq", "--worst", "--json")).out.splitlines()
    scores = [json.loads(line)["score"] for line in worst]
    assert [int(each * 20) for each in scores] == sorted(int(each * 20) for each in scores)
    assert len(scores) == 4
    one = await factory("quality", "--template", "faq@1", "--min", "0.01", "--limit", "1", "--json")
    assert [json.loads(line)["template_id"] for line in one.out.splitlines()] == ["faq"]
    table = (await factory("quality")).out
    assert len(table.splitlines()) == 7
    assert "faq@1" in table
    nothing = await factory("quality", "--type", "limerick")
    assert (nothing.code, nothing.out) == (0, "")


@pytest.mark.usefixtures("reported")
async def test_what_cannot_be_asked_is_said_in_a_line(factory: Run) -> None:
    """A version that is none, an order without a type: no traceback, and what would be right."""
    for arguments, hint in ((("--template", "faq"), "faq@2"), (("--worst",), "content_type")):
        ended = await factory("quality", *arguments)
        assert ended.code != 0
        assert hint in ended.err
        assert "Traceback" not in ended.err
