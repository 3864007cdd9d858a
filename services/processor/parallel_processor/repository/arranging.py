"""Shards follow their job, in one transaction with it: what it wants is read with them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from service_common.errors import not_found
from service_common.storage import Decision, Document, DocumentStore, Key, Set, Write

from parallel_processor.jobs.job import Job
from parallel_processor.jobs.records import (
    job_from_fields,
    job_to_fields,
    shard_from_fields,
    shard_to_fields,
)
from parallel_processor.jobs.retrying import check_retryable, retried
from parallel_processor.jobs.shard import Shard, arranged
from parallel_processor.repository import schema


async def arrange(store: DocumentStore, job: Job, shards: Sequence[Shard], *, now: datetime) -> list[Shard]:
    """Let unfinished shards be as their job wants them, and return those that are there.

    A pause that was taken back meanwhile parks nothing, so whoever resumes a job and then arranges its shards
    leaves none of them behind.
    """
    keys = _keys(job, shards)

    def decide(documents: Sequence[Document | None]) -> Decision[list[Shard]]:
        if documents[0] is None:
            return Decision([])
        wanted = job_from_fields(job.tenant, documents[0].data)
        found = [shard_from_fields(job.tenant, each.data) for each in documents[1:] if each is not None]
        after = [arranged(each, wanted, now) for each in found]
        return Decision(after, _changes(found, after))

    return await store.transact(keys, decide)


async def retry_items(
    store: DocumentStore, job: Job, shards: Sequence[Shard], *, now: datetime, round_: int
) -> tuple[Job, list[Shard]]:
    """Let the lost items of some shards be worked on again.

    Returns:
        The job, and those of the shards that were opened again.

    Raises:
        ServiceError: NOT_FOUND if the job is gone; FAILED_PRECONDITION if it cannot run.
    """

    def decide(documents: Sequence[Document | None]) -> Decision[tuple[Job, list[Shard]]]:
        if documents[0] is None:
            raise not_found("JOB_NOT_FOUND", f"there is no job {job.job_id!r}")
        before = job_from_fields(job.tenant, documents[0].data)
        check_retryable(before, now)
        found = [shard_from_fields(job.tenant, each.data) for each in documents[1:] if each is not None]
        after, wanted = retried(before, found, now, round_=round_)
        writes = _changes(found, wanted)
        if after != before:
            writes.append(Set(schema.job_key(job.tenant, job.job_id), job_to_fields(after)))
        opened = [new for old, new in zip(found, wanted, strict=True) if new.epoch != old.epoch]
        return Decision((after, opened), writes)

    return await store.transact(_keys(job, shards), decide)


def _keys(job: Job, shards: Sequence[Shard]) -> list[Key]:
    keys = [schema.job_key(job.tenant, job.job_id)]
    return keys + [schema.shard_key(each.tenant, each.job_id, each.number) for each in shards]


def _changes(before: Sequence[Shard], after: Sequence[Shard]) -> list[Write]:
    return [
        Set(schema.shard_key(new.tenant, new.job_id, new.number), shard_to_fields(new))
        for old, new in zip(before, after, strict=True)
        if new != old
    ]
