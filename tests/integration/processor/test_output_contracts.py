"""Contracts and handlers in a real processor: by template and by item, in jobs and for Generate."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from uuid import uuid4

import grpc
import pytest
from contentfactory.optimizer.v1 import optimizer_pb2, optimizer_pb2_grpc
from contentfactory.processor.v1 import processor_pb2 as pb

from tests.integration.conftest import NewDatabase
from tests.integration.processor.conftest import (
    Client,
    Factory,
    a_factory,
    error_of,
    kind_and_reason,
    raw,
    raw_item,
    tokens_file,
)
from tests.support.processes import running_service

SCHEMA = json.dumps({"type": "object", "required": ["cards"], "properties": {"cards": {"type": "array"}}})
CONTRACT = pb.OutputContract(json=pb.OutputContract.JsonForm(schema=SCHEMA))
GOOD, FENCED, BAD = '{"cards": [1]}', 'Sure!\n```json\n{"cards": [1]}\n```', '{"cards": 1}'
OURS = """
import time

async def greet(text, subject):
    return f"{subject.content_type}: {text}"

def slow(text, subject):
    time.sleep(0.2)
    return text

def fail(text, subject):
    raise ValueError(text)

def register(registry):
    registry.coroutine("greet", greet)
    registry.blocking("slow", slow)
    registry.blocking("fail", fail)
"""


@dataclass(frozen=True, slots=True)
class Ours:
    """A factory whose processor has handlers of its deployment's own, and its optimizer's address."""

    factory: Factory
    optimizer: str


@pytest.fixture(scope="module")
def ours(new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ours]:
    """Run it."""
    directory = tmp_path_factory.mktemp("handlers")
    (directory / "our_handlers.py").write_text(OURS)
    database = new_database(directory)
    auth = {"AUTH_TOKENS_FILE": str(tokens_file(directory))}
    with running_service("optimizer", auth | database.env("optimizer"), directory=directory) as optimizer:
        own = {"OPTIMIZER_TARGETS": optimizer.address, "PROCESSOR_HANDLERS": "our_handlers:register"}
        with a_factory(database, "cache", "tracker", **own) as running:
            yield Ours(running, optimizer.address)


def says(factory: Factory, words: str, *texts: str) -> None:
    """Let the endpoint answer calls with these words: each text once, the last for ever."""
    once = [{"fault": "says", "contains": words, "text": each, "times": 1} for each in texts[:-1]]
    factory.mock.script(*once, {"fault": "says", "contains": words, "text": texts[-1]})


def held(words: str, **fields: object) -> pb.PieceSpec:
    """Return the spec of a prompt whose output must be cards."""
    return raw(words, max_tokens=400, output_contract=CONTRACT, **fields)


def unique() -> str:
    """Return a prompt that nobody asked before."""
    return f"cards of {uuid4().hex}"


def test_a_malformed_output_is_mended_by_one_more_call(
    client: Client, factory: Factory, metric: Callable[..., float]
) -> None:
    """Both calls are on the bill; the good content is cached, also for whoever demands nothing."""
    words = unique()
    says(factory, words, BAD, FENCED)
    before = metric(factory, "parallel_output_repairs_total", outcome="mended")
    billed = factory.mock.counts()
    job, results = client.run([pb.JobItem(item_id="a", spec=held(words))])
    result = results["a"]
    assert (result.piece.content, result.piece.cached, result.attempts) == (GOOD, False, 2)
    after = factory.mock.counts()
    assert job.usage.model_calls == after["requests"] - billed["requests"] == 2
    assert job.usage.cost_micros == result.piece.cost_micros > 0
    assert metric(factory, "parallel_output_repairs_total", outcome="mended") == before + 1
    plain = client.Generate(pb.GenerateRequest(spec=raw(words, max_tokens=400))).piece
    assert (plain.content, plain.cached) == (GOOD, True)


def test_twice_malformed_fails_the_item_alone(
    client: Client, factory: Factory, metric: Callable[..., float]
) -> None:
    """The item fails with the findings, its neighbour goes on, its calls are paid, and nothing is cached."""
    words = unique()
    says(factory, words, BAD)
    before = metric(factory, "parallel_output_repairs_total", outcome="malformed")
    job, results = client.run([pb.JobItem(item_id="a", spec=held(words)), raw_item("b", unique())])
    assert results["a"].error.reason == "MALFORMED_OUTPUT"
    assert "$.cards" in results["a"].error.message
    assert results["b"].piece.content
    assert (job.usage.model_calls, job.counts.failed) == (3, 1)
    assert metric(factory, "parallel_output_repairs_total", outcome="malformed") == before + 1
    assert not client.Generate(pb.GenerateRequest(spec=raw(words, max_tokens=400))).piece.cached


def test_generate_says_what_is_malformed_and_replaces_what_is_cached(
    client: Client, factory: Factory
) -> None:
    """An entry made without the contract does not pass for one that meets it."""
    words = unique()
    says(factory, words, "prose")
    client.Generate(pb.GenerateRequest(spec=raw(words, max_tokens=400)))
    error = error_of(client.Generate, pb.GenerateRequest(spec=held(words)))
    assert kind_and_reason(error) == ("FAILED_PRECONDITION", "MALFORMED_OUTPUT")
    assert "it is not JSON" in error.message
    says(factory, words, GOOD)
    piece = client.Generate(pb.GenerateRequest(spec=held(words))).piece
    assert (piece.content, piece.cached) == (GOOD, False)
    again = client.Generate(pb.GenerateRequest(spec=held(words))).piece
    assert (again.content, again.cached) == (GOOD, True)


def test_the_cap_of_generate_holds_over_both_calls(client: Client, factory: Factory) -> None:
    """A second question that might exceed max_cost_micros is not asked."""
    words = unique()
    says(factory, words, BAD)
    error = error_of(client.Generate, pb.GenerateRequest(spec=held(words), max_cost_micros=1))
    worst = int(error.metadata["worst_case_micros"])
    before = factory.mock.counts()["requests"]
    error = error_of(client.Generate, pb.GenerateRequest(spec=held(words), max_cost_micros=worst))
    assert kind_and_reason(error) == ("FAILED_PRECONDITION", "MAX_COST_EXCEEDED")
    assert factory.mock.counts()["requests"] == before + 1


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (raw("x", output_contract=pb.OutputContract()), "output_contract"),
        (
            raw(
                "x",
                output_contract=pb.OutputContract(json=pb.OutputContract.JsonForm(schema='{"$ref": "#"}')),
            ),
            "output_contract.json.schema",
        ),
        (raw("x", handlers=["json_pretty", "nobody"]), "handlers[1]"),
        (raw("x", handlers=["json_pretty"] * 9), "handlers"),
    ],
)
def test_what_cannot_be_done_is_refused_by_field(client: Client, spec: pb.PieceSpec, field: str) -> None:
    """A contract that demands nothing, a hostile schema and unknown handlers are refused, by field."""
    error = error_of(client.Generate, pb.GenerateRequest(spec=spec))
    assert [each.field for each in error.violations] == [f"spec.{field}"]
    job_id = client.new_job()
    items = [pb.JobItem(item_id="a", spec=spec)]
    (result,) = client.BatchAddItems(pb.BatchAddItemsRequest(job_id=job_id, items=items)).results
    assert f"items[0].spec.{field}" in result.error.message


def new_template(ours: Ours, words: str, *handlers: str) -> str:
    """Create a template that demands cards and sends them through handlers; returns its id."""
    template_id = f"cards_{uuid4().hex[:8]}"
    source = optimizer_pb2.TemplateSource(
        messages=[
            optimizer_pb2.ChatMessage(
                role=optimizer_pb2.ChatMessage.ROLE_USER, content=f"{words} {{{{ topic }}}}"
            )
        ],
        variables=[optimizer_pb2.TemplateSource.Variable(name="topic")],
        sampling=optimizer_pb2.SamplingParameters(max_tokens=400),
        output_contract=optimizer_pb2.OutputContract(
            json=optimizer_pb2.OutputContract.JsonForm(schema=SCHEMA)
        ),
        handlers=handlers or ("json_pretty", "greet"),
    )
    with grpc.insecure_channel(ours.optimizer) as channel:
        optimizer_pb2_grpc.OptimizerServiceStub(channel).CreateTemplate(
            optimizer_pb2.CreateTemplateRequest(template_id=template_id, source=source),
            metadata=(("authorization", "Bearer acme-secret"),),
        )
    return template_id


def test_a_template_demands_and_handles(ours: Ours) -> None:
    """A version's contract and handlers hold for its pieces; an item's own handlers take their place."""
    client, words = ours.factory.client(), unique()
    template_id = new_template(ours, words)
    says(ours.factory, words, BAD, FENCED)
    spec = pb.PieceSpec(template_id=template_id, variables={"topic": "tides"})
    small = pb.PieceSpec(template_id=template_id, variables={"topic": "tides"}, handlers=["json_compact"])
    _, results = client.run(
        [
            pb.JobItem(item_id="a", spec=spec),
            pb.JobItem(item_id="b", spec=small),
        ]
    )
    pretty = f'{template_id}: {{\n  "cards": [\n    1\n  ]\n}}'
    assert {each.piece.content for each in results.values()} == {pretty, '{"cards":[1]}'}
    assert sorted(each.attempts for each in results.values()) == [0, 2]
    cached = client.Generate(pb.GenerateRequest(spec=spec)).piece
    assert (cached.content, cached.cached) == (pretty, True)


def test_a_templates_unknown_handler_costs_nothing(ours: Ours) -> None:
    """The optimizer cannot know which handlers there are; a piece that can never be finished is not begun."""
    client, words = ours.factory.client(), unique()
    spec = pb.PieceSpec(template_id=new_template(ours, words, "elsewhere"), variables={"topic": "tides"})
    before = ours.factory.mock.counts()["requests"]
    _, results = client.run([pb.JobItem(item_id="a", spec=spec)])
    assert results["a"].error.reason == "HANDLER_UNKNOWN"
    assert "'elsewhere'" in results["a"].error.message
    error = error_of(client.Generate, pb.GenerateRequest(spec=spec))
    assert kind_and_reason(error) == ("FAILED_PRECONDITION", "HANDLER_UNKNOWN")
    assert ours.factory.mock.counts()["requests"] == before


def test_what_depends_on_an_item_gets_what_its_handlers_made(ours: Ours) -> None:
    """Results, content versions and dependants hold the final text; the cache holds the one before."""
    client, words = ours.factory.client(), unique()
    says(ours.factory, words, "hello")
    item_id = f"hello/{uuid4().hex}"
    first = raw_item(item_id, words, handlers=["greet"])
    feeds = pb.JobItem.Dependency(item_id=item_id, variable="outline")
    then = pb.JobItem(
        item_id="b",
        spec=pb.PieceSpec(template_id="faq", variables={"topic": words}),
        depends_on=[feeds],
    )
    _, results = client.run([first, then])
    assert results[item_id].piece.content == "text: hello"
    assert "text: hello" in json.dumps(ours.factory.mock.requests())
    (version,) = client.ListContentVersions(
        pb.ListContentVersionsRequest(item_id=item_id, with_content=True)
    ).versions
    assert version.piece.content == "text: hello"
    plain = client.Generate(pb.GenerateRequest(spec=raw(words))).piece
    assert (plain.content, plain.cached) == ("hello", True)


def test_a_failing_handler_fails_its_item_and_names_itself(ours: Ours) -> None:
    """The content stays out of the words; what depends on the item is skipped, the rest is done."""
    client, words = ours.factory.client(), unique()
    says(ours.factory, words, "private words")
    job, results = client.run([raw_item("a", words, handlers=["fail"]), raw_item("b", words)])
    assert results["a"].error.reason == "HANDLER_FAILED"
    assert "'fail'" in results["a"].error.message
    assert "private" not in results["a"].error.message
    assert results["b"].piece.content == "private words"
    assert job.usage.model_calls == 1
    error = error_of(client.Generate, pb.GenerateRequest(spec=raw(words, handlers=["fail"])))
    assert kind_and_reason(error) == ("FAILED_PRECONDITION", "HANDLER_FAILED")


def test_blocking_handlers_do_not_keep_others_waiting(ours: Ours, metric: Callable[..., float]) -> None:
    """While a job's items are in handlers of 200 ms, interactive pieces come from the cache all along."""
    client, words = ours.factory.client(), unique()
    ready = pb.GenerateRequest(spec=raw(words))
    client.Generate(ready)
    before = metric(ours.factory, "parallel_handler_seconds_count", handler="slow", kind="blocking")
    job_id = client.new_job([raw_item(str(n), f"{words} {n}", handlers=["slow"]) for n in range(16)])
    client.start(job_id)
    served = 0
    while client.job(job_id).state < pb.JOB_STATE_SUCCEEDED:
        served += client.Generate(ready).piece.cached
    assert served > 16
    assert (
        metric(ours.factory, "parallel_handler_seconds_count", handler="slow", kind="blocking") == before + 16
    )
