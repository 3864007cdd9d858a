"""What is done to the store for a job is booked on that job, in whatever task it is done."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from parallel_processor.job_costs import JobCosts, spent_on
from service_common.storage.metering import Operation


@pytest.fixture
def told() -> list[Mapping[Operation, int]]:
    """What was told of jobs that have ended."""
    return []


async def test_tasks_begun_for_a_job_are_booked_on_it(told: list[Mapping[Operation, int]]) -> None:
    """Two jobs worked on side by side do not mix, and what is for none is on none's bill."""
    costs = JobCosts(told.append)

    async def work(number: int) -> None:
        for _ in range(number):
            await asyncio.sleep(0)
            costs.count(Operation.WRITE, 1)
            costs.count(Operation.READ, 2)

    tasks = []
    for job_id, number in (("a", 3), ("b", 5)):
        with spent_on(job_id):
            tasks.append(asyncio.create_task(work(number)))
    await asyncio.gather(work(7), *tasks)
    costs.ended("a")
    costs.ended("b")
    costs.ended("b")
    costs.ended("c")
    assert told == [
        {Operation.WRITE: 3, Operation.READ: 6},
        {Operation.WRITE: 5, Operation.READ: 10},
    ]


def test_jobs_that_never_end_here_are_told_in_the_end(told: list[Mapping[Operation, int]]) -> None:
    """Another process may see the end of a job: memory is bounded, and nothing that was counted is lost."""
    costs = JobCosts(told.append, max_jobs=2)
    for job_id in "abc":
        with spent_on(job_id):
            costs.count(Operation.WRITE, 1)
    assert told == [{Operation.WRITE: 1}]
