"""One schema's documents from one store to another: planned, copied, resumed, and compared at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from random import Random

from service_common.clock import Clock
from service_common.errors import ErrorKind, ServiceError, invalid_field
from service_common.storage.documents import Key
from service_common.storage.migrating.comparing import Comparison, compare
from service_common.storage.migrating.copying import Copier
from service_common.storage.migrating.patience import Patience
from service_common.storage.migrating.progress import Phase, Progress
from service_common.storage.migrating.reading import Living, collections, pages, tally
from service_common.storage.migrating.record import (
    RECORD_KEY,
    Course,
    Record,
    State,
    course,
    with_record,
)
from service_common.storage.migrating.scan import Scan
from service_common.storage.migrating.tally import Tally
from service_common.storage.opening import open_scan, open_store
from service_common.storage.shapes import Schema
from service_common.storage.store import DocumentStore


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do.

    Attributes:
        course: How it would go on.
        record: With which record it would start.
        source: What the source holds, by collection.
    """

    course: Course
    record: Record
    source: Mapping[str, Tally]

    @property
    def total(self) -> int:
        """How many documents the source holds, expired ones included."""
        return sum(each.documents + each.expired for each in self.source.values())


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run has done.

    Attributes:
        course: How it went on.
        comparison: What both sides hold now.
    """

    course: Course
    comparison: Comparison


class Migration:
    """Copies all living documents of a schema.

    A SQLite source cannot be opened by others meanwhile. What the target knows of the migration survives a
    `kill -9`: the next run goes on behind what is surely stored, and writes some documents a second time.

    Args:
        schema: What is stored.
        source: A store's URL.
        target: Another's.
        clock: Decides what is expired.
        rng: Draws waits.
        progress: Shows how far it is.

    Raises:
        ServiceError: INVALID_ARGUMENT if both are the same.
    """

    def __init__(
        self, schema: Schema, *, source: str, target: str, clock: Clock, rng: Random, progress: Progress
    ) -> None:
        if source == target:
            raise invalid_field("target", "is the source")
        self._schema = schema
        self._source = source
        self._target = target
        self._clock = clock
        self._progress = progress
        self._patience = Patience(rng, on_wait=progress.say)

    async def plan(self) -> Plan:
        """Count the source and look at the target; writes nothing.

        Raises:
            ServiceError: FAILED_PRECONDITION if the target holds what is not this migration's, or the source
                is in use; else as a store cannot be opened.
        """
        async with _scanning(self._source, self._schema) as source:
            return await self._plan(source)

    async def run(self) -> Outcome:
        """Copy what is not copied yet, and compare.

        Raises:
            ServiceError: As `plan`.
        """
        async with _scanning(self._source, self._schema) as source:
            plan = await self._plan(source)
            if plan.course is not Course.CHECK:
                await self._copy(source, plan)
            comparison = await self._compare(source, plan)
        if plan.course is not Course.CHECK:
            state = State.DIFFERS if comparison.differing() else State.EQUAL
            async with self._storing() as target:
                await self._keep(target, replace(plan.record, documents=plan.total, state=state))
        return Outcome(plan.course, comparison)

    async def _plan(self, source: Scan) -> Plan:
        self._progress.enter(Phase.COUNTING)
        mark = await self._patience.until_done(source.mark)
        record, occupied = await self._look()
        chosen = course(record, source=self._source, mark=mark, occupied=occupied)
        if record is None or chosen is Course.AGAIN:
            record = Record(self._source, mark)
        found = await tally(
            source, self._schema, self._living(), patience=self._patience, seen=self._progress.add
        )
        return Plan(chosen, record, found)

    async def _look(self) -> tuple[Record | None, list[str]]:
        """Return the target's record, and the collections of which it has documents."""
        try:
            async with _scanning(self._target, self._schema) as target:
                found = await self._patience.until_done(lambda: target.find((RECORD_KEY,)))
                occupied = [name for name in collections(self._schema) if await self._has(target, name)]
        except ServiceError as error:
            if error.kind is not ErrorKind.NOT_FOUND:
                raise
            return None, []
        return Record.read(found), occupied

    async def _has(self, target: Scan, name: str) -> bool:
        return bool(await self._patience.until_done(lambda: target.page(name, after=None, limit=1)))

    async def _copy(self, source: Scan, plan: Plan) -> None:
        gone = await self._gone(source) if plan.course is Course.AGAIN else []
        async with self._storing() as target:
            record = plan.record

            async def save(last: Key) -> None:
                await self._keep(target, replace(record, after=last, documents=self._progress.documents))

            copier = Copier(
                target,
                self._living(),
                patience=self._patience,
                clock=self._clock,
                save=save,
                copied=self._progress.add,
            )
            self._progress.enter(Phase.TIDYING, total=len(gone))
            await copier.remove(gone)
            await self._keep(target, record)
            self._progress.enter(Phase.COPYING, total=plan.total)
            self._progress.add(record.documents)
            await copier.copy(pages(source, self._schema, patience=self._patience, after=record.after))

    async def _gone(self, source: Scan) -> list[Key]:
        """Return what was copied once and is not in the source any more."""
        self._progress.enter(Phase.TIDYING)
        living = self._living()
        gone: list[Key] = []
        async with _scanning(self._target, self._schema) as target:
            async for page in pages(target, self._schema, patience=self._patience):
                keys = [each.key for each in page]
                found = await self._patience.until_done(lambda keys=keys: source.find(keys))  # type: ignore[misc]  # mypy infers no lambda with a default
                kept = {each.key for each in found if living.has(each)}
                gone += [each for each in keys if each not in kept]
        return gone

    async def _compare(self, source: Scan, plan: Plan) -> Comparison:
        self._progress.enter(Phase.CHECKING, total=plan.total)
        async with _scanning(self._target, self._schema) as target:
            return await compare(
                source,
                target,
                self._schema,
                self._living(),
                patience=self._patience,
                progress=self._progress,
            )

    async def _keep(self, target: DocumentStore, record: Record) -> None:
        await self._patience.until_done(lambda: target.commit((record.write(),)))

    def _living(self) -> Living:
        return Living(self._schema, self._clock.now())

    @asynccontextmanager
    async def _storing(self) -> AsyncIterator[DocumentStore]:
        store = await open_store(self._target, schema=with_record(self._schema), clock=self._clock)
        try:
            yield store
        finally:
            await store.close()


@asynccontextmanager
async def _scanning(url: str, schema: Schema) -> AsyncIterator[Scan]:
    scan = await open_scan(url, schema=schema)
    try:
        yield scan
    finally:
        await scan.close()
