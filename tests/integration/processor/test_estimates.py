"""Estimates over the contract: nothing is spent, what is cached or equal is seen, experience narrows them."""

from __future__ import annotations

from uuid import uuid4

import pytest
from contentfactory.processor.v1 import processor_pb2 as pb

from tests.integration.processor.conftest import (
    Client,
    Factory,
    error_of,
    kind_and_reason,
    piece_of,
    raw,
    raw_item,
)
from tests.support.factory import eventually


def estimated(client: Client, job_id: str) -> pb.JobEstimate:
    """Estimate a job."""
    found: pb.JobEstimate = client.EstimateJob(pb.EstimateJobRequest(job_id=job_id)).estimate
    return found


def width(found: pb.JobEstimate) -> float:
    """Return an interval's width beside its expectation."""
    return (found.cost.high_micros - found.cost.low_micros) / found.cost.expected_micros


def test_an_estimate_spends_nothing_and_sees_what_needs_no_call(factory: Factory, client: Client) -> None:
    """Equal items count once, cached ones not at all, and the endpoint is asked nothing."""
    topic = uuid4().hex
    client.Generate(pb.GenerateRequest(spec=raw(f"{topic} cached")))
    asked, stats = factory.mock.counts()["requests"], topic
    items = [
        raw_item("cached", f"{topic} cached"),
        raw_item("one", f"{topic} one"),
        raw_item("same", f"{topic} one"),
        raw_item("apart", f"{topic} one", variation=1),
        raw_item("refresh", f"{topic} cached", cache_policy=pb.CACHE_POLICY_REFRESH),
        pb.JobItem(item_id="none", spec=pb.PieceSpec(template_id="faq", variables={"topics": stats})),
    ]
    found = estimated(client, client.new_job(items))
    assert factory.mock.counts()["requests"] == asked
    assert (found.item_count, found.sampled_items) == (6, 6)
    assert (found.cached_items, found.equal_items, found.refused_items) == (1, 1, 1)
    assert found.model_calls == 3
    assert 0 < found.cost.low_micros <= found.cost.expected_micros <= found.cost.high_micros
    assert found.cost.expected_micros < found.worst_case_micros
    assert not found.cache_unknown


def test_a_cached_outline_makes_its_derivatives_known(client: Client) -> None:
    """Where an outline and one of its derivatives are cached only the other one takes a call."""
    topic = uuid4().hex
    outline = piece_of("outline", topic)
    client.run([outline, piece_of("faq", topic, outline.item_id)])
    again = [piece_of(each, topic, outline.item_id) for each in ("faq", "one_pager")]
    found = estimated(client, client.new_job([outline, *again]))
    assert (found.cached_items, found.model_calls) == (2, 1)
    by_type = {each.content_type: each.model_calls for each in found.content_types}
    assert by_type == {"outline": 0, "faq": 0, "one_pager": 1}


def test_experience_narrows_an_estimate_until_it_is_right(factory: Factory, client: Client) -> None:
    """A kind of item that was never made is a wide guess; once some were made the cost lies within."""
    kind = f"kind_{uuid4().hex[:8]}"

    def items() -> list[pb.JobItem]:
        return [raw_item(uuid4().hex, max_tokens=2_000, content_type=kind) for _ in range(40)]

    guess = estimated(client, client.new_job(items()))
    assert guess.measured_calls == 0
    client.run(items())
    job_id = client.new_job(items())
    known = eventually(lambda: estimated(client, job_id), lambda found: found.measured_calls >= 40)
    assert width(known) < width(guess) / 3
    assert known.HasField("duration")
    client.start(job_id)
    client.finish(job_id)
    spent = client.job(job_id).usage.cost_micros
    assert known.cost.low_micros <= spent <= known.cost.high_micros


def test_an_empty_job_and_one_that_is_not_there(client: Client) -> None:
    """Both are refused with their reasons."""
    empty = pb.EstimateJobRequest(job_id=client.new_job())
    assert kind_and_reason(error_of(client.EstimateJob, empty)) == ("FAILED_PRECONDITION", "JOB_EMPTY")
    missing = pb.EstimateJobRequest(job_id="none")
    assert kind_and_reason(error_of(client.EstimateJob, missing)) == ("NOT_FOUND", "JOB_NOT_FOUND")


def test_a_model_without_a_price_is_an_error(client: Client) -> None:
    """It is named before a cent is spent."""
    request = pb.EstimateJobRequest(job_id=client.new_job([raw_item("a", model="unheard-of")]))
    error = error_of(client.EstimateJob, request)
    assert kind_and_reason(error) == ("FAILED_PRECONDITION", "PRICE_UNKNOWN")
    assert "unheard-of" in error.message


@pytest.mark.parametrize("items", [3])
def test_without_neighbours_an_estimate_says_what_it_does_not_know(lone: Factory, items: int) -> None:
    """With the cache away nothing is taken to be there, and the estimate says so."""
    client = lone.client()
    found = estimated(client, client.new_job([raw_item(uuid4().hex) for _ in range(items)]))
    assert found.cache_unknown
    assert found.model_calls == items
