"""Budgets as documents: a tenant's is one of its own, a job's is part of the job."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, TypeVar

from service_common.errors import aborted
from service_common.storage import (
    Decision,
    Document,
    DocumentStore,
    Key,
    Query,
    QueryShape,
    Set,
    Value,
    Write,
)

from parallel_processor.jobs.job import Job
from parallel_processor.jobs.records import (
    Fields,
    job_from_fields,
    job_to_fields,
    shard_from_fields,
    shard_to_fields,
)
from parallel_processor.jobs.shard import Shard, ShardPhase, trimmed
from parallel_processor.repository import schema
from parallel_processor.spending.account import Standing
from parallel_processor.spending.drawing import (
    Books,
    both,
    squeezed,
    standing_of_job,
    standing_of_tenant,
)
from parallel_processor.spending.tenant_budget import Hold, TenantBudget

_SQUEEZED_AT_ONCE = 50
_OPEN_PHASES = (ShardPhase.BEGUN, ShardPhase.FINISHED)
ResultT = TypeVar("ResultT")


class BudgetRepository:
    """Stores tenants' budgets, and takes from shards what they do not use."""

    def __init__(self, store: DocumentStore) -> None:
        self._store = store

    async def get(self, tenant: str) -> TenantBudget | None:
        """Return a tenant's budget; None while it has none."""
        return _budget(tenant, await self._store.get(schema.budget_key(tenant)))

    async def change(
        self,
        tenant: str,
        transition: Callable[[TenantBudget | None], tuple[TenantBudget | None, ResultT]],
    ) -> ResultT:
        """Apply a transition to a tenant's budget and return what it says.

        Raises:
            ServiceError: What the transition raises.
        """
        key = schema.budget_key(tenant)

        def decide(documents: Sequence[Document | None]) -> Decision[ResultT]:
            before = _budget(tenant, documents[0])
            after, result = transition(before)
            writes = [Set(key, _to_fields(after))] if after is not None and after != before else []
            return Decision(result, writes)

        return await self._store.transact([key], decide)

    async def change_job(
        self, tenant: str, job_id: str, transition: Callable[[Books], Job]
    ) -> tuple[Job, Job]:
        """Apply a transition to a job that depends on its tenant's budget; returns it before and after.

        Raises:
            ServiceError: ABORTED, reason JOB_CHANGED, if the job is gone.
        """

        def decide(documents: Sequence[Document | None]) -> Decision[tuple[Job, Job]]:
            books = read_books(tenant, *documents)
            after = transition(books)
            return Decision((books.job, after), books_writes(books, replace(books, job=after)))

        return await self._store.transact(books_keys(tenant, job_id), decide)

    async def take_stock(self, tenant: str, job_id: str) -> Standing:
        """Take back what shards do not use, and return where a job and its tenant's budget stand then.

        What is called spent is spent: of what changes meanwhile it counts nothing twice.
        """
        budget = await self.get(tenant)
        if budget is not None:
            await self._squeeze(await self._open(schema.SHARDS_OF_TENANT, tenant))
        else:
            await self._squeeze(await self._open(schema.SHARDS_OF_JOB, tenant, job_id))
        shards = await self._open(schema.SHARDS_OF_JOB, tenant, job_id)
        keys = books_keys(tenant, job_id)
        books = read_books(tenant, *await self._store.get_many(keys))
        of_job = standing_of_job(books.job, shards)
        if books.tenant is None:
            return of_job
        return both(of_job, await self._standing_of_tenant(books.tenant))

    async def take_stock_of_tenant(self, tenant: str) -> Standing | None:
        """Likewise for a tenant's budget alone; None while it has none."""
        if await self.get(tenant) is None:
            return None
        await self._squeeze(await self._open(schema.SHARDS_OF_TENANT, tenant))
        budget = await self.get(tenant)
        return await self._standing_of_tenant(budget) if budget is not None else None

    async def spent_in_open_shards(self, tenant: str) -> tuple[int, int]:
        """Return what a tenant's budget bears of shards that are not settled: spent, and uncertain."""
        spent = uncertain = 0
        for each in await self._open(schema.SHARDS_OF_TENANT, tenant):
            if each.tenant_base is not None:
                borne = each.spent - each.tenant_base
                unsure = min(borne, each.usage.uncertain_spend_micros)
                spent, uncertain = spent + borne - unsure, uncertain + unsure
        return spent, uncertain

    async def _standing_of_tenant(self, budget: TenantBudget) -> Standing:
        shards = await self._open(schema.SHARDS_OF_TENANT, budget.tenant)
        return standing_of_tenant(budget, shards)

    async def _squeeze(self, shards: Sequence[Shard]) -> None:
        """Take from shards what they do not use, job by job."""
        slack = sorted((each for each in shards if trimmed(each) is not each), key=lambda each: each.job_id)
        for job_id, of_job in groupby(slack, key=lambda each: each.job_id):
            group = list(of_job)
            for start in range(0, len(group), _SQUEEZED_AT_ONCE):
                await self._squeeze_some(job_id, group[start : start + _SQUEEZED_AT_ONCE])

    async def _squeeze_some(self, job_id: str, shards: Sequence[Shard]) -> None:
        tenant = shards[0].tenant
        keys = [schema.shard_key(tenant, job_id, each.number) for each in shards]

        def decide(documents: Sequence[Document | None]) -> Decision[None]:
            books = read_books(tenant, *documents[len(keys) :])
            present = [shard_from_fields(tenant, each.data) for each in documents[: len(keys)] if each]
            loose = [each for each in present if each.phase in _OPEN_PHASES and trimmed(each) is not each]
            after, less = squeezed(books, loose)
            writes: list[Write] = [
                Set(schema.shard_key(tenant, job_id, each.number), shard_to_fields(each)) for each in less
            ]
            return Decision(None, [*writes, *books_writes(books, after)])

        await self._store.transact([*keys, *books_keys(tenant, job_id)], decide)

    async def _open(self, shape: QueryShape, tenant: str, job_id: str = "") -> list[Shard]:
        """Return shards that are begun and not settled, each once, of a job or of all the tenant's."""
        found: dict[str, Shard] = {}  # one that finishes meanwhile is met in both phases
        for phase in _OPEN_PHASES:
            equals: dict[str, Value] = {"phase": phase.value}
            if job_id:
                equals["job_id"] = job_id
            cursor: str | None = None
            while True:
                page = await self._store.query(Query(shape, equals, tenant, limit=200, cursor=cursor))
                shards = [shard_from_fields(tenant, each.data) for each in page.documents]
                found |= {each.holder: each for each in shards}
                cursor = page.next_cursor
                if cursor is None:
                    break
        return [*found.values()]


def books_keys(tenant: str, job_id: str) -> list[Key]:
    """Name the documents of a job's books, in the order in which they are read."""
    return [schema.job_key(tenant, job_id), schema.budget_key(tenant)]


def read_books(tenant: str, job: Document | None, budget: Document | None = None) -> Books:
    """Read a job's books.

    Raises:
        ServiceError: ABORTED, reason JOB_CHANGED, if the job is gone.
    """
    if job is None:
        raise aborted("JOB_CHANGED", "a document of the job is gone")
    return Books(job_from_fields(tenant, job.data), _budget(tenant, budget))


def books_writes(before: Books, after: Books) -> list[Write]:
    """Return what makes a change of a job's books durable."""
    writes: list[Write] = []
    if after.job != before.job:
        writes.append(Set(schema.job_key(after.job.tenant, after.job.job_id), job_to_fields(after.job)))
    if after.tenant is not None and after.tenant != before.tenant:
        writes.append(Set(schema.budget_key(after.tenant.tenant), _to_fields(after.tenant)))
    return writes


def _to_fields(budget: TenantBudget) -> Fields:
    return {
        "since": budget.since,
        "cap": budget.cap,
        "spent": budget.spent,
        "uncertain": budget.uncertain,
        "granted": budget.granted,
        "holds": [
            {"holder": each.holder, "amount": each.amount, "until": each.until} for each in budget.holds
        ],
    }


def _budget(tenant: str, document: Document | None) -> TenantBudget | None:
    if document is None:
        return None
    known: Mapping[str, Any] = document.data
    return TenantBudget(
        tenant=tenant, **{**known, "holds": tuple(Hold(**each) for each in known.get("holds", ()))}
    )
