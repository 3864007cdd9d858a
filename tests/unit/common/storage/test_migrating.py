"""The parts of a migration that touch no store: sums, what may be copied where, what is waited for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from service_common.clock import ManualClock
from service_common.errors import ErrorKind, ServiceError, invalid_field, not_found, unavailable
from service_common.storage import Collection, Key, Schema, Set, Write
from service_common.storage.encoding import pack, unpack
from service_common.storage.migrating.copying import BATCH_BYTES, Copier, batches
from service_common.storage.migrating.patience import Patience
from service_common.storage.migrating.reading import Living
from service_common.storage.migrating.record import Course, Record, State, course
from service_common.storage.migrating.scan import Stored, next_limit
from service_common.storage.migrating.tally import Tally

SCHEMA = Schema((Collection("things"), Collection("leases", ttl_field="expire_time")))
RECORD = Record("sqlite:///a.db", "7.3", after=Key("things", "acme", "m"), documents=5)


def stored(name: str, size: int = 10) -> Stored:
    """A document of about that size."""
    return Stored(Key("things", "acme", name), pack({"x": bytes(size)}))


def tally_of(documents: Sequence[tuple[str, bytes]]) -> Tally:
    """Add documents up in this order."""
    found = Tally()
    for name, packed in documents:
        found.add(Key("things", "acme", name), packed)
    return found


DOCUMENTS = [("a", b"1"), ("b", b"2"), ("c", b"3")]


def test_the_order_of_documents_does_not_matter() -> None:
    """The same documents add up to the same in any order."""
    assert tally_of(DOCUMENTS).equals(tally_of(DOCUMENTS[::-1]))


@pytest.mark.parametrize(
    "others",
    [
        DOCUMENTS[:2],
        [*DOCUMENTS, ("d", b"4")],
        [("a", b"1"), ("b", b"2"), ("c", b"4")],
        [("a", b"2"), ("b", b"1"), ("c", b"3")],
        [("a", b"1"), ("b", b"2"), ("c3", b"")],
        [("a", b"1"), ("a", b"1"), ("c", b"3")],
    ],
)
def test_every_other_set_of_documents_differs(others: list[tuple[str, bytes]]) -> None:
    """A loss, an addition, a change, an exchange of contents and a repetition are all seen."""
    assert not tally_of(DOCUMENTS).equals(tally_of(others))


def test_pairs_do_not_cancel_out() -> None:
    """Two documents too many of one kind are not mistaken for two of another."""
    pairs = [[(name, b""), (name, b""), ("c", b"")] for name in ("a", "b")]
    assert not tally_of(pairs[0]).equals(tally_of(pairs[1]))


def test_an_empty_target_is_begun() -> None:
    """Nothing is there and nothing is known."""
    assert course(None, source="s", mark="1.1", occupied=[]) is Course.BEGIN


def test_a_target_in_use_is_left_alone() -> None:
    """Documents that no migration brought are not mixed with others; the message names them."""
    with pytest.raises(ServiceError, match="already holds documents of things") as caught:
        course(None, source="s", mark="1.1", occupied=["things"])
    assert caught.value.reason == "TARGET_OCCUPIED"


def test_what_was_copied_from_elsewhere_is_left_alone() -> None:
    """A target that is filled from another source is refused, and the source named."""
    with pytest.raises(ServiceError, match=r"copied from sqlite:///a\.db"):
        course(RECORD, source="sqlite:///b.db", mark="7.3", occupied=["things"])


@pytest.mark.parametrize(
    ("record", "mark", "expected"),
    [
        (RECORD, "7.3", Course.RESUME),
        (RECORD, "8.3", Course.AGAIN),
        (RECORD, "7.2", Course.AGAIN),
        (replace(RECORD, state=State.DIFFERS), "7.3", Course.AGAIN),
        (replace(RECORD, state=State.EQUAL), "7.3", Course.CHECK),
        (replace(RECORD, state=State.EQUAL), "8.3", Course.CHECK),
    ],
)
def test_a_known_migration_goes_on(record: Record, mark: str, expected: Course) -> None:
    """It resumes if the source is as it was, else starts again; what was equal once is never overwritten."""
    assert course(record, source=RECORD.source, mark=mark, occupied=["things"]) is expected


@pytest.mark.parametrize(
    "record", [RECORD, Record("firestore://p/d", None), replace(RECORD, state=State.EQUAL, after=None)]
)
def test_a_record_is_read_as_it_was_written(record: Record) -> None:
    """Nothing of it is lost in the target."""
    write = record.write()
    assert Record.read([Stored(write.key, pack(write.data))]) == record
    assert Record.read([]) is None


def test_batches_keep_to_what_a_commit_carries() -> None:
    """Every document comes once and in order, at most 500 and about a MiB together, a larger one alone."""
    page = [stored(f"{n:04}") for n in range(1200)]
    parts = list(batches(page))
    assert [len(each) for each in parts] == [500, 500, 200]
    assert [each for part in parts for each in part] == page
    large = [stored(f"{n}", BATCH_BYTES // 2) for n in range(3)]
    assert [len(each) for each in batches(large)] == [1, 1, 1]


def test_pages_of_large_documents_are_short() -> None:
    """The next page has about 4 MiB and at most 500 documents."""
    assert next_limit([stored("a"), stored("b")]) == 500
    assert next_limit([stored("a", 900_000)]) == 4


def test_what_expires_at_a_moment_is_gone_then() -> None:
    """A document is alive until its expiry, and for ever if it has none or its collection knows none."""
    clock = ManualClock()
    living = Living(SCHEMA, clock.now())
    key = Key("leases", "acme", "one")
    assert not living.has(Stored(key, pack({"expire_time": clock.now()})))
    assert living.has(Stored(key, pack({"expire_time": clock.now() + timedelta(microseconds=1)})))
    assert living.has(Stored(key, pack({})))
    assert living.has(Stored(Key("things", "acme", "one"), pack({"expire_time": clock.now()})))


async def nothing(_: Any) -> None:
    """Wait not at all; keep nothing."""


async def test_patience_outlasts_an_absence() -> None:
    """What is away is tried until it is there, and it is said why there is a wait, and when it is over."""
    said: list[str | None] = []
    answers = iter([unavailable("STORE_UNAVAILABLE", "away")] * 20)

    async def action() -> str:
        for error in answers:
            raise error
        return "done"

    patience = Patience(Random(7), on_wait=said.append, sleep=nothing)
    assert await patience.until_done(action) == "done"
    assert said == ["away"] * 20 + [None]


async def test_patience_does_not_wait_for_what_stays() -> None:
    """An error that does not pass by itself is raised at once."""

    async def action() -> None:
        raise not_found("STORE_MISSING", "gone")

    with pytest.raises(ServiceError, match="gone"):
        await Patience(Random(7), on_wait=lambda _: None, sleep=nothing).until_done(action)


class Target:
    """A store that refuses and fails as it is told; only what copying needs of one.

    Attributes:
        documents: What it holds.
        most: The largest commit it takes.
        poison: A document it never takes.
        fails_from: The number of the commit from which on it fails for good.
    """

    def __init__(self) -> None:
        self.documents: dict[Key, Any] = {}
        self.most = 500
        self.poison: Key | None = None
        self.fails_from = 10**9
        self.commits = 0

    async def commit(self, writes: Sequence[Write]) -> None:
        """Store all or none."""
        self.commits += 1
        if self.commits >= self.fails_from:
            raise not_found("GONE", "gone for good")
        if len(writes) > self.most or any(each.key == self.poison for each in writes):
            raise invalid_field("request", "is not what Firestore accepts")
        self.documents |= {each.key: each.data for each in writes if isinstance(each, Set)}


def copier(target: Target, saved: list[Key], clock: ManualClock) -> Copier:
    """A copier into the target that keeps every place."""

    async def save(key: Key) -> None:
        saved.append(key)

    return Copier(
        target,  # type: ignore[arg-type]  # it commits, which is all that is asked of it
        Living(SCHEMA, clock.now()),
        patience=Patience(Random(7), on_wait=lambda _: None, sleep=nothing),
        clock=clock,
        save=save,
        copied=lambda _: clock.advance(1),
    )


async def paged(*pages: list[Stored]) -> AsyncIterator[list[Stored]]:
    """Yield pages."""
    for each in pages:
        yield each


async def test_a_commit_that_is_too_large_is_halved() -> None:
    """A store that takes less at once still gets everything."""
    target, saved = Target(), list[Key]()
    target.most = 7
    page = [stored(f"{n:03}") for n in range(100)]
    await copier(target, saved, ManualClock()).copy(paged(page))
    assert target.documents == {each.key: unpack(each.packed) for each in page}
    assert saved[-1] == page[-1].key


async def test_a_document_that_is_refused_is_named() -> None:
    """Halving ends at the one at fault, and the error names it."""
    target = Target()
    page = [stored(f"{n:03}") for n in range(20)]
    target.poison = page[13].key
    with pytest.raises(ServiceError, match="'013' of 'things'") as caught:
        await copier(target, [], ManualClock()).copy(paged(page))
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


@pytest.mark.parametrize("fails_from", range(1, 12))
async def test_a_place_is_kept_only_behind_what_is_stored(fails_from: int) -> None:
    """Whichever commit is the first to fail, everything up to the last place kept is in the target."""
    target, saved = Target(), list[Key]()
    target.fails_from = fails_from
    pages = [[stored(f"{n:02}-{m}") for m in range(3)] for n in range(10)]
    copying = copier(target, saved, ManualClock()).copy(paged(*pages))
    if fails_from > len(pages):
        await copying
    else:
        with pytest.raises(ServiceError, match="gone for good"):
            await copying
    everything = [each.key for page in pages for each in page]
    for place in saved:
        assert set(everything[: everything.index(place) + 1]) <= set(target.documents)
    assert saved or fails_from <= 5
