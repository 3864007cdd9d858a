"""A template version's contract and handlers: refused by field, immutable, told with every prompt."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from contentfactory.optimizer.v1 import optimizer_pb2 as pb
from contentfactory.optimizer.v1 import optimizer_pb2_grpc as rpc
from service_common.errors import ErrorKind

from tests.integration.optimizer.conftest import Start, error_of, source
from tests.support.backends import on_durable_stores

SCHEMA = json.dumps({"type": "object", "required": ["cards"]})
JSON = pb.OutputContract(
    json=pb.OutputContract.JsonForm(schema=SCHEMA), characters=pb.OutputContract.Bounds(min=2, max=4000)
)
MARKDOWN = pb.OutputContract(
    markdown=pb.OutputContract.MarkdownForm(
        headings=["Summary", "Next steps"], sections=pb.OutputContract.Bounds(max=4)
    ),
    words=pb.OutputContract.Bounds(min=10),
    items=pb.OutputContract.Bounds(min=1, max=3),
)


def demanding(contract: pb.OutputContract, *handlers: str) -> pb.TemplateSource:
    """Return a source that demands something."""
    made = source()
    made.output_contract.CopyFrom(contract)
    made.handlers.extend(handlers)
    return made


@on_durable_stores
@pytest.mark.parametrize("contract", [JSON, MARKDOWN], ids=["json", "markdown"])
async def test_a_contract_comes_back_as_it_was_made(start: Start, contract: pb.OutputContract) -> None:
    """From creation, from the store of another process, with every prompt and with the watch."""
    made = demanding(contract, "json_pretty", "ours")
    client = await (await start()).client()
    created = await client.CreateTemplate(pb.CreateTemplateRequest(template_id="cards", source=made))
    assert _demands(created.version.source) == _demands(made)
    other = await (await start()).client()
    read = await other.GetTemplateVersion(pb.GetTemplateVersionRequest(template_id="cards"))
    assert _demands(read.version.source) == _demands(made)
    prompt = await other.Optimize(pb.OptimizeRequest(template_id="cards", variables={"topic": "x"}))
    assert (prompt.output_contract, list(prompt.handlers)) == (contract, ["json_pretty", "ours"])
    watched = [
        _demands(each.version.source)
        async for frame in _until_synchronized(other)
        for each in frame.active_versions
        if each.version.template_id == "cards"
    ]
    assert watched == [_demands(made)]


def _demands(made: pb.TemplateSource) -> tuple[pb.OutputContract, list[str]]:
    return made.output_contract, list(made.handlers)


async def _until_synchronized(
    client: rpc.OptimizerServiceAsyncStub,
) -> AsyncIterator[pb.WatchActiveVersionsResponse]:
    async for frame in client.WatchActiveVersions(pb.WatchActiveVersionsRequest()):
        yield frame
        if frame.synchronized:
            return


async def test_a_version_without_demands_has_none(client: rpc.OptimizerServiceAsyncStub) -> None:
    """Neither the built-in templates nor raw prompts demand anything."""
    raw = pb.RawPrompt(messages=source().messages, sampling=source().sampling)
    for request in (
        pb.OptimizeRequest(template_id="faq", variables={"topic": "x"}),
        pb.OptimizeRequest(raw=raw),
    ):
        prompt = await client.Optimize(request)
        assert not prompt.HasField("output_contract")
        assert not prompt.handlers


async def test_another_contract_is_another_version(client: rpc.OptimizerServiceAsyncStub) -> None:
    """The first one keeps what it demands; a repeated request gets its first answer."""
    await client.CreateTemplate(pb.CreateTemplateRequest(template_id="cards", source=demanding(JSON)))
    request = pb.CreateTemplateVersionRequest(
        template_id="cards", source=demanding(MARKDOWN), request_id="again"
    )
    added = await client.CreateTemplateVersion(request)
    assert (await client.CreateTemplateVersion(request)).version == added.version
    first = await client.GetTemplateVersion(pb.GetTemplateVersionRequest(template_id="cards", version=1))
    assert first.version.source.output_contract == JSON
    assert added.version.source.output_contract == MARKDOWN


@pytest.mark.parametrize(
    ("made", "field"),
    [
        (demanding(pb.OutputContract()), "output_contract"),
        (
            demanding(pb.OutputContract(json=pb.OutputContract.JsonForm(schema='{"pattern": "(?=x)"}'))),
            "output_contract.json.schema",
        ),
        (
            demanding(
                pb.OutputContract(json=pb.OutputContract.JsonForm(schema='{"$ref": "https://x.example"}'))
            ),
            "output_contract.json.schema",
        ),
        (
            demanding(pb.OutputContract(markdown=pb.OutputContract.MarkdownForm(headings=["a", ""]))),
            "output_contract.markdown.headings[1]",
        ),
        (
            demanding(pb.OutputContract(words=pb.OutputContract.Bounds(min=3, max=2))),
            "output_contract.words.max",
        ),
        (demanding(JSON, "ours", "No Name"), "handlers[1]"),
        (demanding(JSON, *["ours"] * 9), "handlers"),
    ],
)
async def test_a_bad_demand_is_named(
    client: rpc.OptimizerServiceAsyncStub, made: pb.TemplateSource, field: str
) -> None:
    """When the template is made, with INVALID_ARGUMENT, and nothing is created."""
    error = await error_of(client.CreateTemplate(pb.CreateTemplateRequest(template_id="cards", source=made)))
    assert error.kind is ErrorKind.INVALID_ARGUMENT
    assert [each.field for each in error.violations] == [f"source.{field}"]
    missing = await error_of(client.GetTemplate(pb.GetTemplateRequest(template_id="cards")))
    assert missing.kind is ErrorKind.NOT_FOUND
