"""Shards and results as documents: claims, commits and settlements, each one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from service_common.errors import aborted
from service_common.storage import Decision, Delete, Document, DocumentStore, Key, Query, Set, Value, Write

from parallel_processor.jobs import shard as transitions
from parallel_processor.jobs.item import Outcome
from parallel_processor.jobs.job import Job, JobState, Priority, running, settle
from parallel_processor.jobs.records import (
    job_from_fields,
    job_to_fields,
    outcome_from_fields,
    shard_from_fields,
    shard_to_fields,
)
from parallel_processor.jobs.retrying import retried
from parallel_processor.jobs.shard import Commit, Shard, ShardPhase
from parallel_processor.repository import schema
from parallel_processor.repository.arranging import arrange, retry_items
from parallel_processor.repository.budgets import books_keys, books_writes, read_books
from parallel_processor.repository.content_versions import result_chunk_to_fields
from parallel_processor.spending import drawing

_READ_AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class Claim:
    """A shard whose lease was just taken, and its job."""

    job: Job
    shard: Shard


@dataclass(frozen=True, slots=True)
class Look:
    """What a look for shards has found.

    Attributes:
        shards: What may be claimed, the most urgent first and then the longest waiting.
        next_expiry: When the first of the leases seen ends unless it is renewed; None if none was seen.
    """

    shards: Sequence[Shard]
    next_expiry: datetime | None


class ShardRepository:
    """Stores shards and results."""

    def __init__(self, store: DocumentStore) -> None:
        self._store = store

    async def claimable(self, *, now: datetime, limit: int) -> Look:
        """Look for shards that may be claimed now.

        Of equal urgency, those that are leased come last, the one whose lease ends first before the others: a
        page that ends in one has told all about its urgency, and how much is leased does not cost reads. If
        fewer than `limit` shards are found, `next_expiry` is that of all leases.
        """
        found: list[Shard] = []
        leases: list[datetime] = []
        upper: int | None = None
        cursor: str | None = None
        while len(found) < limit:
            query = Query(
                schema.SHARDS_CLAIMABLE, {"claimable": True}, upper=upper, limit=limit, cursor=cursor
            )
            page = await self._store.query(query)
            shards = [shard_from_fields(each.key.tenant, each.data) for each in page.documents]
            found += [each for each in shards if each.is_claimable(now)]
            leases += [each.claimable_at for each in shards if each.claimable_at and each.claimable_at > now]
            cursor = page.next_cursor
            if cursor is None:
                break
            if not shards[-1].is_claimable(now):
                if shards[-1].priority is min(Priority):
                    break
                upper, cursor = shards[-1].priority - 1, None
        return Look(found[:limit], min(leases, default=None))

    async def claimable_of(self, tenant: str, job_id: str, *, now: datetime, limit: int) -> Look | None:
        """Look for shards of one job that may be claimed now; None if the job has none left at all."""
        equals: dict[str, Value] = {"job_id": job_id, "claimable": True}
        shards = await self._query(Query(schema.SHARDS_CLAIMABLE_OF_JOB, equals, tenant, limit=limit))
        leases = [each.claimable_at for each in shards if each.claimable_at and each.claimable_at > now]
        found = [each for each in shards if each.is_claimable(now)]
        return Look(found, min(leases, default=None)) if shards else None

    async def left_behind_of(
        self, tenant: str, job_id: str, *, since: datetime, now: datetime, limit: int
    ) -> list[Shard]:
        """Return shards of one job that were claimed before and may be claimed again, the longest free first.

        Args:
            tenant: Whose job it is.
            job_id: The job.
            since: When it was started; what nobody has claimed yet is free since then.
            now: Leases that have ended by now are over.
            limit: The most to return.
        """
        equals: dict[str, Value] = {"job_id": job_id, "claimable": True}
        lower = since + timedelta(microseconds=1)
        return await self._query(
            Query(schema.SHARDS_CLAIMABLE_OF_JOB, equals, tenant, lower=lower, upper=now, limit=limit)
        )

    async def claim(self, shard: Shard, *, owner: str, now: datetime, lease: timedelta) -> Claim:
        """Take a shard's lease under a new epoch, and mark its job as running.

        Raises:
            ServiceError: ABORTED if someone else was faster, or the job is not started.
        """
        key = _key(shard)
        job_key = schema.job_key(shard.tenant, shard.job_id)
        seen = await self._store.get(job_key)
        read = None if seen is None else job_from_fields(shard.tenant, seen.data)
        if read is not None and read.state is JobState.PAUSED:
            await self.arrange(read, [shard], now=now)
            raise aborted("SHARD_NOT_CLAIMABLE", f"job {shard.job_id} is paused")
        begins = read is None or running(read) is not read

        # Every claim of a job reads its document, so only one that writes it, the first, makes it part of
        # the transaction: on Firestore the others would contend for it, and pay for it.
        def decide(documents: Sequence[Document | None]) -> Decision[Claim | None]:
            found = documents[1] if begins else seen
            if documents[0] is None or found is None:
                return Decision(None, [Delete(key)])
            before = shard_from_fields(shard.tenant, documents[0].data)
            job = job_from_fields(shard.tenant, found.data)
            if job.state is JobState.DRAFT:  # being started, or left by a start that did not come through
                return Decision(None, [Set(key, shard_to_fields(transitions.postponed(before, now + lease)))])
            if before.number >= job.shard_count:  # left over from a start that did not come through
                return Decision(None, [Delete(key)])
            after = transitions.claimed(before, owner=owner, now=now, lease=lease)
            begun = running(job)
            writes: list[Write] = [Set(key, shard_to_fields(after))]
            if begun is not job:
                writes.append(Set(job_key, job_to_fields(begun)))
            return Decision(Claim(begun, after), writes)

        claim = await self._store.transact([key, job_key] if begins else [key], decide)
        if claim is None:
            raise aborted("SHARD_NOT_CLAIMABLE", f"shard {shard.holder} belongs to no started job")
        return claim

    async def commit(
        self, shard: Shard, commit: Commit, results: Mapping[str, Mapping[int, Outcome]]
    ) -> Shard:
        """Make a commit durable: its results, and the shard that shows them.

        Repeating a commit whose answer was lost changes nothing. Of the calls it announces, those are part of
        the shard then that the budgets can bear.

        Args:
            shard: The shard.
            commit: What to make durable.
            results: The commit's outcomes, by the ids of the documents they go into.

        Raises:
            ServiceError: ABORTED, reason LEASE_LOST, if the epoch is not the present one.
        """
        key = _key(shard)
        chunks: list[Write] = [
            Set(
                schema.result_chunk_key(shard.tenant, chunk_id),
                result_chunk_to_fields(shard.job_id, outcomes),
            )
            for chunk_id, outcomes in results.items()
        ]

        def decide(documents: Sequence[Document | None]) -> Decision[Shard]:
            now = _present(documents[0], shard)
            if transitions.is_applied(now, commit):
                return Decision(now)
            moved: list[Write] = []
            if commit.draw is not None:
                books = read_books(shard.tenant, documents[1], documents[2])
                after_books, now = drawing.drawn(books, now, commit)
                moved = books_writes(books, after_books)
            after = transitions.committed(now, commit)
            return Decision(after, [*chunks, Set(key, shard_to_fields(after)), *moved])

        keys = [key] if commit.draw is None else [key, *books_keys(shard.tenant, shard.job_id)]
        return await self._store.transact(keys, decide)

    async def renew(self, shard: Shard, *, lease_until: datetime) -> None:
        """Extend a shard's lease.

        Raises:
            ServiceError: ABORTED, reason LEASE_LOST, if the epoch is not the present one.
        """
        await self._change(
            shard, lambda each: transitions.renewed(each, epoch=shard.epoch, lease_until=lease_until)
        )

    async def hand_back(self, shard: Shard, *, now: datetime) -> None:
        """Free a shard to be claimed at once, or when its paused job is resumed.

        Nothing happens when the epoch is not the present one.
        """
        key, job_key = _key(shard), schema.job_key(shard.tenant, shard.job_id)

        def decide(documents: Sequence[Document | None]) -> Decision[None]:
            before = _present(documents[0], shard)
            job = job_from_fields(shard.tenant, _data(documents[1]))
            free = transitions.handed_back(before, epoch=shard.epoch, now=now)
            after = free if free is before else transitions.arranged(free, job, now)
            return Decision(None, [Set(key, shard_to_fields(after))] if after != before else [])

        await self._store.transact([key, job_key], decide)

    async def arrange(self, job: Job, shards: Sequence[Shard], *, now: datetime) -> list[Shard]:
        """Let unfinished shards be as their job wants them; see `arrange`."""
        return await arrange(self._store, job, shards, now=now)

    async def settle(
        self, job: Job, shards: Sequence[Shard], *, now: datetime, reported: frozenset[int]
    ) -> Job:
        """Add finished shards' totals to their job, each once, and return the job as it is then.

        Args:
            job: The job.
            shards: Finished shards of it.
            now: The job's finish time if these are the last.
            reported: Numbers of those whose last commit the tracker has acknowledged.
        """
        job_key = schema.job_key(job.tenant, job.job_id)
        by_tenant = any(each.tenant_base is not None for each in shards)
        bearing = [schema.budget_key(job.tenant)] if by_tenant else []
        keys = [*(_key(each) for each in shards), job_key, *bearing]

        def decide(documents: Sequence[Document | None]) -> Decision[Job]:
            read = [shard_from_fields(job.tenant, _data(each)) for each in documents[: len(shards)]]
            books = read_books(job.tenant, *documents[len(shards) :])
            before = books.job
            again = [each for each in read if each.retry and each.phase is ShardPhase.FINISHED]
            opened: list[Shard] = []
            if again and before.state.started:
                before, opened = retried(before, again, now, round_=before.retries + 1)
            over = (ShardPhase.FINISHED, ShardPhase.SETTLED)
            finished = [each for each in read if each.phase in over and not (opened and each in again)]
            after = settle(before, [each.totals for each in finished], now)
            writes: list[Write] = [Set(_key(each), shard_to_fields(each)) for each in opened]
            writes += [
                Set(_key(each), shard_to_fields(transitions.settled(each, reported=each.number in reported)))
                for each in finished
                if each.phase is ShardPhase.FINISHED
            ]
            closed = drawing.settled(books, finished)
            writes += books_writes(books, replace(closed, job=after))
            return Decision(after, writes)

        return await self._store.transact(keys, decide)

    async def retry(
        self, job: Job, shards: Sequence[Shard], *, now: datetime, round_: int
    ) -> tuple[Job, list[Shard]]:
        """Let the lost items of some shards be worked on again; see `retry_items`."""
        return await retry_items(self._store, job, shards, now=now, round_=round_)

    async def finished(self, limit: int) -> list[Shard]:
        """Return finished shards whose totals are not part of their jobs yet."""
        query = Query(schema.SHARDS_BY_PHASE, {"phase": ShardPhase.FINISHED.value}, limit=limit)
        return await self._query(query)

    async def unreported(self, limit: int) -> list[Shard]:
        """Return settled shards whose last commit may not have reached the tracker."""
        equals: dict[str, Value] = {"phase": ShardPhase.SETTLED.value, "unreported": True}
        return await self._query(Query(schema.SHARDS_UNREPORTED, equals, limit=limit))

    async def mark_reported(self, shard: Shard) -> None:
        """Note that the tracker has acknowledged a settled shard's last commit."""
        await self._change(shard, lambda each: transitions.settled(each, reported=True))

    async def read(self, job: Job, numbers: Sequence[int]) -> list[Shard]:
        """Return shards of a job by number, in order; those that are not there are left out."""
        keys = [schema.shard_key(job.tenant, job.job_id, number) for number in numbers]
        documents = await self._store.get_many(keys) if keys else []
        return [shard_from_fields(job.tenant, each.data) for each in documents if each is not None]

    async def results(self, shard: Shard, *, chunks: slice = slice(None)) -> list[tuple[int, Outcome]]:
        """Return a shard's results with their item indexes, in the order in which they were committed."""
        keys = [schema.result_chunk_key(shard.tenant, each) for each in shard.result_chunks[chunks]]
        read: list[tuple[int, Outcome]] = []
        for start in range(0, len(keys), _READ_AT_ONCE):
            for document in await self._store.get_many(keys[start : start + _READ_AT_ONCE]):
                read += [outcome_from_fields(each) for each in _data(document)["results"]]
        return read

    async def _query(self, query: Query) -> list[Shard]:
        page = await self._store.query(query)
        return [shard_from_fields(each.key.tenant, each.data) for each in page.documents]

    async def _change(self, shard: Shard, transition: Callable[[Shard], Shard]) -> None:
        key = _key(shard)

        def decide(documents: Sequence[Document | None]) -> Decision[None]:
            before = _present(documents[0], shard)
            after = transition(before)
            return Decision(None, [Set(key, shard_to_fields(after))] if after != before else [])

        await self._store.transact([key], decide)


def _key(shard: Shard) -> Key:
    return schema.shard_key(shard.tenant, shard.job_id, shard.number)


def _present(document: Document | None, shard: Shard) -> Shard:
    if document is None:
        raise aborted(transitions.LEASE_LOST, f"shard {shard.holder} is gone")
    return shard_from_fields(shard.tenant, document.data)


def _data(document: Document | None) -> Mapping[str, Any]:
    if document is None:
        raise aborted("JOB_CHANGED", "a document of the job is gone")
    return document.data
