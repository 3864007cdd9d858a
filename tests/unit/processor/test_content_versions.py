"""Content versions in the store: the chunks of commits, listed every way, and no write besides."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from parallel_processor.content_versions.question import Question, VersionOrder
from parallel_processor.content_versions.version import ContentVersion
from parallel_processor.jobs.item import ItemState, Outcome
from parallel_processor.jobs.job import started
from parallel_processor.jobs.shard import Commit, Shard
from parallel_processor.repository import (
    SCHEMA,
    ContentVersionRepository,
    JobRepository,
    ShardRepository,
    schema,
)
from parallel_processor.running.journal import Journal, Pace
from parallel_processor.version_listing import ContentVersions
from service_common.clock import ManualClock
from service_common.errors import ServiceError
from service_common.storage import DocumentStore, Set, open_store
from service_common.storage.metering import MeteredStore, Operation

from tests.unit.processor.running.fakes import purse
from tests.unit.processor.samples import LEASE, NOW, job, outcome, shard

NEWEST = Question()
LOWEST = Question(content_type="faq", order=VersionOrder.LOWEST_QUALITY_FIRST)
HIGHEST = replace(LOWEST, order=VersionOrder.HIGHEST_QUALITY_FIRST)


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[DocumentStore]:
    """An empty store."""
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/p.db"
    opened = await open_store(url, schema=SCHEMA, clock=ManualClock())
    yield opened
    await opened.close()


async def claimed(store: DocumentStore, size: int, *, job_id: str = "job", tenant: str = "acme") -> Shard:
    """Return the one shard of a started job, just claimed."""
    draft = job(size, job_id=job_id, tenant=tenant)
    jobs = JobRepository(store)
    await jobs.create(draft)
    fresh = replace(shard(size), job_id=job_id, tenant=tenant)
    await jobs.start(draft, [fresh], lambda each: started(each, shard_count=1, now=NOW, traceparent=None))
    claim = await ShardRepository(store).claim(fresh, owner="w", now=NOW, lease=LEASE)
    return claim.shard


def made(item_id: str, *, quality: float | None = 0.5, second: int = 0, content: str = "text") -> Outcome:
    """Return how an item succeeded, so many seconds after the start."""
    good = outcome(item_id, content=content)
    assert good.piece is not None
    finish_time = NOW + timedelta(seconds=second)
    return replace(good, finish_time=finish_time, piece=replace(good.piece, quality=quality))


async def commit(store: DocumentStore, held: Shard, *outcomes: Outcome) -> Shard:
    """Commit the next items of a shard as one chunk."""
    first = held.counts.finished
    by_index = {first + number: each for number, each in enumerate(outcomes)}
    chunk = f"{held.job_id}.{held.number}.{held.epoch}.{held.commits + 1}.0"
    after = Commit(
        epoch=held.epoch,
        number=held.commits + 1,
        lease_until=NOW + LEASE,
        outcomes=by_index,
        result_chunks=(chunk,),
    )
    return await ShardRepository(store).commit(held, after, {chunk: by_index})


async def pages(
    store: DocumentStore, question: Question, *, size: int = 50, tenant: str = "acme", **options: Any
) -> AsyncIterator[list[ContentVersion]]:
    """Yield the pages of a listing."""
    versions = ContentVersions(ContentVersionRepository(store))
    token = ""
    while True:
        given = {"with_content": False, **options}
        page, token = await versions.list_page(tenant, question, limit=size, page_token=token, **given)
        yield page
        if not token:
            return


async def listed(store: DocumentStore, question: Question, **options: Any) -> list[ContentVersion]:
    """Return a whole listing."""
    return [each async for page in pages(store, question, **options) for each in page]


async def items(store: DocumentStore, question: Question, **options: Any) -> list[str]:
    """Return the items of a whole listing."""
    return [each.item_id for each in await listed(store, question, **options)]


async def test_a_commit_writes_its_shard_and_a_chunk_per_hundred_outcomes(store: DocumentStore) -> None:
    """However many outcomes: what lists them costs no write; the store takes each chunk's lists."""
    counts: dict[tuple[str, Operation], int] = {}

    def count(collection: str, operation: Operation, times: int) -> None:
        counts[collection, operation] = counts.get((collection, operation), 0) + times

    held = await claimed(store, 230)
    journal = Journal(
        held,
        ShardRepository(MeteredStore(store, SCHEMA, count=count)),
        clock=ManualClock(),
        rng=random.Random(1),
        lease=LEASE,
        pace=Pace(0.0),
        purse=purse(),
        on_commit=lambda *_: None,
    )
    for index in range(230):
        journal.finish(index, made(f"i{index}", quality=index / 230))
    await asyncio.wait_for(journal.run(), 10)
    writes = {name: times for (name, operation), times in counts.items() if operation is Operation.WRITE}
    assert writes == {schema.SHARDS: 1, schema.RESULTS: 3}
    assert sorted(await items(store, NEWEST)) == sorted(f"i{n}" for n in range(230))


async def test_what_is_generated_again_is_a_further_version(store: DocumentStore) -> None:
    """Two jobs with one item give two versions of it, the newest first; each is found by its id."""
    old, new = await claimed(store, 2, job_id="old"), await claimed(store, 2, job_id="new")
    await commit(store, new, made("a", second=9, content="new"), made("b"))
    await commit(store, old, made("a", second=5, content="old"), made("c"))
    found = await listed(store, Question(item_id="a"))
    assert [(each.job_id, each.piece.content) for each in found] == [("new", "new"), ("old", "old")]
    versions = ContentVersions(ContentVersionRepository(store))
    assert [await versions.get("acme", each.version_id) for each in found] == found
    assert await items(store, Question(item_id="c")) == ["c"]
    assert await items(store, Question(item_id="d")) == []


async def test_only_successes_are_versions(store: DocumentStore) -> None:
    """What failed is listed nowhere and has no id, also in a chunk with others."""
    held = await commit(store, await claimed(store, 3), made("a"), outcome("b", ItemState.FAILED))
    await commit(store, held, outcome("c", ItemState.FAILED))
    (only,) = await listed(store, NEWEST)
    assert only.item_id == "a"
    assert await items(store, Question(item_id="b")) == []
    for version_id in (f"{only.chunk_id}.1", f"{only.chunk_id}.2", "job.0.1.2.0.0", "job.0.1.3.0.0", "x"):
        with pytest.raises(ServiceError) as caught:
            await ContentVersionRepository(store).get("acme", version_id)
        assert caught.value.reason == "CONTENT_VERSION_NOT_FOUND"


async def test_a_commit_that_lost_its_lease_leaves_no_version(store: DocumentStore) -> None:
    """The chunk of a commit that is refused is not written, so nobody finds it."""
    held = await claimed(store, 2)
    with pytest.raises(ServiceError):
        await commit(store, replace(held, epoch=held.epoch - 1), made("a"))
    assert await items(store, NEWEST) == []


async def test_a_repeated_commit_lists_once(store: DocumentStore) -> None:
    """A commit whose answer was lost and that is sent again leaves one version of each item."""
    held = await claimed(store, 2)
    for _ in range(2):
        await commit(store, held, made("a"))
    assert await items(store, NEWEST) == ["a"]


async def test_tenants_do_not_meet(store: DocumentStore) -> None:
    """The same item of another tenant is not listed and not found by its id."""
    await commit(store, await claimed(store, 1), made("a"))
    (mine,) = await listed(store, NEWEST)
    for question in (NEWEST, Question(item_id="a"), Question(content_type="faq"), LOWEST):
        assert await items(store, question) == ["a"]
        assert await items(store, question, tenant="umbrella") == []
    with pytest.raises(ServiceError):
        await ContentVersionRepository(store).get("umbrella", mine.version_id)


async def many(store: DocumentStore, count: int, per_chunk: int) -> dict[str, float]:
    """Commit many items in small chunks, several at one moment; returns their scores."""
    dice = random.Random(7)
    scores = {f"i{n:03}": dice.random() for n in range(count)}
    held = await claimed(store, count)
    names = list(scores)
    for start in range(0, count, per_chunk):
        chunk = names[start : start + per_chunk]
        outcomes = [made(each, quality=scores[each], second=start // 30) for each in chunk]
        held = await commit(store, held, *outcomes)
    return scores


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_newest_first_pages_join_to_the_whole(store: DocumentStore, size: int) -> None:
    """Whatever the page size, each version comes once, by time, chunk and place, all descending."""
    await many(store, 90, 4)
    order = {n: (n // 4 * 4 // 30, f"{n // 4 + 1}.", n % 4) for n in range(90)}
    wanted = [f"i{n:03}" for n in sorted(order, key=order.__getitem__, reverse=True)]
    for question in (NEWEST, Question(content_type="faq")):
        found = [[each.item_id for each in page] async for page in pages(store, question, size=size)]
        assert [name for page in found for name in page] == wanted
        assert [len(page) for page in found[:-1]] == [size] * (-(-90 // size) - 1)
    assert await items(store, Question(content_type="podcast"), size=size) == []


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("question", [LOWEST, HIGHEST])
async def test_pages_by_quality_join_to_the_whole(
    store: DocumentStore, size: int, question: Question
) -> None:
    """Each version within the bounds comes once; pages are sorted, and grades follow one another."""
    scores = await many(store, 90, 4)
    bounded = replace(question, min_quality=0.23, max_quality=0.81)
    found = [page async for page in pages(store, bounded, size=size)]
    sign = 1 if question is LOWEST else -1
    for page in found:
        qualities = [sign * (each.piece.quality or 0) for each in page]
        assert qualities == sorted(qualities)
    joined = [sign * scores[each.item_id] for page in found for each in page]
    assert all(later > earlier - 0.05 for n, later in enumerate(joined) for earlier in joined[:n])
    names = sorted(each.item_id for page in found for each in page)
    assert names == sorted(name for name, each in scores.items() if 0.23 <= each <= 0.81)


async def test_pages_are_not_upset_by_what_is_committed_meanwhile(store: DocumentStore) -> None:
    """What was there at the first page comes once, though each page is followed by another commit."""
    held = await claimed(store, 60)
    for second in range(10):
        held = await commit(store, held, *(made(f"{second}.{n}", second=second) for n in range(3)))
    there = await items(store, NEWEST)
    seen: list[str] = []
    second = 10
    async for page in pages(store, NEWEST, size=4):
        seen += [each.item_id for each in page]
        held = await commit(store, held, made(f"later {second}", second=second))
        second += 1
    assert seen == there


async def test_a_page_is_bounded_in_bytes_with_content_and_not_without(store: DocumentStore) -> None:
    """Large content makes short pages where it is asked for; nothing is left out."""
    held = await claimed(store, 12)
    for second in range(12):
        held = await commit(store, held, made(f"{second}", second=second, content="x" * 400_000))
    sizes = [len(page) async for page in pages(store, NEWEST, with_content=True)]
    assert sizes == [4, 4, 4]
    assert [len(page) async for page in pages(store, NEWEST)] == [12]


async def test_a_page_is_bounded_in_what_is_read_for_it(store: DocumentStore) -> None:
    """A search that finds nothing in its grade stops and goes on with its token, and misses nothing."""
    held = await claimed(store, 200)
    for second in range(130):
        quality = 0.54 if second == 3 else 0.51
        held = await commit(store, held, made(f"{second}", second=second, quality=quality))
    question = replace(LOWEST, min_quality=0.53, max_quality=0.55)
    found = [[each.item_id for each in page] async for page in pages(store, question)]
    assert found == [[], ["3"], []]


async def test_a_page_far_down_reads_no_more_than_the_first(store: DocumentStore) -> None:
    """A token leads straight to its place; what comes before it is not read again."""
    held = await claimed(store, 200)
    for second in range(100):
        held = await commit(store, held, *(made(f"{second}.{n}", second=second) for n in range(2)))
    reads = [0]

    def count(_collection: str, operation: Operation, times: int) -> None:
        reads[0] += times if operation is Operation.READ else 0

    metered = MeteredStore(store, SCHEMA, count=count)
    after = [0, *[reads[0] async for _ in pages(metered, NEWEST, size=4)]]
    assert max(later - earlier for earlier, later in pairwise(after)) <= 2 * after[1]


async def test_chunks_without_what_finds_them_are_left_alone(store: DocumentStore) -> None:
    """Results stored by an earlier release are listed nowhere, and harm nobody."""
    old: Mapping[str, Any] = {"results": [{"index": 0, "item_id": "a", "piece": {}}]}
    await store.commit([Set(schema.result_chunk_key("acme", "old.0.1.1.0"), old)])
    assert await items(store, NEWEST) == []
    with pytest.raises(ServiceError):
        await ContentVersionRepository(store).get("acme", "old.0.1.1.0.0")
