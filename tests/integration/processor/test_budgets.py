"""Caps over the contract: a job's and its tenant's, held by the mock endpoint's own bill."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import pytest
from contentfactory.processor.v1 import processor_pb2 as pb

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

PRICE = PRICES[MODEL]


def billed(factory: Factory) -> int:
    """Return at least what the endpoint would charge for all it was asked, each call rounded up."""
    counts = factory.mock.counts()
    millionths = counts["prompt_tokens"] * PRICE["prompt_micros_per_million"]
    millionths += counts["output_tokens"] * PRICE["output_micros_per_million"]
    return int(-(-millionths // 1_000_000))


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
    job, results = client.run(items, terms=pb.JobTerms(max_cost_micros=4_000))
    spent = billed(lone) - before
    failed = [each for each in results.values() if each.state == pb.ITEM_STATE_FAILED]
    assert job.usage.cost_micros == spent <= 4_000
    assert 0 < job.counts.succeeded < len(items)
    assert {each.error.reason for each in failed} == {"BUDGET_EXHAUSTED"}
    worst = 128 + 16 + 4 + 40 + 2 * 40
    assert spent + worst > 4_000
    assert (job.reserved_micros, job.usage.uncertain_spend_micros) == (0, 0)
    assert metric(lone, "budget_refusals_total", budget="job") >= len(failed)


def test_a_cap_of_nothing_lets_no_call_through(lone: Factory) -> None:
    """With a cap of 0 every item is refused and the endpoint is asked nothing."""
    client = lone.client()
    before = lone.mock.counts()["requests"]
    job, _ = client.run([raw_item(uuid4().hex)], terms=pb.JobTerms(max_cost_micros=0))
    assert job.state == pb.JOB_STATE_FAILED
    assert lone.mock.counts()["requests"] == before


def test_a_tenants_budget_holds_over_jobs_and_pieces(lone: Factory) -> None:
    """What Generate and a job spend counts together; the next piece is refused, another tenant's is not."""
    client, other = lone.client("umbrella"), lone.client()
    assert not client.GetTenantBudget(pb.GetTenantBudgetRequest()).budget.HasField("since")
    before = billed(lone)
    fresh = set_budget(client, 3_000)
    assert (fresh.max_cost_micros, fresh.spent_micros, fresh.reserved_micros) == (3_000, 0, 0)
    for _ in range(3):
        client.Generate(pb.GenerateRequest(spec=raw(uuid4().hex)))
    job, _ = client.run([raw_item(uuid4().hex) for _ in range(60)])
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


@pytest.mark.parametrize("cap", [-1])
def test_a_negative_budget_is_refused_by_name(lone: Factory, cap: int) -> None:
    """The error names the field."""
    error = error_of(lone.client().SetTenantBudget, pb.SetTenantBudgetRequest(max_cost_micros=cap))
    assert [each.field for each in error.violations] == ["max_cost_micros"]
