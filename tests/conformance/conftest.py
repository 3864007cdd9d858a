"""Every test here that asks for `store` runs once per backend."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random
from uuid import uuid4

import pytest
from service_common.clock import ManualClock
from service_common.storage import (
    Collection,
    Direction,
    DocumentStore,
    Order,
    QueryShape,
    Schema,
    open_store,
)
from service_common.storage.firestore.connection import connect
from service_common.storage.firestore.store import FirestoreStore

from tests.support.faulty_firestore import FaultyConnection
from tests.support.firestore_emulator import Emulator, EmulatorMissing, firestore_emulator

BY_RANK = QueryShape("by_rank", "things", ("kind",), (Order("rank"),))
BY_RANK_DOWN = QueryShape(
    "by_rank_down", "things", ("kind",), (Order("rank", Direction.DESCENDING), Order("name"))
)
OF_KIND = QueryShape("of_kind", "things", ("kind",))
EVERYWHERE = QueryShape("everywhere", "things", (), (Order("rank"),), all_tenants=True)
FALLING = QueryShape("falling", "things", (), (Order("due", Direction.DESCENDING),))
TAGGED = QueryShape("tagged", "things", ("kind",), (Order("rank", Direction.DESCENDING),), contains="tags")
LEASES = QueryShape("leases_by_owner", "leases", ("owner",))
SCHEMA = Schema(
    (Collection("things"), Collection("leases", ttl_field="expire_time")),
    (BY_RANK, BY_RANK_DOWN, OF_KIND, EVERYWHERE, FALLING, TAGGED, LEASES),
)


@pytest.fixture
def schema() -> Schema:
    """What the stores under test declare."""
    return SCHEMA


@pytest.fixture
def shapes() -> dict[str, QueryShape]:
    """The declared shapes by name."""
    return {each.name: each for each in SCHEMA.shapes}


@pytest.fixture
def clock() -> ManualClock:
    """Time stands still until the test moves it."""
    return ManualClock()


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    """The worker's Firestore emulator; without one its tests are skipped, except where CI promises it."""
    try:
        with firestore_emulator() as running:
            yield running
    except EmulatorMissing as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture
def firestore_url(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty database: projects come into being by being named."""
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", emulator.host)
    return f"firestore://test-{uuid4().hex[:20]}/(default)"


@pytest.fixture(params=["memory", "sqlite", "firestore"])
def backend(request: pytest.FixtureRequest) -> str:
    """Which backend the test runs against."""
    return str(request.param)


@pytest.fixture
async def store(
    backend: str, request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock
) -> AsyncIterator[DocumentStore]:
    """An empty store of each backend."""
    if backend == "firestore":
        url = request.getfixturevalue("firestore_url")
    else:
        url = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/store.db"}[backend]
    opened = await open_store(url, schema=SCHEMA, clock=clock)
    yield opened
    await opened.close()


def database(url: str) -> str:
    """Return the database's name in Firestore."""
    project, name = url.removeprefix("firestore://").split("/")
    return f"projects/{project}/databases/{name}"


@pytest.fixture
async def wire(firestore_url: str) -> FaultyConnection:
    """A wire to the emulator that works until told otherwise."""
    return FaultyConnection(await connect())


@pytest.fixture
async def faulty(
    firestore_url: str, wire: FaultyConnection, schema: Schema, clock: ManualClock
) -> AsyncIterator[FirestoreStore]:
    """A store behind the faulty wire."""
    store = FirestoreStore(schema, database(firestore_url), clock=clock, connection=wire, rng=Random(7))
    yield store
    await store.close()


@pytest.fixture
async def other(firestore_url: str, schema: Schema, clock: ManualClock) -> AsyncIterator[DocumentStore]:
    """Somebody else's store over the same database."""
    store = await open_store(firestore_url, schema=schema, clock=clock)
    yield store
    await store.close()
