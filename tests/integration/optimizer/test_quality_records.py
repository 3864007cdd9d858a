"""Quality records through the wire: what was reported, found by version, content type and score."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from contentfactory.optimizer.v1 import optimizer_pb2 as pb
from contentfactory.optimizer.v1 import optimizer_pb2_grpc as rpc
from service_common.errors import ErrorKind

from tests.integration.optimizer.conftest import Running, Start, error_of, source
from tests.integration.optimizer.test_outcomes import TEXT, decide, outcome
from tests.integration.optimizer.test_restart import records_of
from tests.support.backends import on_durable_stores

Request = pb.ListQualityRecordsRequest


async def report(client: rpc.OptimizerServiceAsyncStub, batch_id: str, *outcomes: pb.Outcome) -> None:
    """Report outcomes."""
    await client.BatchRecordOutcomes(pb.BatchRecordOutcomesRequest(batch_id=batch_id, outcomes=outcomes))


def of_quality(decision_id: str, repeats: int) -> pb.Outcome:
    """Return an outcome that is the worse the more often it repeats itself."""
    made = outcome(decision_id)
    made.output = TEXT + "\nThe same line again and again." * repeats
    return made


async def test_a_record_says_what_was_reported(client: rpc.OptimizerServiceAsyncStub) -> None:
    """Every field but the text; the score is the one that was answered, to four decimals."""
    made = outcome(await decide(client), pb.Outcome.STATUS_TRUNCATED)
    made.latency.FromTimedelta(timedelta(seconds=2.5))
    answer = await client.BatchRecordOutcomes(pb.BatchRecordOutcomesRequest(batch_id="b", outcomes=[made]))
    (found,) = await records_of(client, 1)
    assert (found.template_id, found.version, found.content_type) == ("faq", 1, "faq")
    assert found.status == pb.Outcome.STATUS_TRUNCATED
    assert (found.prompt_tokens, found.output_tokens, found.cost_micros) == (40, 20, 3)
    assert found.latency == made.latency
    scored = answer.results[0].value
    assert found.score == round(scored.overall, 4)
    assert {each.name: each.score for each in found.aspects} == {
        each.name: round(each.score, 4) for each in scored.components
    }
    assert abs(found.record_time.ToDatetime(UTC) - datetime.now(UTC)) < timedelta(minutes=5)


async def test_what_has_no_output_has_no_score(client: rpc.OptimizerServiceAsyncStub) -> None:
    """It is listed, but not where a score is asked for."""
    await report(client, "b", outcome(await decide(client), pb.Outcome.STATUS_FAILED))
    (found,) = await records_of(client, 1)
    assert (found.HasField("score"), list(found.aspects)) == (False, [])
    for asked in (
        Request(min_score=0),
        Request(content_type="faq", order=Request.ORDER_LOWEST_SCORE_FIRST),
    ):
        assert list((await client.ListQualityRecords(asked)).records) == []


async def test_records_are_found_by_version_and_content_type(client: rpc.OptimizerServiceAsyncStub) -> None:
    """Newest first; those of raw prompts by their content type only."""
    await client.CreateTemplate(pb.CreateTemplateRequest(template_id="haiku", source=source()))
    raw = pb.RawPrompt(
        messages=[pb.ChatMessage(role=pb.ChatMessage.ROLE_USER, content="Bees?")],
        sampling=pb.SamplingParameters(max_tokens=9),
    )
    decisions = [
        await decide(client, "haiku"),
        await decide(client, "faq"),
        (await client.Optimize(pb.OptimizeRequest(raw=raw))).decision_id,
    ]
    await report(client, "b", *map(outcome, decisions))
    names = [each.template_id for each in await records_of(client, 3)]
    assert names == ["", "faq", "haiku"]
    for asked, template_id in (
        (Request(template_id="haiku", version=1), "haiku"),
        (Request(content_type="haiku"), "haiku"),
        (Request(template_id="faq", version=1, content_type="faq"), "faq"),
        (Request(content_type="text"), ""),
    ):
        answer = await client.ListQualityRecords(asked)
        assert [each.template_id for each in answer.records] == [template_id]
    nothing = Request(template_id="faq", version=1, content_type="haiku")
    assert list((await client.ListQualityRecords(nothing)).records) == []


async def test_the_worst_come_first_a_page_at_a_time(client: rpc.OptimizerServiceAsyncStub) -> None:
    """By steps of 0.05; each once, also within bounds of the score."""
    decision = await decide(client)
    await report(client, "b", *(of_quality(decision, repeats) for repeats in (0, 40, 3, 12, 1, 6)))
    await records_of(client, 6)
    asked = Request(content_type="faq", order=Request.ORDER_LOWEST_SCORE_FIRST, page_size=2)
    scores: list[float] = []
    while True:
        answer = await client.ListQualityRecords(asked)
        scores += [each.score for each in answer.records]
        asked.page_token = answer.next_page_token
        if not asked.page_token:
            break
    steps = [int(each * 20) for each in scores]
    assert len(scores) == 6
    assert steps == sorted(steps)
    assert len(set(steps)) > 2
    middle = Request(content_type="faq", min_score=scores[1], max_score=scores[4])
    answer = await client.ListQualityRecords(middle)
    assert sorted(each.score for each in answer.records) == sorted(
        each for each in scores if scores[1] <= each <= scores[4]
    )


async def test_tenants_see_their_own_records(running: Running, client: rpc.OptimizerServiceAsyncStub) -> None:
    """And no other's."""
    await report(client, "b", outcome(await decide(client)))
    await records_of(client, 1)
    other = await running.client("umbrella")
    assert list((await other.ListQualityRecords(Request())).records) == []


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (Request(template_id="Faq", version=1), "template_id"),
        (Request(template_id="faq"), "version"),
        (Request(version=1), "version"),
        (Request(content_type="no type"), "content_type"),
        (Request(order=Request.ORDER_LOWEST_SCORE_FIRST), "content_type"),
        (Request(min_score=1.1), "min_score"),
        (Request(max_score=float("nan")), "max_score"),
        (Request(order=99), "order"),  # type: ignore[arg-type]  # a number that no client of today sends
        (Request(page_size=1001), "page_size"),
        (Request(page_token="AAAA"), "page_token"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
async def test_what_cannot_be_listed_is_refused_by_field(
    client: rpc.OptimizerServiceAsyncStub, asked: pb.ListQualityRecordsRequest, field: str
) -> None:
    """INVALID_ARGUMENT names it."""
    error = await error_of(client.ListQualityRecords(asked))
    assert (error.kind, [each.field for each in error.violations]) == (ErrorKind.INVALID_ARGUMENT, [field])


async def test_a_template_that_is_not_there_has_no_records(client: rpc.OptimizerServiceAsyncStub) -> None:
    """NOT_FOUND, as for its versions."""
    error = await error_of(client.ListQualityRecords(Request(template_id="gone", version=1)))
    assert error.reason == "TEMPLATE_NOT_FOUND"
    error = await error_of(client.ListQualityRecords(Request(template_id="faq", version=9)))
    assert error.reason == "VERSION_NOT_FOUND"


async def test_a_token_goes_with_its_own_request(client: rpc.OptimizerServiceAsyncStub) -> None:
    """With another filter it is refused; with another page size it goes on."""
    decision = await decide(client)
    await report(client, "b", outcome(decision), outcome(decision), outcome(decision))
    await records_of(client, 3)
    answer = await client.ListQualityRecords(Request(page_size=1))
    token = answer.next_page_token
    error = await error_of(client.ListQualityRecords(Request(content_type="faq", page_token=token)))
    assert [each.field for each in error.violations] == ["page_token"]
    rest = await client.ListQualityRecords(Request(page_size=5, page_token=token))
    assert (len(rest.records), rest.next_page_token) == (2, "")


@on_durable_stores
async def test_two_optimizers_count_a_batch_once(start: Start) -> None:
    """Sent again to another one before the first has stored it, it is in the statistics and records once."""
    first, second = await (await start()).client(), await (await start()).client()
    request = pb.BatchRecordOutcomesRequest(batch_id="b", outcomes=[outcome(await decide(first))], attempt=1)
    await first.BatchRecordOutcomes(request)
    request.attempt = 2
    await second.BatchRecordOutcomes(request)
    marker = pb.BatchRecordOutcomesRequest(
        batch_id="c", outcomes=[outcome(await decide(second, "outline"))], attempt=1
    )
    await second.BatchRecordOutcomes(marker)
    assert len(await records_of(first, 2)) == 2
    get = pb.GetTemplateVersionRequest(template_id="faq")
    assert (await second.GetTemplateVersion(get)).statistics.outcomes == 1
