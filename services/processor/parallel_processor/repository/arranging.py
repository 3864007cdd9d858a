"""Shards follow their job, in one transaction with it: what it wants is read with them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from service_common.storage import Decision, Document, DocumentStore, Set

from parallel_processor.jobs.job import Job
from parallel_processor.jobs.records import job_from_fields, shard_from_fields, shard_to_fields
from parallel_processor.jobs.shard import Shard, arranged
from parallel_processor.repository import schema


async def arrange(store: DocumentStore, job: Job, shards: Sequence[Shard], *, now: datetime) -> list[Shard]:
    """Let unfinished shards be as their job wants them, and return those that are there.

    A pause that was taken back meanwhile parks nothing, so whoever resumes a job and then arranges its shards
    leaves none of them behind.
    """
    keys = [schema.job_key(job.tenant, job.job_id)]
    keys += [schema.shard_key(each.tenant, each.job_id, each.number) for each in shards]

    def decide(documents: Sequence[Document | None]) -> Decision[list[Shard]]:
        if documents[0] is None:
            return Decision([])
        wanted = job_from_fields(job.tenant, documents[0].data)
        found = [shard_from_fields(job.tenant, each.data) for each in documents[1:] if each is not None]
        after = [arranged(each, wanted, now) for each in found]
        writes = [
            Set(schema.shard_key(new.tenant, new.job_id, new.number), shard_to_fields(new))
            for old, new in zip(found, after, strict=True)
            if new != old
        ]
        return Decision(after, writes)

    return await store.transact(keys, decide)
