"""Quality records listed: every one that is wanted, once, in order, whatever the size of a page."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_optimizer import paging
from prompt_optimizer.outcomes.listing import MOST_PAGES, Listing, Position, RecordQuery
from prompt_optimizer.outcomes.outcome import Status
from prompt_optimizer.outcomes.page import MOST_LISTED, MOST_RECORDS, Page
from prompt_optimizer.outcomes.record import GRADES, PART, QualityRecord, grade_of
from prompt_optimizer.repository import OutcomeRepository
from prompt_optimizer.repository.record_fields import page_fields, page_of
from prompt_optimizer.templates.template import Family, VersionKey
from service_common.errors import ServiceError
from service_common.storage import MAX_DOCUMENT_BYTES, DocumentStore
from service_common.storage.encoding import pack, unpack
from service_common.storage.shapes import MAX_CONTAINED

from tests.unit.optimizer.samples import FAQ, RAW, START, part, record, version_of

TYPES = ("faq", "outline", "text")
QUERIES = {
    "everything": RecordQuery(),
    "a version": RecordQuery(version=FAQ),
    "a content type": RecordQuery(content_type="faq"),
    "both": RecordQuery(version=FAQ, content_type="outline"),
    "good ones": RecordQuery(content_type="faq", min_score=0.7),
    "a range": RecordQuery(min_score=0.2, max_score=0.41),
    "by score": RecordQuery(content_type="faq", by_score=True),
    "a version by score": RecordQuery(version=FAQ, content_type="faq", by_score=True),
    "a range by score": RecordQuery(content_type="faq", min_score=0.33, max_score=0.62, by_score=True),
    "nothing": RecordQuery(content_type="limerick"),
}


async def fill(
    store: DocumentStore, pages: int, *, seed: int = 1, first_page: int = 0
) -> list[QualityRecord]:
    """Store pages of random records, some at equal times, and return the records, newest first."""
    dice = random.Random(seed)
    repository = OutcomeRepository(store, retention=timedelta(days=90))
    made: list[tuple[Page, list[QualityRecord]]] = []
    for number in range(first_page, first_page + pages):
        now = START + timedelta(seconds=number // 3)
        page = Page("acme", f"{dice.getrandbits(64):016x}", now=now)
        records = [
            record(
                dice.choice((FAQ, version_of(1), RAW)),
                dice.choice(TYPES),
                score=dice.choice((None, round(dice.random(), 4), 1.0)),
                tokens=index,
                time=now + timedelta(milliseconds=index),
            )
            for index in range(dice.randint(1, 12))
        ]
        assert page.add(part(page.page_id, *records))
        await repository.add("acme", [page])
        made.append((page, records))
    made.sort(key=lambda each: (each[0].create_time, each[0].page_id), reverse=True)
    return [each for _, records in made for each in reversed(records)]


def wanted(records: list[QualityRecord], query: RecordQuery) -> list[QualityRecord]:
    """Return what a query asks for, by looking at every record."""
    found = [each for each in records if _fits(each, query)]
    if query.by_score:
        found = [each for each in found if each.grade is not None]
        found.sort(key=lambda each: each.grade or 0)
    return found


def _fits(each: QualityRecord, query: RecordQuery) -> bool:
    if query.version not in (None, each.version) or query.content_type not in ("", each.content_type):
        return False
    if query.min_score is None and query.max_score is None:
        return True
    most = 1 if query.max_score is None else query.max_score
    return each.score is not None and (query.min_score or 0) <= each.score <= most


async def listed(store: DocumentStore, query: RecordQuery, size: int) -> list[QualityRecord]:
    """List everything, page by page, through tokens."""
    listing = Listing(OutcomeRepository(store, retention=timedelta(days=90)))
    found: list[QualityRecord] = []
    after: Position | None = None
    while True:
        placed, after = await listing.find("acme", query, after=after, limit=size)
        assert len(placed) <= size
        found += [each.record for each in placed]
        if after is None:
            return found
        after = paging.after_record(paging.token_of(paging.record_position(after, query)), query)


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
async def test_a_listing_is_what_looking_at_everything_finds(
    store: DocumentStore, query: RecordQuery
) -> None:
    """In the same order, each once, for pages of any size."""
    expected = wanted(await fill(store, 60), query)
    for size in (1, 7, 1000):
        assert await listed(store, query, size) == expected


async def test_what_is_stored_meanwhile_does_not_disturb(store: DocumentStore) -> None:
    """Going on from a token repeats nothing and skips nothing of what was there."""
    before = await fill(store, 9)
    listing = Listing(OutcomeRepository(store, retention=timedelta(days=90)))
    placed, after = await listing.find("acme", RecordQuery(), after=None, limit=20)
    await fill(store, 9, seed=2, first_page=9)
    rest, end = await listing.find("acme", RecordQuery(), after=after, limit=1000)
    assert [each.record for each in (*placed, *rest)] == before
    assert end is None


async def test_a_call_looks_at_a_bounded_number_of_pages(store: DocumentStore) -> None:
    """A rare match gives an empty page with a token, and is found further on."""
    await fill(store, MOST_PAGES + 10)
    listing = Listing(OutcomeRepository(store, retention=timedelta(days=90)))
    rare = RecordQuery(min_score=0.99999, max_score=0.999999)
    placed, after = await listing.find("acme", rare, after=None, limit=10)
    assert (placed, after is None) == ([], False)
    assert await listing.find("acme", rare, after=after, limit=10) == ([], None)


async def test_records_are_kept_for_the_retention(store: DocumentStore) -> None:
    """After it they are absent, though nothing has removed them yet."""
    page = Page("acme", "0" * 16, now=START - timedelta(days=90))
    page.add(part("old"))
    await OutcomeRepository(store, retention=timedelta(days=90)).add("acme", [page])
    assert await listed(store, RecordQuery(), 10) == []


def test_a_token_belongs_to_its_listing() -> None:
    """That of another query, or of nobody, is refused by name."""
    query = RecordQuery(content_type="faq")
    position = Position(None, START, "0123456789abcdef", 3)
    token = paging.token_of(paging.record_position(position, query))
    assert paging.after_record(token, query) == position
    for text in (token, paging.token_of("faq"), "AAAA", "x" * 999):
        with pytest.raises(ServiceError) as caught:
            paging.after_record(text, RecordQuery(content_type="outline"))
        assert [each.field for each in caught.value.violations] == ["page_token"]


def test_grades_are_steps_of_a_twentieth() -> None:
    """A step holds its lower end; no score of four decimals slips into the step below, for binary's sake."""
    scores = range(10_001)
    assert [grade_of(each / 10_000) for each in scores] == [each * GRADES // 10_000 for each in scores]


def any_record() -> st.SearchStrategy[QualityRecord]:
    """Return records with anything that can be in one."""
    ids = st.sampled_from(("faq", "outline", "a" * 63))
    scores = st.none() | st.integers(0, 10_000).map(lambda each: each / 10_000)
    return st.builds(
        QualityRecord,
        version=st.just(RAW)
        | st.builds(VersionKey, st.builds(Family, ids, st.integers(0, 10**12)), st.integers(1, 2**31 - 1)),
        content_type=ids,
        status=st.sampled_from(Status),
        score=scores,
        aspects=st.just(()) | st.just((("length", 0.25), ("structure", 1.0))),
        prompt_tokens=st.integers(0, 2**31 - 1),
        output_tokens=st.integers(0, 2**31 - 1),
        cost_micros=st.integers(0, 2**63 - 1),
        latency_s=st.integers(0, 10**9).map(lambda each: each / 1_000_000),
        time=st.integers(-(10**9), 10**9).map(lambda each: START + timedelta(microseconds=each)),
    )


@given(st.lists(any_record(), min_size=1, max_size=20))
def test_a_page_returns_what_was_put_on_it(records: list[QualityRecord]) -> None:
    """Through the store's own encoding, every field equal."""
    fields = page_fields([part("a", *records)], create_time=START, expire_time=START)
    assert page_of("p", unpack(pack(fields))).records == tuple(records)


def fullest() -> Iterator[QualityRecord]:
    """Return records of many versions, types and grades, with the longest names."""
    for number in range(PART):
        name = f"{number:0>63}".replace("0", "a")
        yield record(VersionKey(Family(name, 10**12), 10**9), name, score=number / PART)


def test_a_page_stays_within_the_limits_of_a_document() -> None:
    """However different the records: its lists, its size and its number of records are bounded."""
    assert MOST_LISTED <= MAX_CONTAINED
    for records in (list(fullest()), [record()] * PART, [record()]):
        page = Page("acme", "0" * 16, now=START)
        assert page.add(part("0", *records))
        number = 0
        while page.add(part(str(number := number + 1), *records)):
            pass
        fields = page_fields(page.parts, create_time=START, expire_time=START)
        lists = [each for each in fields.values() if isinstance(each, list)]
        assert max(map(len, lists)) <= MOST_LISTED
        assert len(page) <= MOST_RECORDS
        assert len(pack(fields)) < MAX_DOCUMENT_BYTES / 2
        page.closed = True
        assert not page.add(part("late"))
