"""A job's documents, removed: the job itself comes last, so that a crash leaves no orphan."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

from service_common.storage import Delete, DocumentStore

from parallel_processor.jobs.job import Job
from parallel_processor.jobs.shard import Shard, ShardPhase
from parallel_processor.repository import schema

_DELETES_AT_ONCE = 400


async def remove(
    store: DocumentStore, job: Job, shards_in: Callable[[Job, ShardPhase], AsyncIterator[Shard]]
) -> None:
    """Remove a job that was marked as deleted, and with its results its content versions. May be repeated."""
    for phase in ShardPhase:
        async for shard in shards_in(job, phase):
            chunks = [schema.result_chunk_key(shard.tenant, each) for each in shard.result_chunks]
            await _delete(store, [Delete(key) for key in chunks])
            await store.commit([Delete(schema.shard_key(shard.tenant, shard.job_id, shard.number))])
    numbers = range(job.chunk_count)
    await _delete(store, [Delete(schema.item_chunk_key(job.tenant, job.job_id, each)) for each in numbers])
    await store.commit([Delete(schema.job_key(job.tenant, job.job_id))])


async def _delete(store: DocumentStore, deletes: Sequence[Delete]) -> None:
    for start in range(0, len(deletes), _DELETES_AT_ONCE):
        await store.commit(deletes[start : start + _DELETES_AT_ONCE])
