"""Random histories: every backend answers as a dictionary would, queries, expiry and sweeps included."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from service_common.clock import ManualClock
from service_common.errors import ErrorKind, ServiceError
from service_common.storage import (
    Collection,
    Create,
    Decision,
    Delete,
    Direction,
    DocumentStore,
    Key,
    Order,
    Query,
    QueryShape,
    Schema,
    Set,
    Update,
    Write,
    open_store,
)

R = TypeVar("R")

UP = QueryShape("up", "c", ("kind",), (Order("rank"),))
DOWN = QueryShape("down", "c", (), (Order("rank", Direction.DESCENDING),))
ALL = QueryShape("all", "c", ("kind",), (Order("rank"),), all_tenants=True)
SCHEMA = Schema((Collection("c", ttl_field="end"),), (UP, DOWN, ALL))

TENANTS = ("s", "t")
KEYS = tuple(Key("c", tenant, document_id) for tenant in TENANTS for document_id in ("a", "b", "c", "d"))
RANKS = st.integers(-3, 3)
FIELDS = st.fixed_dictionaries(
    {}, optional={"kind": st.sampled_from("kl"), "rank": RANKS, "end": st.none() | st.integers(0, 6)}
)
KINDS = st.sampled_from([Create, Set, Update, Delete])
CHANGES = st.lists(st.tuples(KINDS, st.sampled_from(KEYS), FIELDS, st.booleans()), max_size=4)


@dataclass
class Model:
    """What a store is meant to be: a dictionary, and a rule for what is in it at a time."""

    documents: dict[Key, dict[str, Any]] = field(default_factory=dict)

    def live(self, now: Any) -> dict[Key, dict[str, Any]]:
        """Return what has not expired."""
        return {
            key: data for key, data in self.documents.items() if data.get("end") is None or data["end"] > now
        }

    def apply(self, writes: list[Write], now: Any) -> ErrorKind | None:
        """Apply all writes, or none and tell why."""
        before = dict(self.documents)
        for write in writes:
            current = self.live(now).get(write.key)
            failure = _failure(write, exists=current is not None)
            if failure:
                self.documents = before
                return failure
            if isinstance(write, Delete):
                self.documents.pop(write.key, None)
            elif isinstance(write, Update):
                self.documents[write.key] = {**(current or {}), **write.fields}
            else:
                self.documents[write.key] = dict(write.data)
        return None


def _failure(write: Write, *, exists: bool) -> ErrorKind | None:
    if isinstance(write, Create):
        return ErrorKind.ALREADY_EXISTS if exists else None
    if isinstance(write, Update) and not exists:
        return ErrorKind.NOT_FOUND
    return ErrorKind.ABORTED if write.if_version else None


class StoreMachine(RuleBasedStateMachine):
    """Drives a store and the model side by side."""

    scheme: str
    sweeps = True

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = ManualClock()
        self.start = self.clock.now()
        self.model = Model()

    @initialize()
    def open(self) -> None:
        """Open, also again: what the file holds is all there is."""
        self.store: DocumentStore = self.wait(open_store(self.url(), schema=SCHEMA, clock=self.clock))

    def url(self) -> str:
        """Say which store."""
        return "memory://" if self.scheme == "memory" else f"sqlite:///{self.folder}/store.db"

    def wait(self, call: Coroutine[Any, Any, R]) -> R:
        """Run one call to its end."""
        return self.loop.run_until_complete(call)

    def writes(self, changes: list[Any]) -> list[Write]:
        """Turn the drawn changes into writes; a condition is always on a version that never was."""
        made: list[Write] = []
        for kind, key, fields, conditional in changes:
            end = fields.get("end")
            data = {**fields, **({"end": self.start + timedelta(seconds=end)} if end is not None else {})}
            version = "never" if conditional else None
            if kind is Create:
                made.append(Create(key, data))
            elif kind is Delete:
                made.append(Delete(key, version))
            else:
                made.append(Update(key, data, version) if kind is Update else Set(key, data, version))
        return made

    @rule(changes=CHANGES, through_transact=st.booleans())
    def write(self, changes: list[Any], *, through_transact: bool) -> None:
        """A commit, or a transaction with the same writes, ends as the model says."""
        writes = self.writes(changes)
        expected = self.model.apply(writes, self.clock.now())
        try:
            if through_transact:
                self.wait(self.store.transact(KEYS[:2], lambda _: Decision(None, writes)))
            else:
                self.wait(self.store.commit(writes))
            actual = None
        except ServiceError as error:
            actual = error.kind
        assert actual is expected

    @rule(seconds=st.integers(1, 3))
    def pass_time(self, seconds: int) -> None:
        """Some documents expire."""
        self.clock.advance(seconds)

    @rule(limit=st.integers(1, 3))
    def sweep(self, limit: int) -> None:
        """A sweep removes expired documents only, up to its limit."""
        dead = set(self.model.documents) - set(self.model.live(self.clock.now()))
        removed = self.wait(self.store.sweep_expired(limit))
        if not self.sweeps:
            assert removed == 0
            return
        assert removed == min(limit, len(dead))
        if len(dead) <= limit:
            for key in dead:
                del self.model.documents[key]
        else:
            self.drain()

    def drain(self) -> None:
        """Sweep to the end, in the store and in the model."""
        while self.wait(self.store.sweep_expired()):
            pass
        self.model.documents = self.model.live(self.clock.now())

    @rule(
        shape=st.sampled_from([UP, DOWN, ALL]), tenant=st.sampled_from(TENANTS), kind=st.sampled_from("kl"),
        bounds=st.tuples(st.none() | RANKS, st.none() | RANKS), limit=st.integers(1, 4),
    )  # fmt: skip
    def query(
        self, *, shape: QueryShape, tenant: str, kind: str, bounds: tuple[int | None, int | None], limit: int
    ) -> None:
        """All pages together are what sorting the model gives; every page but the last is full."""
        query = Query(
            shape,
            {"kind": kind} if shape.equals else {},
            None if shape.all_tenants else tenant,
            lower=bounds[0],
            upper=bounds[1],
            limit=limit,
        )
        pages = self.pages(query)
        assert [key for page in pages for key in page] == self.expected(query)
        assert all(len(page) == limit for page in pages[:-1])
        assert len(pages) == 1 or pages[-1]

    def pages(self, query: Query) -> list[list[Key]]:
        """Follow the cursors."""
        found = []
        while True:
            page = self.wait(self.store.query(query))
            found.append([each.key for each in page.documents])
            if page.next_cursor is None:
                return found
            query = replace(query, cursor=page.next_cursor)

    def expected(self, query: Query) -> list[Key]:
        """Return the keys a query finds, by filtering and sorting the model."""
        lower = -99 if query.lower is None else query.lower
        upper = 99 if query.upper is None else query.upper
        found = [
            (data["rank"], key.tenant, key.id, key)
            for key, data in self.model.live(self.clock.now()).items()
            if (query.tenant is None or key.tenant == query.tenant)
            and ("kind" not in query.equals or data.get("kind") == query.equals["kind"])
            and "rank" in data
            and lower <= data["rank"] <= upper
        ]
        found.sort(reverse=query.shape is DOWN, key=lambda each: each[:3])
        return [each[-1] for each in found]

    @invariant()
    def documents_agree(self) -> None:
        """Every key reads as the model says."""
        live = self.model.live(self.clock.now())
        found = self.wait(self.store.get_many(KEYS))
        assert [each and each.data for each in found] == [live.get(key) for key in KEYS]

    def teardown(self) -> None:
        """Close and clean up."""
        self.wait(self.store.close())
        self.loop.close()
        shutil.rmtree(self.folder)


class MemoryMachine(StoreMachine):
    """The memory backend."""

    scheme = "memory"


class SqliteMachine(StoreMachine):
    """The SQLite backend, which may be closed and opened again at any time."""

    scheme = "sqlite"

    @rule()
    def reopen(self) -> None:
        """A restart changes nothing."""
        self.wait(self.store.close())
        self.open()


class FirestoreMachine(StoreMachine):
    """The Firestore backend on the emulator: a database per history, swept by nobody."""

    scheme = "firestore"
    sweeps = False

    def url(self) -> str:
        """Name a database that was never used."""
        return f"firestore://model-{uuid4().hex[:20]}/(default)"


def run(machine: type[StoreMachine], *, examples: int) -> None:
    """Drive the machine through so many histories."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=20, deadline=None, derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip


@pytest.mark.parametrize("machine", [MemoryMachine, SqliteMachine])
def test_any_history_reads_as_a_dictionary(machine: type[StoreMachine]) -> None:
    """Whatever is written, queried, swept and outlived, store and model agree."""
    run(machine, examples=60)


def test_any_history_on_firestore_reads_as_a_dictionary(firestore_url: str) -> None:
    """The same, of fewer histories: each of their steps is a call to the emulator."""
    run(FirestoreMachine, examples=20)
