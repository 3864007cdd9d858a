"""What is stored comes back as it was, through the very encoding of the store."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from hypothesis import given
from hypothesis import strategies as st
from parallel_processor.jobs.item import Dependency, Item, ItemCounts, ItemState, Outcome
from parallel_processor.jobs.job import Job, JobState, Priority
from parallel_processor.jobs.piece import (
    CachePolicy,
    Piece,
    PieceError,
    PieceSpec,
    RawPrompt,
    Sampling,
    Usage,
)
from parallel_processor.jobs.records import (
    item_from_fields,
    item_to_fields,
    job_from_fields,
    job_to_fields,
    outcome_from_fields,
    outcome_to_fields,
    piece_from_fields,
    piece_to_fields,
    shard_from_fields,
    shard_to_fields,
)
from parallel_processor.jobs.shard import ItemSource, Shard, ShardPhase
from service_common.output_contract import Bounds, OutputContract
from service_common.storage.encoding import pack, unpack

T = TypeVar("T")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NAME = st.text("abcXYZ09_.-/ é", min_size=1, max_size=6).map(lambda name: f"a{name}")
LABELS = st.dictionaries(NAME, TEXT, max_size=2)
NUMBER = st.integers(0, 2**40)
INT64 = st.integers(-(2**63), 2**63 - 1)
RATIO = st.floats(0, 2, allow_nan=False)
TIME = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive by hypothesis' contract
MAYBE_TIME = st.none() | TIME

SAMPLINGS = st.builds(
    Sampling,
    max_tokens=st.integers(1, 131_072),
    temperature=st.none() | RATIO,
    top_p=st.none() | RATIO,
    seed=st.none() | INT64,
    stop=st.lists(TEXT, max_size=4).map(tuple),
)
RAWS = st.builds(
    RawPrompt,
    messages=st.lists(st.tuples(st.sampled_from(["system", "user"]), TEXT), max_size=3).map(tuple),
    sampling=SAMPLINGS,
)
BOUNDS = st.builds(Bounds, st.integers(0, 9), st.integers(0, 9))
CONTRACTS = st.builds(
    OutputContract,
    json_schema=st.none() | TEXT,
    markdown=st.booleans(),
    headings=st.lists(TEXT, max_size=2).map(tuple),
    sections=BOUNDS,
    words=BOUNDS,
)
SPECS = st.builds(
    PieceSpec,
    template_id=st.none() | TEXT,
    raw=st.none() | RAWS,
    template_version=NUMBER,
    variables=LABELS,
    content_type=TEXT,
    model=TEXT,
    max_tokens=NUMBER,
    variation=NUMBER,
    cache_policy=st.none() | st.sampled_from(CachePolicy),
    output_contract=st.none() | CONTRACTS,
    handlers=st.lists(TEXT, max_size=2).map(tuple),
)
NEEDS = st.lists(st.builds(Dependency, TEXT, TEXT), max_size=2).map(tuple)
USAGES = st.builds(Usage, *[NUMBER] * 7)
PIECES = st.builds(
    Piece,
    content=TEXT,
    content_type=TEXT,
    model=TEXT,
    template_id=TEXT,
    template_version=NUMBER,
    cache_key=TEXT,
    cached=st.booleans(),
    truncated=st.booleans(),
    prompt_tokens=NUMBER,
    output_tokens=NUMBER,
    cost_micros=NUMBER,
    quality=st.none() | RATIO,
    generate_s=RATIO,
)


def assert_round_trip(value: T, write: Callable[[T], dict[str, Any]], read: Callable[[Any], T]) -> None:
    """Assert that a value survives being stored."""
    assert read(unpack(pack(write(value)))) == value


@given(st.builds(Item, TEXT, SPECS, NEEDS, LABELS))
def test_items(item: Item) -> None:
    """An item."""
    assert_round_trip(item, item_to_fields, item_from_fields)


@given(PIECES)
def test_pieces(piece: Piece) -> None:
    """A piece."""
    assert_round_trip(piece, piece_to_fields, piece_from_fields)


@given(
    st.tuples(
        NUMBER,
        st.builds(
            Outcome,
            TEXT,
            st.sampled_from(ItemState),
            TIME,
            st.none() | PIECES,
            st.none() | st.builds(PieceError, TEXT, TEXT),
            NUMBER,
            st.dictionaries(NAME, RATIO, max_size=3),
            USAGES,
            LABELS,
        ),
    )
)
def test_outcomes(indexed: tuple[int, Outcome]) -> None:
    """An outcome with its place in the shard."""
    assert_round_trip(indexed, lambda each: outcome_to_fields(*each), outcome_from_fields)


@given(
    st.builds(
        Job,
        job_id=TEXT,
        tenant=st.just("acme"),
        user=TEXT,
        create_time=TIME,
        display_name=TEXT,
        state=st.sampled_from(JobState),
        priority=st.sampled_from(Priority),
        labels=LABELS,
        model=TEXT,
        cache_policy=st.sampled_from(CachePolicy),
        item_count=NUMBER,
        items_by_content_type=st.dictionaries(NAME, NUMBER, max_size=2),
        chunk_count=NUMBER,
        shard_count=NUMBER,
        settled=st.binary(max_size=4),
        counts=st.builds(ItemCounts, *[NUMBER] * 7),
        usage=USAGES,
        start_time=MAYBE_TIME,
        finish_time=MAYBE_TIME,
        traceparent=st.none() | TEXT,
        revision=NUMBER,
        unreported=st.booleans(),
    )
)
def test_jobs(job: Job) -> None:
    """A job; its tenant comes from its path."""
    assert_round_trip(job, job_to_fields, lambda fields: job_from_fields("acme", fields))


@given(
    st.builds(
        Shard,
        job_id=TEXT,
        tenant=st.just("acme"),
        number=NUMBER,
        priority=st.sampled_from(Priority),
        sources=st.lists(
            st.builds(ItemSource, NUMBER, st.lists(NUMBER, max_size=3).map(tuple)), max_size=2
        ).map(tuple),
        states=st.binary(max_size=4),
        claimable_at=MAYBE_TIME,
        phase=st.sampled_from(ShardPhase),
        owner=TEXT,
        epoch=NUMBER,
        commits=NUMBER,
        result_chunks=st.lists(TEXT, max_size=2).map(tuple),
        intents=st.dictionaries(st.integers(0, 999), NUMBER, max_size=2),
        cached=NUMBER,
        usage=USAGES,
        unreported=st.booleans(),
    )
)
def test_shards(shard: Shard) -> None:
    """A shard, also one that nobody can claim."""
    assert_round_trip(shard, shard_to_fields, lambda fields: shard_from_fields("acme", fields))


def test_what_queries_ask_for_is_always_written() -> None:
    """Fields that queries compare are there even when they hold their defaults, or nobody would be found."""
    shard = Shard("job", "acme", 0, Priority.NORMAL, (), b"", None)
    assert {"claimable", "claimable_at", "phase", "priority", "unreported", "number", "job_id"} <= set(
        shard_to_fields(shard)
    )
    job = Job("job", "acme", "ann", datetime(2026, 1, 1, tzinfo=UTC))
    assert {"state", "unreported", "create_time"} <= set(job_to_fields(job))
