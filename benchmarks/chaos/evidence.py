"""Takes the witnesses' statements: the store once nobody has it open, and the endpoints' logs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from contentfactory.processor.v1 import processor_pb2 as pb
from contentfactory.tracker.v1 import tracker_pb2
from parallel_processor.jobs.item import Outcome
from parallel_processor.jobs.job import Job
from parallel_processor.jobs.piece import Usage
from parallel_processor.jobs.records import job_from_fields, outcome_from_fields, shard_from_fields
from parallel_processor.jobs.shard import Shard
from parallel_processor.repository import SCHEMA
from parallel_processor.repository.schema import ITEM_CHUNKS, JOBS, RESULTS, SHARDS
from service_common.storage.encoding import unpack
from service_common.storage.migrating.scan import Stored
from service_common.storage.opening import open_scan

from benchmarks.chaos.history import Blow, Call, History, Received, Seen, Told
from tests.support.bill import read_lines

_AT_ONCE = 200


class StoredJob:
    """All documents of the one job in a processor's store.

    Attributes:
        job: The job.
        shards: Its shards, in order.
        chunks: Its stored results, by document.
        items: The ids of each shard's items.
    """

    def __init__(self, documents: Mapping[str, Sequence[Stored]]) -> None:
        """Read the documents of each collection."""
        (job,) = documents[JOBS]
        self.job: Job = job_from_fields(job.key.tenant, unpack(job.packed))
        shards = [shard_from_fields(each.key.tenant, unpack(each.packed)) for each in documents[SHARDS]]
        self.shards: list[Shard] = sorted(shards, key=lambda each: each.number)
        self.chunks: dict[str, list[tuple[int, Outcome]]] = {
            each.key.id: [outcome_from_fields(_fields(record)) for record in unpack(each.packed)["results"]]
            for each in documents[RESULTS]
        }
        ids = {each.key.id: _item_ids(each) for each in documents[ITEM_CHUNKS]}
        self.items = {
            shard.number: [
                ids[f"{self.job.job_id}.{source.chunk}"][position]
                for source in shard.sources
                for position in source.positions
            ]
            for shard in self.shards
        }


def _fields(record: Any) -> Mapping[str, Any]:
    fields: Mapping[str, Any] = record
    return fields


def _item_ids(chunk: Stored) -> list[str]:
    records: Any = unpack(chunk.packed)["items"]
    return [each["item_id"] for each in records]


async def read_store(path: Path) -> StoredJob:
    """Read a processor's store that no process has open."""
    scan = await open_scan(f"sqlite:///{path}", schema=SCHEMA)
    try:
        documents: dict[str, list[Stored]] = {}
        for name in (JOBS, SHARDS, RESULTS, ITEM_CHUNKS):
            found = documents.setdefault(name, [])
            while page := await scan.page(name, after=found[-1].key if found else None, limit=_AT_ONCE):
                found += page
        return StoredJob(documents)
    finally:
        await scan.close()


def read_calls(caller: str, log: Path) -> Iterator[Call]:
    """Read what the endpoint of one processor has logged."""
    times = map(orjson.loads, log.read_bytes().splitlines())
    for line, each in zip(read_lines(log), times, strict=True):
        yield Call(caller, line, each["arrived"], each["time"])


def received(results: Iterable[pb.ItemResult]) -> list[Received]:
    """Return what a client got."""
    return [
        Received(
            each.item_id,
            pb.ItemState.Name(each.state).removeprefix("ITEM_STATE_"),
            each.piece.content.partition(" ")[0],
        )
        for each in results
    ]


def seen(events: Iterable[tracker_pb2.ProgressEvent]) -> list[Seen]:
    """Return what a watcher saw."""
    return [
        Seen(
            each.sequence,
            each.item.item_id,
            tracker_pb2.ItemState.Name(each.item.state).removeprefix("ITEM_STATE_"),
        )
        if each.HasField("item")
        else Seen(each.sequence)
        for each in events
    ]


def told(progress: tracker_pb2.JobProgress) -> Told:
    """Return what the tracker says."""
    totals = progress.totals
    return Told(
        state=tracker_pb2.JobState.Name(progress.state).removeprefix("JOB_STATE_"),
        succeeded=totals.succeeded,
        failed=totals.failed + totals.skipped + totals.cancelled,
        usage=Usage(
            prompt_tokens=totals.prompt_tokens,
            output_tokens=totals.output_tokens,
            cost_micros=totals.cost_micros,
            uncertain_spend_micros=totals.uncertain_spend_micros,
        ),
        last_sequence=progress.last_sequence,
    )


def history_of(
    stored: StoredJob,
    *,
    got: Sequence[Received],
    watched: Sequence[Seen],
    last: Told,
    calls: Sequence[Call],
    blows: Sequence[Blow],
) -> History:
    """Put the statements together."""
    return History(
        items=stored.items,
        job=stored.job,
        shards=stored.shards,
        chunks=stored.chunks,
        received=got,
        seen=watched,
        told=last,
        calls=calls,
        blows=blows,
    )
