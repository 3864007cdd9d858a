"""A migration between two files, run after whatever may have come between its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from service_common.clock import ManualClock
from service_common.errors import ErrorKind, ServiceError
from service_common.storage import Collection, Delete, Key, Order, Query, QueryShape, Schema, Set, open_store
from service_common.storage.documents import Write
from service_common.storage.migrating.migration import Migration
from service_common.storage.migrating.progress import Phase, Progress
from service_common.storage.migrating.record import Course, Record, with_record
from service_common.storage.opening import open_scan

BY_RANK = QueryShape("by_rank", "things", order=(Order("rank"),))
SCHEMA = Schema(
    (Collection("things"), Collection("leases", ttl_field="expire_time"), Collection("a_few")), (BY_RANK,)
)
THINGS = [Key("things", f"tenant-{n % 3}", f"{n:03}") for n in range(60)]
FEW = Key("a_few", "acme", "one")
ELSEWHERE = Record("sqlite:////elsewhere.db", None)


class Move:
    """A source and a target file, and migrations between them.

    Attributes:
        source: The one's URL.
        target: The other's.
        clock: Of both.
        progress: Of the last migration.
    """

    def __init__(self, folder: Path) -> None:
        self.source = f"sqlite:///{folder}/source.db"
        self.target = f"sqlite:///{folder}/target.db"
        self.clock = ManualClock()
        self.progress = Progress()

    def migration(self) -> Migration:
        """A new one, as after a restart."""
        self.progress = Progress()
        return Migration(
            SCHEMA,
            source=self.source,
            target=self.target,
            clock=self.clock,
            rng=Random(7),
            progress=self.progress,
        )

    async def write(self, url: str, *writes: Write) -> None:
        """Write to a side."""
        store = await open_store(url, schema=with_record(SCHEMA), clock=self.clock)
        await store.commit(writes)
        await store.close()

    async def read(self, url: str, keys: Sequence[Key]) -> list[Mapping[str, Any] | None]:
        """Return the fields of documents of a side."""
        store = await open_store(url, schema=SCHEMA, clock=self.clock)
        found = await store.get_many(keys)
        await store.close()
        return [None if each is None else each.data for each in found]


@pytest.fixture
async def move(tmp_path: Path) -> Move:
    """A source with documents of every collection, and no target."""
    move = Move(tmp_path)
    await move.write(move.source, *(Set(key, {"rank": n}) for n, key in enumerate(THINGS)), Set(FEW, {}))
    return move


async def mark_of(move: Move) -> str | None:
    """The source's mark now."""
    return (await move.migration().plan()).record.mark


async def test_everything_is_copied_and_found(move: Move) -> None:
    """All documents are there with their fields, and the target's queries find them."""
    outcome = await move.migration().run()
    assert outcome.course is Course.BEGIN
    assert outcome.comparison.differing() == []
    assert outcome.comparison.target["things"].documents == len(THINGS)
    assert await move.read(move.target, [*THINGS, FEW]) == [*({"rank": n} for n in range(60)), {}]
    store = await open_store(move.target, schema=SCHEMA, clock=move.clock)
    page = await store.query(Query(BY_RANK, tenant="tenant-1", limit=100))
    assert [each.data["rank"] for each in page.documents] == list(range(1, 60, 3))
    await store.close()


async def test_a_plan_writes_nothing(move: Move, tmp_path: Path) -> None:
    """Counting makes no target."""
    plan = await move.migration().plan()
    assert (plan.course, plan.total) == (Course.BEGIN, len(THINGS) + 1)
    assert not (tmp_path / "target.db").exists()


async def test_expired_documents_stay_behind(move: Move) -> None:
    """They are counted and not copied; one that expires after it was copied counts on neither side."""
    lease = {"expire_time": move.clock.now() + timedelta(seconds=60)}
    keys = [Key("leases", "acme", name) for name in ("late", "live")]
    await move.write(move.source, Set(keys[0], {"expire_time": move.clock.now()}), Set(keys[1], lease))
    assert (await move.migration().plan()).source["leases"].expired == 1
    outcome = await move.migration().run()
    assert outcome.comparison.target["leases"].documents == 1
    scan = await open_scan(move.target, schema=SCHEMA)
    assert [each.key for each in await scan.find(keys)] == [keys[1]]
    await scan.close()
    move.clock.advance(61)
    outcome = await move.migration().run()
    assert outcome.course is Course.CHECK
    assert outcome.comparison.differing() == []
    assert outcome.comparison.source["leases"].documents == 0


async def test_it_goes_on_behind_its_place(move: Move) -> None:
    """A resumed run copies what is behind the place and nothing before it."""
    place = Record(move.source, await mark_of(move), after=THINGS[58], documents=40)
    await move.write(move.target, place.write())
    outcome = await move.migration().run()
    assert outcome.course is Course.RESUME
    # Nobody had copied what is before the place: exactly that is missing, and it is said so.
    order = sorted(THINGS, key=Key.path)
    first = order.index(THINGS[58]) + 1
    assert await move.read(move.target, order[:first]) == [None] * first
    assert None not in await move.read(move.target, order[first:])
    assert outcome.comparison.differing() == ["a_few", "things"]


async def test_what_differed_is_copied_anew(move: Move) -> None:
    """After a run that ended in a difference, the next one begins again and ends equal."""
    await move.write(move.target, Record(move.source, await mark_of(move), after=THINGS[-1]).write())
    assert (await move.migration().run()).comparison.differing() == ["a_few", "things"]
    outcome = await move.migration().run()
    assert outcome.course is Course.AGAIN
    assert outcome.comparison.differing() == []


async def test_a_source_that_changed_is_copied_anew(move: Move) -> None:
    """What was added, changed or removed between two runs is so in the target at the end."""
    old = Record(move.source, await mark_of(move), after=THINGS[58])
    await move.write(move.target, *(Set(key, {"rank": 0}) for key in THINGS), old.write())
    new = Key("things", "aaa", "new")
    await move.write(move.source, Delete(THINGS[5]), Set(THINGS[6], {"rank": 600}), Set(new, {"rank": 1}))
    outcome = await move.migration().run()
    assert outcome.course is Course.AGAIN
    assert outcome.comparison.differing() == []
    expected: list[dict[str, int] | None] = [None, {"rank": 600}, {"rank": 1}]
    assert await move.read(move.target, [THINGS[5], THINGS[6], new]) == expected


async def test_a_target_in_use_is_not_overwritten(move: Move) -> None:
    """Once both were equal, what services have written to the target since is kept, and said to differ."""
    await move.migration().run()
    assert (await move.migration().run()).comparison.differing() == []
    await move.write(move.target, Set(THINGS[0], {"rank": -1}))
    outcome = await move.migration().run()
    assert outcome.course is Course.CHECK
    assert outcome.comparison.differing() == ["things"]
    assert await move.read(move.target, THINGS[:1]) == [{"rank": -1}]


@pytest.mark.parametrize("there", [Set(FEW, {"mine": 1}), ELSEWHERE.write()])
async def test_a_target_that_holds_something_else_is_refused(move: Move, there: Set) -> None:
    """Neither planned nor touched."""
    await move.write(move.target, there)
    for attempt in (move.migration().plan, move.migration().run):
        with pytest.raises(ServiceError, match="the target") as caught:
            await attempt()
        assert caught.value.kind is ErrorKind.FAILED_PRECONDITION
    assert await move.read(move.target, THINGS[:1]) == [None]


async def test_a_store_is_not_copied_into_itself(move: Move) -> None:
    """Source and target are two."""
    move.target = move.source
    with pytest.raises(ServiceError, match="is the source"):
        move.migration()


async def test_progress_ends_with_everything(move: Move) -> None:
    """Whoever watches sees it finish."""
    await move.migration().run()
    assert move.progress == Progress(Phase.CHECKING, len(THINGS) + 1, len(THINGS) + 1)
