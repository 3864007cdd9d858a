# ruff: noqa: N802 - method names are the contract's
"""What jobs may cost and will cost, from the command line: caps, estimates and the tenant's budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from contentfactory.processor.v1 import processor_pb2 as pb

from tests.integration.cli.conftest import Run, serving
from tests.integration.cli.factory_fakes import FakeProcessor, FakeTracker


class Accountant(FakeProcessor):
    """A processor that knows what things cost."""

    def __init__(self) -> None:
        super().__init__()
        self.terms: list[pb.JobTerms] = []
        self.asked: list[pb.SetTenantBudgetRequest] = []
        self.budget = pb.TenantBudget()

    async def CreateJob(self, request: pb.CreateJobRequest, context: Any) -> pb.CreateJobResponse:
        """Note the terms."""
        self.terms.append(request.terms)
        return await super().CreateJob(request, context)

    async def EstimateJob(self, request: pb.EstimateJobRequest, context: Any) -> pb.EstimateJobResponse:
        """Say that every item costs a cent or two."""
        items = len(self.find(request.job_id).items)
        found = pb.JobEstimate(
            item_count=items,
            sampled_items=items,
            cached_items=1,
            model_calls=items - 1,
            worst_case_micros=90_000 * items,
            measured_calls=7,
        )
        found.cost.low_micros, found.cost.expected_micros = 10_000 * items, 15_000 * items
        found.cost.high_micros = 20_000 * items
        found.duration.low.FromSeconds(30)
        found.duration.expected.FromSeconds(45)
        found.duration.high.FromSeconds(90)
        found.content_types.add(content_type="faq", item_count=items, model_calls=items - 1)
        return pb.EstimateJobResponse(estimate=found)

    async def GetTenantBudget(
        self, request: pb.GetTenantBudgetRequest, context: Any
    ) -> pb.GetTenantBudgetResponse:
        """Return the budget."""
        return pb.GetTenantBudgetResponse(budget=self.budget)

    async def SetTenantBudget(
        self, request: pb.SetTenantBudgetRequest, context: Any
    ) -> pb.SetTenantBudgetResponse:
        """Set the budget."""
        self.asked.append(request)
        self.budget.ClearField("max_cost_micros")
        if request.HasField("max_cost_micros"):
            self.budget.max_cost_micros = request.max_cost_micros
        self.budget.spent_micros = 1_250_000
        self.budget.since.GetCurrentTime()
        return pb.SetTenantBudgetResponse(budget=self.budget)


@pytest.fixture
def topics(tmp_path: Path) -> str:
    """A file of one topic with two pieces."""
    path = tmp_path / "topics.jsonl"
    path.write_text('{"topic": "Tides", "content_types": ["faq"]}\n')
    return str(path)


async def test_an_estimate_starts_nothing(factory: Run, environ: dict[str, str], topics: str) -> None:
    """The draft is estimated and cancelled; what it would cost is a table, or JSON for scripts."""
    processor = Accountant()
    async with serving(environ, processor):
        shown = await factory("estimate", topics)
        told = await factory("estimate", topics, "--json")
    assert {each.job.state for each in processor.jobs.values()} == {pb.JOB_STATE_CANCELLED}
    assert "cost: $0.02 to $0.04" in shown.out
    assert "30.0 s to 1 min 30 s" in shown.out
    assert "1 cached" in shown.out
    assert told.json["cost"] == {"low_micros": 20_000, "expected_micros": 30_000, "high_micros": 40_000}


async def test_a_cap_goes_with_the_job_and_an_estimate_before_it(
    factory: Run, environ: dict[str, str], topics: str
) -> None:
    """Dollars become micros; without a terminal to ask at the job is started after the estimate was shown."""
    processor = Accountant()
    async with serving(environ, processor, tracker=FakeTracker(processor)):
        submitted = await factory("submit", topics, "--max-cost", "2.5", "--estimate")
        uncapped = await factory("submit", topics)
        listed = await factory("jobs")
    assert (submitted.code, uncapped.code) == (0, 0)
    assert [each.HasField("max_cost_micros") for each in processor.terms] == [True, False]
    assert processor.terms[0].max_cost_micros == 2_500_000
    assert "at the very most" in submitted.err
    assert all(each.work is not None for each in processor.jobs.values())
    assert listed.code == 0


async def test_the_budget_is_set_and_shown(factory: Run, environ: dict[str, str]) -> None:
    """Before it is set there is none; then it shows what is left; no limit takes the cap away."""
    processor = Accountant()
    async with serving(environ, processor):
        none = await factory("budget", "show")
        made = await factory("budget", "set", "5", "--start-over")
        shown = await factory("budget", "show", "--json")
        freed = await factory("budget", "set", "--no-limit")
        neither = await factory("budget", "set")
    assert "no budget was ever set" in none.err
    assert [each.start_over for each in processor.asked] == [True, False]
    assert "$3.75" in made.out
    assert (shown.json["max_cost_micros"], shown.json["spent_micros"]) == (5_000_000, 1_250_000)
    assert "no limit" in freed.out
    assert (neither.code, len(processor.asked)) == (1, 2)
