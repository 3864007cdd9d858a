"""One document of each collection as its service writes it: the size of what a query returns.

A collection that is not among them is given 1 KiB of text.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from content_cache.entry import Address, Entry
from content_cache.repository.record import Stamp, encode, frame
from parallel_processor.jobs.item import ItemCounts, ItemState, Outcome
from parallel_processor.jobs.job import Job, JobState, Priority
from parallel_processor.jobs.piece import Piece, Usage
from parallel_processor.jobs.records import job_to_fields, outcome_to_fields, shard_to_fields
from parallel_processor.jobs.shard import ItemSource, new_shard
from progress_tracker.documents import chunk_fields, progress_fields
from progress_tracker.job_log import CHUNK_EVENTS, Chunk
from progress_tracker.progress import ProgressFold
from progress_tracker.rate import RateWindow
from progress_tracker.report import JobPriority as TrackedPriority
from progress_tracker.report import JobState as TrackedState
from progress_tracker.report import JobUpdate, Totals
from prompt_optimizer.builtin.loading import load_built_in
from prompt_optimizer.outcomes.outcome import Status
from prompt_optimizer.outcomes.record import MARK_BYTES, Part, QualityRecord
from prompt_optimizer.repository.record_fields import page_fields
from prompt_optimizer.repository.records import template_fields, version_fields
from prompt_optimizer.templates.template import Family, VersionKey, create
from service_common.storage import Value

from benchmarks.support.factory import CONTENT_TYPES

_ITEMS = 1_000
_SHARD_ITEMS = 64
_PIECE_BYTES = 2_500
_CHUNK_RESULTS = 4
_EVENT_BYTES = 110
_PART_RECORDS = 8
_PAGE_PARTS = 30
_UNKNOWN: Mapping[str, Value] = {"filler": "x" * 1024}
_COUNTS = dict.fromkeys(CONTENT_TYPES, _ITEMS // len(CONTENT_TYPES))
_BUILT_IN = load_built_in()["study_guide"]

Fields = Mapping[str, Value]


def specimens(now: datetime) -> dict[str, Fields]:
    """Return a document's fields by schema and collection, as in `processor_jobs`."""
    return {
        "cache_segments": _segment(now),
        "optimizer_templates": _template(now),
        "optimizer_versions": version_fields(_BUILT_IN[1]),
        "optimizer_quality_records": _quality_records(now),
        "processor_jobs": _job(now),
        "processor_shards": _shard(now),
        "processor_results": _results(now),
        "tracker_jobs": _progress(now),
        "tracker_events": _events(now),
    }


def specimen(known: Mapping[str, Fields], name: str) -> Fields:
    """Return a document's fields; filler for a collection that nobody described."""
    return known.get(name, _UNKNOWN)


def _segment(now: datetime) -> Fields:
    """What a cache writes that stores one piece in its interval."""
    address = Address("tenant", "k1-" + "0" * 64)
    entry = Entry(address, b"x" * _PIECE_BYTES, 420, now, now + timedelta(days=7))
    framed = frame(encode(address, entry), Stamp(1, 1), covers=2**50)
    return {"create_time": now, "continued": False, "records": [framed], "expire_time": now}


def _template(now: datetime) -> Fields:
    return template_fields(
        create("study-guide", "study_guide", display_name="Study guide", born=7, now=now, user="someone")
    )


def _quality_records(now: datetime) -> Fields:
    """A page of what came of some seconds of a busy job."""
    record = QualityRecord(
        version=VersionKey(Family("study_guide", 7), 3),
        content_type="study_guide",
        status=Status.SUCCEEDED,
        score=0.87,
        aspects=(("length", 0.9), ("structure", 0.8), ("subject", 0.9)),
        prompt_tokens=900,
        output_tokens=700,
        cost_micros=420,
        latency_s=3.1,
        time=now,
    )
    part = Part(b"x" * MARK_BYTES, (record,) * _PART_RECORDS, {})
    return page_fields((part,) * _PAGE_PARTS, create_time=now, expire_time=now)


def _job(now: datetime) -> Fields:
    return job_to_fields(
        Job(
            "0" * 32,
            tenant="tenant",
            user="someone",
            create_time=now,
            display_name="Autumn term, biology",
            state=JobState.SUCCEEDED,
            labels={"course": "biology", "term": "autumn"},
            item_count=_ITEMS,
            items_by_content_type=_COUNTS,
            chunk_count=_ITEMS // _SHARD_ITEMS,
            shard_count=_ITEMS // _SHARD_ITEMS,
            settled=b"\xff\xff",
            counts=ItemCounts(succeeded=_ITEMS, cached=40),
            usage=Usage(900_000, 700_000, 960, 420_000, 17_000),
            start_time=now,
            finish_time=now,
            traceparent="00-" + "0" * 32 + "-" + "0" * 16 + "-01",
        )
    )


def _shard(now: datetime) -> Fields:
    sources = (ItemSource(3, tuple(range(_SHARD_ITEMS))),)
    shard = new_shard(
        job_id="0" * 32, tenant="tenant", number=3, priority=Priority.NORMAL, sources=sources, now=now
    )
    return shard_to_fields(shard)


def _results(now: datetime) -> Fields:
    piece = Piece(
        content="x" * _PIECE_BYTES,
        content_type="study_guide",
        model="small",
        template_id="study_guide",
        template_version=3,
        cache_key="k1-" + "0" * 64,
        cached=False,
        truncated=False,
        prompt_tokens=900,
        output_tokens=700,
        cost_micros=420,
        quality=0.9,
        generate_s=3.1,
    )
    outcome = Outcome("item-1", ItemState.SUCCEEDED, now, piece, attempts=1, usage=Usage(900, 700, 1, 420))
    results = [outcome_to_fields(index, outcome) for index in range(_CHUNK_RESULTS)]
    return {"job_id": "0" * 32, "results": results}


def _progress(now: datetime) -> Fields:
    about = JobUpdate(
        TrackedState.SUCCEEDED,
        display_name="Autumn term, biology",
        user="someone",
        priority=TrackedPriority.NORMAL,
        labels={"course": "biology", "term": "autumn"},
        item_count=_ITEMS,
        items_by_content_type=_COUNTS,
        create_time=now,
        start_time=now,
        finish_time=now,
    )
    stages = ("queue", "prompt", "cache", "generate", "validate", "score", "commit")
    fold = ProgressFold(
        "0" * 32,
        "0" * 16,
        about=about,
        totals=Totals(succeeded=_ITEMS, prompt_tokens=900_000, output_tokens=700_000, cost_micros=420_000),
        stages=dict.fromkeys(stages, (_ITEMS, 1_000_000_000)),
        content_types=dict.fromkeys(CONTENT_TYPES, (125, 125)),
        rate=RateWindow(first=0, latest=60, counts=dict.fromkeys(range(60), 17)),
        update_time=now,
    )
    fields = progress_fields(fold, fold.snapshot(), now=now, expire=now)
    return {**fields, "producer_count": 16}


def _events(now: datetime) -> Fields:
    return chunk_fields("0" * 32, Chunk(1, (b"x" * _EVENT_BYTES,) * CHUNK_EVENTS), expire=now)
