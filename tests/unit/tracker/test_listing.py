"""Listing: the latest created first, every job exactly once over pages, tokens only under their filter."""

from __future__ import annotations

from datetime import timedelta

import pytest
from progress_tracker.convert import EventMessages
from progress_tracker.job_filter import JobFilter
from progress_tracker.ledger import Ledger
from progress_tracker.listing import Listing, list_progress
from progress_tracker.report import JobPriority, JobState, JobUpdate
from progress_tracker.repository import SCHEMA, Repository
from service_common.clock import ManualClock
from service_common.errors import ServiceError
from service_common.storage.memory import MemoryStore

from tests.unit.tracker.samples import NOW, report

ALL = JobFilter()


@pytest.fixture
async def repository() -> Repository:
    """Return a repository with 23 jobs, created a minute apart."""
    clock = ManualClock()
    events = EventMessages()
    repository = Repository(
        MemoryStore(SCHEMA, clock),
        clock=clock,
        retention=timedelta(days=1),
        encoder=events,
        read_items=events.read_items,
    )
    ledger = Ledger(repository, clock=clock, listeners=(), max_jobs=99, max_items=99)
    for number in range(23):
        update = JobUpdate(
            state=JobState.RUNNING if number % 2 else JobState.QUEUED,
            user=f"user-{number % 3}",
            priority=JobPriority.HIGH if number % 5 == 0 else JobPriority.UNKNOWN,
            labels={"parity": str(number % 2)},
            create_time=NOW + timedelta(minutes=number),
        )
        await ledger.record("t", f"job-{number:02}", [report(1, job=update)])
    return repository


async def page(
    repository: Repository,
    wanted: JobFilter = ALL,
    *,
    size: int = 0,
    token: str = "",
    tenant: str = "t",
) -> Listing:
    """Return a page, with job ids for its bytes."""
    return await list_progress(
        repository,
        tenant,
        wanted=wanted,
        page_size=size,
        page_token=token,
        encode=lambda progress: progress.job_id.encode(),
    )


FILTERS = [
    (ALL, lambda _: True),
    (JobFilter(user="user-1"), lambda number: number % 3 == 1),
    (JobFilter(state=JobState.RUNNING), lambda number: number % 2 == 1),
    (JobFilter(user="user-2", state=JobState.QUEUED), lambda number: number % 3 == 2 and number % 2 == 0),
    (JobFilter(priority=JobPriority.NORMAL), lambda number: number % 5 != 0),
    (JobFilter(label_key="parity", label_value="0"), lambda number: number % 2 == 0),
]


@pytest.mark.parametrize(("wanted", "expected"), FILTERS)
async def test_pages_hold_every_match_once_latest_first(
    repository: Repository, wanted: JobFilter, expected: object
) -> None:
    """Whatever the index answers and the rest filters, following the tokens yields exactly the matches."""
    names: list[str] = []
    token = ""
    while True:
        found = await page(repository, wanted, size=4, token=token)
        names += [each.decode() for each in found.progress]
        assert len(found.progress) <= 4
        token = found.next_page_token
        if not token:
            break
    assert callable(expected)
    assert [f"job-{number:02}" for number in reversed(range(23)) if expected(number)] == names


async def test_another_tenant_sees_nothing(repository: Repository) -> None:
    """A tenant's list holds its own jobs."""
    assert Listing((), "") == await page(repository, tenant="u")


@pytest.mark.parametrize("token", ["x", "%%%", "AAAA", "AAAAAAAAAAAAAAAA"])
async def test_a_bad_token_names_the_field(repository: Repository, token: str) -> None:
    """INVALID_ARGUMENT for page_token, whatever the garbage."""
    with pytest.raises(ServiceError) as caught:
        await page(repository, token=token)
    assert [each.field for each in caught.value.violations] == ["page_token"]


async def test_a_token_belongs_to_its_filter(repository: Repository) -> None:
    """Under another filter a token is refused, not misread."""
    first = await page(repository, JobFilter(priority=JobPriority.NORMAL), size=3)
    with pytest.raises(ServiceError) as caught:
        await page(repository, JobFilter(priority=JobPriority.HIGH), size=3, token=first.next_page_token)
    assert [each.field for each in caught.value.violations] == ["page_token"]


@pytest.mark.parametrize("size", [-1, 1001])
async def test_a_page_size_out_of_range_names_the_field(repository: Repository, size: int) -> None:
    """INVALID_ARGUMENT for page_size."""
    with pytest.raises(ServiceError) as caught:
        await page(repository, size=size)
    assert [each.field for each in caught.value.violations] == ["page_size"]
