"""Prompts through the wire: what is rendered, what is refused, and that batches answer in order."""

from __future__ import annotations

import pytest
from contentfactory.optimizer.v1 import optimizer_pb2 as pb
from contentfactory.optimizer.v1 import optimizer_pb2_grpc as rpc
from service_common.errors import ErrorKind
from service_common.rpc.status import from_status
from service_common.templating import compile_template

from tests.integration.optimizer.conftest import Start, error_of, source
from tests.integration.optimizer.test_templates import BUILT_IN
from tests.support.backends import on_durable_stores


def ask(template_id: str = "faq", topic: str = "Bees") -> pb.OptimizeRequest:
    """Return a request for a prompt."""
    return pb.OptimizeRequest(template_id=template_id, variables={"topic": topic})


@pytest.mark.parametrize("template_id", BUILT_IN)
async def test_a_prompt_is_the_version_rendered_and_nothing_else(
    client: rpc.OptimizerServiceAsyncStub, template_id: str
) -> None:
    """Whoever holds the version renders the same bytes: the fallback pays nothing again."""
    found = await client.GetTemplateVersion(pb.GetTemplateVersionRequest(template_id=template_id))
    version = found.version
    made = await client.Optimize(ask(template_id))
    values = {each.name: each.default_value for each in version.source.variables if not each.required}
    values["topic"] = "Bees"
    expected = [
        (each.role, compile_template(each.content).render(values)) for each in version.source.messages
    ]
    assert [(each.role, each.content) for each in made.messages] == expected
    assert made.sampling == version.source.sampling
    assert (made.model, made.version, made.content_type) == (
        version.source.model,
        version.version,
        template_id,
    )
    assert await client.Optimize(ask(template_id)) == made


async def test_limits_and_choices_of_the_caller(client: rpc.OptimizerServiceAsyncStub) -> None:
    """max_tokens only lowers, model and content type replace."""
    request = ask()
    request.MergeFrom(pb.OptimizeRequest(max_tokens=50, model="big", content_type="quiz"))
    made = await client.Optimize(request)
    assert (made.sampling.max_tokens, made.model, made.content_type) == (50, "big", "quiz")
    assert made.estimated_output_tokens <= 50
    request.max_tokens = 100_000
    usual = (await client.Optimize(ask())).sampling.max_tokens
    assert (await client.Optimize(request)).sampling.max_tokens == usual


async def test_an_older_version_can_be_asked_for(client: rpc.OptimizerServiceAsyncStub) -> None:
    """By number, whichever is active."""
    await client.CreateTemplate(
        pb.CreateTemplateRequest(template_id="haiku", source=source("one {{ topic }}"))
    )
    await client.CreateTemplateVersion(
        pb.CreateTemplateVersionRequest(template_id="haiku", source=source("two {{ topic }}"))
    )
    request = ask("haiku", "x")
    assert (await client.Optimize(request)).messages[0].content == "one x"
    request.version = 2
    assert (await client.Optimize(request)).messages[0].content == "two x"


async def test_a_raw_prompt_is_taken_literally(client: rpc.OptimizerServiceAsyncStub) -> None:
    """Nothing in it is read as template."""
    raw = pb.RawPrompt(
        messages=[pb.ChatMessage(role=pb.ChatMessage.ROLE_USER, content="{{ x }} {% y")],
        sampling=pb.SamplingParameters(max_tokens=9, seed=0),
    )
    made = await client.Optimize(pb.OptimizeRequest(raw=raw))
    assert (list(made.messages), made.sampling) == (list(raw.messages), raw.sampling)
    assert (made.template_id, made.version, made.content_type) == ("", 0, "text")
    assert made.decision_id


REFUSED = {
    "template_id": pb.OptimizeRequest(),
    "variables.topic": pb.OptimizeRequest(template_id="faq"),
    "variables.tpoic": pb.OptimizeRequest(template_id="faq", variables={"topic": "x", "tpoic": "y"}),
    "variables": pb.OptimizeRequest(template_id="faq", variables={f"v{n}": "" for n in range(33)}),
    "max_tokens": pb.OptimizeRequest(template_id="faq", max_tokens=-1),
    "version": pb.OptimizeRequest(template_id="faq", version=-1),
    "content_type": pb.OptimizeRequest(template_id="faq", content_type="A B"),
    "raw.messages": pb.OptimizeRequest(raw=pb.RawPrompt(sampling=pb.SamplingParameters(max_tokens=1))),
    "raw.sampling.max_tokens": pb.OptimizeRequest(
        raw=pb.RawPrompt(messages=[pb.ChatMessage(role=pb.ChatMessage.ROLE_USER)])
    ),
    "raw.messages[0].role": pb.OptimizeRequest(raw=pb.RawPrompt(messages=[pb.ChatMessage(content="x")])),
}


@pytest.mark.parametrize("field", REFUSED)
async def test_what_is_wrong_is_named_alone_and_in_a_batch(
    client: rpc.OptimizerServiceAsyncStub, field: str
) -> None:
    """The violation has the same field, in a batch with its place before it; the others are answered."""
    alone = await error_of(client.Optimize(REFUSED[field]))
    assert (alone.kind, alone.violations[0].field) == (ErrorKind.INVALID_ARGUMENT, field)
    answer = await client.BatchOptimize(pb.BatchOptimizeRequest(requests=[ask(), REFUSED[field], ask()]))
    assert [each.WhichOneof("outcome") for each in answer.results] == ["value", "error", "value"]
    within = from_status(answer.results[1].error)
    assert (within.reason, within.violations[0].field) == (alone.reason, f"requests[1].{field}")


async def test_variables_have_a_reason_of_their_own(client: rpc.OptimizerServiceAsyncStub) -> None:
    """INVALID_VARIABLE tells a caller to look at the template."""
    for request in (REFUSED["variables.topic"], REFUSED["variables.tpoic"], ask(topic="x" * 513)):
        assert (await error_of(client.Optimize(request))).reason == "INVALID_VARIABLE"


@pytest.mark.parametrize("count", [0, 1001])
async def test_a_batch_has_bounds(client: rpc.OptimizerServiceAsyncStub, count: int) -> None:
    """Empty and too large ones are refused as a whole."""
    error = await error_of(client.BatchOptimize(pb.BatchOptimizeRequest(requests=[ask()] * count)))
    assert (error.kind, error.violations[0].field) == (ErrorKind.INVALID_ARGUMENT, "requests")


async def test_a_batch_answers_in_order_what_single_calls_answer(
    client: rpc.OptimizerServiceAsyncStub,
) -> None:
    """Also with unknown templates in between."""
    requests = [ask(BUILT_IN[n % 8], f"topic {n}") for n in range(30)]
    answer = await client.BatchOptimize(pb.BatchOptimizeRequest(requests=[*requests, ask("nothing")]))
    assert [each.value for each in answer.results[:30]] == [await client.Optimize(each) for each in requests]
    assert from_status(answer.results[30].error).reason == "TEMPLATE_NOT_FOUND"


async def test_a_response_that_would_be_too_large_says_so_per_piece(
    client: rpc.OptimizerServiceAsyncStub,
) -> None:
    """What fits is answered, the rest is to be asked for in a smaller batch."""
    text = "{% for x in topic %}{{ topic }}{% endfor %}"
    await client.CreateTemplate(pb.CreateTemplateRequest(template_id="bomb", source=source(text)))
    answer = await client.BatchOptimize(
        pb.BatchOptimizeRequest(requests=[*[ask("bomb", "x" * 1200)] * 5, ask()])
    )
    outcomes = [each.WhichOneof("outcome") for each in answer.results]
    assert outcomes == ["value", "value", "error", "error", "error", "value"]
    assert from_status(answer.results[2].error).reason == "RESPONSE_TOO_LARGE"


@on_durable_stores
async def test_another_process_uses_what_was_just_created(start: Start) -> None:
    """A template nobody told it of yet is found in the store."""
    one, two = [await (await start()).client() for _ in range(2)]
    await one.CreateTemplate(pb.CreateTemplateRequest(template_id="haiku", source=source("one {{ topic }}")))
    assert (await two.Optimize(ask("haiku", "x"))).messages[0].content == "one x"
