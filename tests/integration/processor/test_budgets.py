"""Caps over the contract: a job's and its tenant's, held by the mock endpoint's own bill."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from uuid import uuid4

import pytest
from contentfactory.processor.v1 import processor_pb2 as pb
from google.protobuf.field_mask_pb2 import FieldMask

from tests.integration.processor.conftest import (
    MODEL,
    PRICES,
    Client,
    Factory,
    error_of,
    kind_and_reason,
    raw,
    raw_item,
)
from tests.support.factory import eventually

PRICE = PRICES[MODEL]
WORST = 128 + 16 + 4 + 40 + 2 * 128
"""No item of these costs more."""


def billed(factory: Factory) -> int:
    """Return at least what the endpoint would charge for all it was asked, each call rounded up."""
    counts = factory.mock.counts()
    millionths = counts["prompt_tokens"] * PRICE["prompt_micros_per_million"]
    millionths += counts["output_tokens"] * PRICE["output_micros_per_million"]
    return int(-(-millionths // 1_000_000))


def begun(client: Client, items: Iterable[pb.JobItem], cap: int | None = None) -> str:
    """Start a job under this cap and return its id."""
    job_id = client.new_job(items, terms=pb.JobTerms(max_cost_micros=cap))
    client.start(job_id)
    return job_id


def paused(client: Client, job_id: str) -> pb.Job:
    """Wait until a job rests because a budget is used up, and return it."""
    job = eventually(lambda: client.job(job_id), lambda job: job.state == pb.JOB_STATE_PAUSED)
    assert job.state_reason.reason == "BUDGET_EXHAUSTED"
    return eventually(lambda: client.job(job_id), lambda job: not job.reserved_micros)


def recapped(client: Client, job_id: str, cap: int | None) -> pb.Job:
    """Give a job another cap and return what it became."""
    mask = FieldMask(paths=["terms.max_cost_micros"])
    job = pb.Job(job_id=job_id, terms=pb.JobTerms(max_cost_micros=cap))
    updated: pb.Job = client.UpdateJob(pb.UpdateJobRequest(job=job, update_mask=mask)).job
    return updated


def set_budget(client: Client, cap: int | None, *, start_over: bool = True) -> pb.TenantBudget:
    """Set the tenant's budget."""
    request = pb.SetTenantBudgetRequest(max_cost_micros=cap, start_over=start_over)
    budget: pb.TenantBudget = client.SetTenantBudget(request).budget
    return budget


def test_a_jobs_cap_holds_by_the_endpoints_bill(lone: Factory, metric: Callable[..., float]) -> None:
    """A job that would cost more makes calls as long as the cap bears one more at its worst, and no other."""
    client = lone.client()
    before = billed(lone)
    items = [raw_item(f"{uuid4().hex}-{number}") for number in range(60)]
    job_id = begun(client, items, cap=4_000)
    job = paused(client, job_id)
    spent = billed(lone) - before
    assert job.usage.cost_micros == spent <= 4_000
    assert 0 < job.counts.succeeded < len(items)
    assert job.counts.failed == 0
    assert spent + WORST > 4_000
    assert (job.reserved_micros, job.usage.uncertain_spend_micros) == (0, 0)
    assert f"factory update {job_id} --max-cost" in job.state_reason.message
    assert metric(lone, "budget_refusals_total", budget="job") > 0


def test_a_cap_of_nothing_lets_no_call_through(lone: Factory) -> None:
    """With a cap of 0 the job rests and the endpoint is asked nothing, however often it is resumed."""
    client = lone.client()
    before = lone.mock.counts()["requests"]
    job_id = begun(client, [raw_item(uuid4().hex)], cap=0)
    paused(client, job_id)
    client.ResumeJob(pb.ResumeJobRequest(job_id=job_id))
    paused(client, job_id)
    assert lone.mock.counts()["requests"] == before


@pytest.mark.parametrize("cap", [1_000_000, None])
def test_under_a_higher_cap_the_job_goes_on_by_itself(lone: Factory, cap: int | None) -> None:
    """One that is no higher changes nothing; with one that is, or none, every item is made, each once."""
    client = lone.client()
    before = lone.mock.counts()["requests"]
    items = [raw_item(f"{uuid4().hex}-{number}") for number in range(60)]
    job_id = begun(client, items, cap=4_000)
    paused(client, job_id)
    for lower in (4_000, 3_000):
        assert recapped(client, job_id, lower).state == pb.JOB_STATE_PAUSED
    assert recapped(client, job_id, cap).state == pb.JOB_STATE_RUNNING
    client.finish(job_id)
    job = client.job(job_id)
    assert (job.state, job.counts.succeeded) == (pb.JOB_STATE_SUCCEEDED, len(items))
    assert job.usage.model_calls == lone.mock.counts()["requests"] - before == len(items)


def test_what_is_too_dear_does_not_hold_up_what_is_cheap(lone: Factory) -> None:
    """An item whose call never fits waits, all others are made, and only then does the job rest."""
    client = lone.client()
    dear = raw_item(uuid4().hex, max_tokens=50_000)
    cheap = [raw_item(f"{uuid4().hex}-{number}") for number in range(40)]
    job_id = begun(client, [dear, *cheap], cap=50_000)
    job = paused(client, job_id)
    assert (job.counts.succeeded, job.counts.failed) == (len(cheap), 0)
    recapped(client, job_id, 200_000)
    assert client.finish(job_id)[dear.item_id].HasField("piece")


def test_a_tenants_budget_holds_over_jobs_and_pieces(lone: Factory) -> None:
    """What Generate and a job spend counts together; the next piece is refused, another tenant's is not."""
    client, other = lone.client("umbrella"), lone.client()
    assert not client.GetTenantBudget(pb.GetTenantBudgetRequest()).budget.HasField("since")
    before = billed(lone)
    fresh = set_budget(client, 3_000)
    assert (fresh.max_cost_micros, fresh.spent_micros, fresh.reserved_micros) == (3_000, 0, 0)
    for _ in range(3):
        client.Generate(pb.GenerateRequest(spec=raw(uuid4().hex)))
    job = paused(client, begun(client, [raw_item(uuid4().hex) for _ in range(60)]))
    error = error_of(client.Generate, pb.GenerateRequest(spec=raw(uuid4().hex)))
    assert kind_and_reason(error) in (
        ("FAILED_PRECONDITION", "BUDGET_EXHAUSTED"),
        ("UNAVAILABLE", "BUDGET_RESERVED"),
    )
    now = client.GetTenantBudget(pb.GetTenantBudgetRequest()).budget
    assert job.usage.cost_micros < billed(lone) - before <= 3_000
    assert now.spent_micros + now.uncertain_spend_micros + now.reserved_micros <= 3_000
    other.Generate(pb.GenerateRequest(spec=raw(uuid4().hex)))
    assert not set_budget(client, None).HasField("max_cost_micros")
    client.Generate(pb.GenerateRequest(spec=raw(uuid4().hex)))


def test_a_raised_budget_wakes_the_jobs_that_rest_for_it(lone: Factory) -> None:
    """All of them, at once; a job that its owner paused stays paused."""
    client = lone.client("umbrella")
    set_budget(client, 1_000)
    items = [raw_item(f"{uuid4().hex}-{number}") for number in range(20)]
    resting = [begun(client, items), begun(client, [raw_item(uuid4().hex) for _ in range(20)])]
    for each in resting:
        assert "factory budget set" in paused(client, each).state_reason.message
    mine = begun(client, [raw_item(uuid4().hex)])
    client.PauseJob(pb.PauseJobRequest(job_id=mine))
    set_budget(client, 1_000_000, start_over=False)
    for each in resting:
        client.finish(each)
        assert client.job(each).state == pb.JOB_STATE_SUCCEEDED
    assert client.job(mine).state_reason.reason == "PAUSED_BY_REQUEST"
    set_budget(client, None)


@pytest.mark.parametrize("cap", [-1])
def test_a_negative_budget_is_refused_by_name(lone: Factory, cap: int) -> None:
    """The error names the field."""
    error = error_of(lone.client().SetTenantBudget, pb.SetTenantBudgetRequest(max_cost_micros=cap))
    assert [each.field for each in error.violations] == ["max_cost_micros"]
