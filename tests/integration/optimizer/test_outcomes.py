"""Outcomes through the wire: scored each time, counted once, booked on the right version."""

from __future__ import annotations

import re
import urllib.request

from contentfactory.optimizer.v1 import optimizer_pb2 as pb
from contentfactory.optimizer.v1 import optimizer_pb2_grpc as rpc
from service_common.errors import ErrorKind
from service_common.rpc.status import from_status

from tests.integration.optimizer.conftest import Running, Start, error_of
from tests.support.backends import on_durable_stores

TEXT = "Q: What are bees?\nA: Insects that fly and make honey.\n\nQ: Do bees sleep?\nA: Yes, at night."


async def decide(client: rpc.OptimizerServiceAsyncStub, template_id: str = "faq") -> str:
    """Return the id of a decision."""
    request = pb.OptimizeRequest(template_id=template_id, variables={"topic": "Bees"})
    return (await client.Optimize(request)).decision_id


def outcome(
    decision_id: str, status: pb.Outcome.Status.ValueType = pb.Outcome.STATUS_SUCCEEDED
) -> pb.Outcome:
    """Return an outcome of 40 prompt and 20 output tokens."""
    return pb.Outcome(
        decision_id=decision_id,
        status=status,
        output=TEXT,
        subjects=["Bees"],
        prompt_tokens=40,
        output_tokens=20,
        cost_micros=3,
    )


async def statistics(client: rpc.OptimizerServiceAsyncStub, template_id: str = "faq") -> pb.VersionStatistics:
    """Return what came of the active version."""
    return (await client.GetTemplateVersion(pb.GetTemplateVersionRequest(template_id=template_id))).statistics


async def test_each_status_counts_as_it_should(client: rpc.OptimizerServiceAsyncStub) -> None:
    """All are outcomes, those with output are scored, cut short or not, and the sums are exact."""
    decision = await decide(client)
    statuses = [each for each in pb.Outcome.Status.values() if each]
    answer = await client.BatchRecordOutcomes(
        pb.BatchRecordOutcomesRequest(batch_id="b", outcomes=[outcome(decision, each) for each in statuses])
    )
    assert [bool(each.value.components) for each in answer.results] == [True, True, False, False]
    found = await statistics(client)
    assert (found.outcomes, found.successes, found.scored) == (4, 1, 2)
    assert (found.prompt_tokens, found.output_tokens, found.cost_micros) == (160, 80, 12)
    scores = [each.value.overall for each in answer.results[:2]]
    assert found.mean_score == sum(scores) / 2 > 0


async def test_who_wants_overall_scores_alone_gets_them_without_components(
    client: rpc.OptimizerServiceAsyncStub,
) -> None:
    """The scores are those of the full answer; what has no output has no score, and is no error."""
    decision = await decide(client)
    outcomes = [outcome(decision), outcome(decision, pb.Outcome.STATUS_FAILED), outcome("made up")]
    full, lean = [
        await client.BatchRecordOutcomes(
            pb.BatchRecordOutcomesRequest(batch_id=f"b{wanted}", outcomes=outcomes, overall_only=wanted)
        )
        for wanted in (False, True)
    ]
    assert [each.WhichOneof("outcome") for each in lean.results] == ["value", None, "error"]
    assert lean.results[0].value == pb.QualityScore(overall=full.results[0].value.overall)
    assert lean.results[2] == full.results[2]


@on_durable_stores
async def test_a_repeat_is_scored_again_and_counted_once_also_after_a_restart(start: Start) -> None:
    """The answer is the same, the sums do not move; a graceful stop stores what waits."""
    first = await start()
    client = await first.client()
    request = pb.BatchRecordOutcomesRequest(batch_id="b", outcomes=[outcome(await decide(client))] * 3)
    answer = await client.BatchRecordOutcomes(request)
    assert await client.BatchRecordOutcomes(request) == answer
    before = await statistics(client)
    await first.lifecycle.close()
    client = await (await start()).client()
    assert await client.BatchRecordOutcomes(request) == answer
    assert await statistics(client) == before
    assert before.outcomes == 3


async def test_estimates_learn_from_outcomes(client: rpc.OptimizerServiceAsyncStub) -> None:
    """The estimate is the mean length of outputs, and never above max_tokens."""
    request = pb.OptimizeRequest(template_id="faq", variables={"topic": "Bees"})
    made = await client.Optimize(request)
    assert made.estimated_output_tokens == made.sampling.max_tokens
    outcomes = [outcome(made.decision_id), outcome(made.decision_id, pb.Outcome.STATUS_FAILED)]
    outcomes[1].output_tokens = 0
    await client.BatchRecordOutcomes(pb.BatchRecordOutcomesRequest(batch_id="b", outcomes=outcomes))
    assert (await client.Optimize(request)).estimated_output_tokens == 20
    request.max_tokens = 7
    assert (await client.Optimize(request)).estimated_output_tokens == 7


async def test_tenants_have_their_own_statistics_of_built_in_versions(
    running: Running, client: rpc.OptimizerServiceAsyncStub
) -> None:
    """And one tenant's decision is no other's."""
    other = await running.client("umbrella")
    decision = await decide(client)
    request = pb.BatchRecordOutcomesRequest(batch_id="b", outcomes=[outcome(decision)])
    await client.BatchRecordOutcomes(request)
    assert (await statistics(other)).outcomes == 0
    answer = await other.BatchRecordOutcomes(request)
    assert from_status(answer.results[0].error).reason == "INVALID_DECISION"
    assert (await statistics(other)).outcomes == 0


async def test_one_bad_outcome_does_not_spoil_the_batch(client: rpc.OptimizerServiceAsyncStub) -> None:
    """Each is answered in its place, naming its field; the good ones count."""
    decision = await decide(client)
    bad = {
        "decision_id": outcome("d1.made.up"),
        "status": outcome(decision, pb.Outcome.STATUS_UNSPECIFIED),
        "prompt_tokens": outcome(decision),
        "subjects": outcome(decision),
        "subjects[0]": outcome(decision),
        "output": outcome(decision),
        "latency": outcome(decision),
    }
    bad["prompt_tokens"].prompt_tokens = -1
    bad["subjects"].subjects.extend(["x"] * 8)
    bad["subjects[0]"].subjects[0] = "x" * 1025
    bad["output"].output = "x" * (1024 * 1024 + 1)
    bad["latency"].latency.seconds = -1
    answer = await client.BatchRecordOutcomes(
        pb.BatchRecordOutcomesRequest(batch_id="b", outcomes=[*bad.values(), outcome(decision)])
    )
    for index, field in enumerate(bad):
        error = from_status(answer.results[index].error)
        assert (error.kind, error.violations[0].field) == (
            ErrorKind.INVALID_ARGUMENT,
            f"outcomes[{index}].{field}",
        )
    assert answer.results[len(bad)].HasField("value")
    assert (await statistics(client)).outcomes == 1


async def test_a_batch_has_bounds_and_a_name(client: rpc.OptimizerServiceAsyncStub) -> None:
    """Refused as a whole."""
    good = outcome(await decide(client))
    for field, request in (
        ("batch_id", pb.BatchRecordOutcomesRequest(outcomes=[good])),
        ("batch_id", pb.BatchRecordOutcomesRequest(batch_id="x" * 129, outcomes=[good])),
        ("outcomes", pb.BatchRecordOutcomesRequest(batch_id="b")),
        ("outcomes", pb.BatchRecordOutcomesRequest(batch_id="b", outcomes=[good] * 1001)),
        ("attempt", pb.BatchRecordOutcomesRequest(batch_id="b", outcomes=[good], attempt=-1)),
    ):
        error = await error_of(client.BatchRecordOutcomes(request))
        assert (error.kind, error.violations[0].field) == (ErrorKind.INVALID_ARGUMENT, field)


async def test_sums_stop_at_what_can_be_kept(client: rpc.OptimizerServiceAsyncStub) -> None:
    """Absurd costs do not break the statistics."""
    most = 2**63 - 1
    huge = outcome(await decide(client))
    huge.cost_micros = most
    await client.BatchRecordOutcomes(pb.BatchRecordOutcomesRequest(batch_id="b", outcomes=[huge, huge]))
    assert (await statistics(client)).cost_micros == most


async def test_raw_prompts_are_scored_and_booked_nowhere(client: rpc.OptimizerServiceAsyncStub) -> None:
    """They have no version."""
    raw = pb.RawPrompt(
        messages=[pb.ChatMessage(role=pb.ChatMessage.ROLE_USER, content="Bees?")],
        sampling=pb.SamplingParameters(max_tokens=9),
    )
    decision = (await client.Optimize(pb.OptimizeRequest(raw=raw))).decision_id
    answer = await client.BatchRecordOutcomes(
        pb.BatchRecordOutcomesRequest(batch_id="b", outcomes=[outcome(decision)])
    )
    assert answer.results[0].value.overall > 0


async def test_metrics_have_the_given_names_and_count_repeats_once(
    running: Running, client: rpc.OptimizerServiceAsyncStub
) -> None:
    """The exposed text says exactly prompt_token_usage and prompt_optimization_score."""
    before = scrape(running)
    decision = await decide(client, "flashcards")
    request = pb.BatchRecordOutcomesRequest(batch_id="m", outcomes=[outcome(decision)] * 2)
    await client.BatchRecordOutcomes(request)
    await client.BatchRecordOutcomes(request)
    after = scrape(running)
    expected = {
        'prompt_token_usage{content_type="flashcards",kind="prompt"}': 80,
        'prompt_token_usage{content_type="flashcards",kind="output"}': 40,
        'prompt_optimization_score_count{content_type="flashcards"}': 2,
    }
    assert expected == {name: after[name] - before.get(name, 0) for name in expected}


def scrape(running: Running) -> dict[str, float]:
    """Return the samples of the metrics endpoint."""
    url = f"http://127.0.0.1:{running.metrics_port}/metrics"
    with urllib.request.urlopen(url, timeout=5) as response:
        text = response.read().decode()
    return {name: float(value) for name, value in re.findall(r"^([^#\s]\S*) (\S+)$", text, re.MULTILINE)}
