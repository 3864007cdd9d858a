"""Processors hear of each other's jobs through the store: long before a poll, and by the poll if not."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any, cast
from uuid import uuid4

import pytest
from contentfactory.processor.v1 import processor_pb2 as pb
from parallel_processor.jobs.item import Item
from parallel_processor.jobs.job import Job, started
from parallel_processor.jobs.piece import PieceSpec
from parallel_processor.jobs.shard import ItemSource, new_shard
from parallel_processor.limits.lanes import Lanes
from parallel_processor.repository import SCHEMA, BellRepository, Claim, JobRepository, ShardRepository
from parallel_processor.running.bell import Bell
from parallel_processor.running.claims import ClaimPolicy, Claims
from parallel_processor.running.journal import Pace
from service_common.clock import SystemClock
from service_common.storage import DocumentStore, open_store
from service_common.storage.firestore.connection import connect
from service_common.storage.firestore.store import FirestoreStore

from tests.e2e.conftest import RunFactory
from tests.support.factory import PROCESSOR, Factory, eventually
from tests.support.factory_client import raw_items
from tests.support.faulty_firestore import FaultyConnection
from tests.support.firestore_emulator import Emulator, or_skipped, own_emulator
from tests.unit.processor.running.fakes import spending

pytestmark = [pytest.mark.xdist_group("e2e-firestore"), pytest.mark.timeout(180)]
SLOTS = 4
SHARD = 96
LATENCY_MS = 100
POLL_S, LEASE_S = 60.0, 600.0
"""Longer than anybody here waits: whatever is found sooner was not found by looking from time to time."""

PATIENCE_S = 30.0
LOOK_S = 0.05


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """A Firestore emulator of the module's own."""
    with or_skipped(own_emulator()) as running:
        yield running


@pytest.fixture
def database() -> str:
    """A fresh database's project."""
    return f"factory-{uuid4().hex[:20]}"


@pytest.fixture(params=["sqlite", "firestore"])
def env(request: pytest.FixtureRequest, database: str) -> dict[str, dict[str, str]]:
    """The configuration of services that hardly ever look; on SQLite each kind has a file of its own."""
    store = {}
    if request.param == "firestore":
        emulator: Emulator = request.getfixturevalue("emulator")
        store = {
            "STORE_URL": f"firestore://{database}/(default)",
            "FIRESTORE_EMULATOR_HOST": emulator.host,
        }
    processor = {
        "PROCESSOR_MAX_CONCURRENCY": str(SLOTS),
        "PROCESSOR_POLL_S": str(POLL_S),
        "PROCESSOR_LEASE_S": str(LEASE_S),
    }
    return {"*": store, PROCESSOR: processor}


def _is_busy(factory: Factory, name: str) -> bool:
    return factory.client(name).processor.GetCapacity(pb.GetCapacityRequest()).active_calls > 0


def test_a_job_started_at_one_is_taken_up_by_the_other(
    run_factory: RunFactory, env: dict[str, dict[str, str]]
) -> None:
    """As is what a processor that stops hands back: nobody waits for a poll, or for a lease to end."""
    with run_factory(latency_ms=LATENCY_MS, env=env) as factory:
        factory.add_processor("second")
        client = factory.client()
        items = raw_items(3 * SHARD)
        job_id = client.submit(items)
        for name in (PROCESSOR, "second"):
            eventually(partial(_is_busy, factory, name), timeout_s=PATIENCE_S)
        assert factory.stop(PROCESSOR) == 0
        job = factory.client("second").wait(job_id)
        assert job.counts.succeeded == len(items)


async def _start_a_job(store: DocumentStore) -> Job:
    """Start a job of one shard of one item."""
    now = SystemClock().now()
    jobs = JobRepository(store)
    draft = Job(job_id="job", tenant="acme", user="ann", create_time=now)
    await jobs.create(draft)
    draft = await jobs.add_items(draft, [[Item("i", PieceSpec(template_id="faq"))]], {"faq": 1})
    shard = new_shard(
        job_id="job",
        tenant="acme",
        number=0,
        priority=draft.priority,
        sources=[ItemSource(0, (0,))],
        now=now,
    )
    return await jobs.start(
        draft, [shard], lambda each: started(each, shard_count=1, now=now, traceparent=None)
    )


def _claims(store: DocumentStore, bell: Bell, claimed: asyncio.Queue[Claim]) -> Claims:
    """Make claims that poll often, and put what they claim into a queue instead of running it."""
    nothing = cast("Any", None)
    claims = Claims(
        ClaimPolicy("worker", timedelta(seconds=LEASE_S), poll_s=LOOK_S, pace=Pace(0.01)),
        jobs=JobRepository(store),
        shards=ShardRepository(store),
        workshop=nothing,
        slots=Lanes(SLOTS, clock=SystemClock(), rng=random.Random(1)),
        reporter=nothing,
        settling=nothing,
        bell=bell,
        clock=SystemClock(),
        rng=random.Random(1),
        spending=spending(),
        on_outcomes=lambda _: None,
        on_committed=lambda _: None,
    )

    async def start(claim: Claim) -> Any:
        claimed.put_nowait(claim)

    claims._start = start  # type: ignore[method-assign]  # running is not what is tested
    return claims


@pytest.fixture
async def wire(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> FaultyConnection:
    """A wire to the emulator that works until told otherwise."""
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", emulator.host)
    return FaultyConnection(await connect())


@pytest.fixture
async def faulty(wire: FaultyConnection, database: str) -> AsyncIterator[DocumentStore]:
    """A processor's store behind that wire."""
    name = f"projects/{database}/databases/(default)"
    store = FirestoreStore(SCHEMA, name, clock=SystemClock(), connection=wire, rng=random.Random(7))
    yield store
    await store.close()


@pytest.fixture
async def other(wire: FaultyConnection, database: str) -> AsyncIterator[DocumentStore]:
    """Another processor's store, which rings no bell."""
    store = await open_store(f"firestore://{database}/(default)", schema=SCHEMA, clock=SystemClock())
    yield store
    await store.close()


@asynccontextmanager
async def _claiming(store: DocumentStore, bell: Bell) -> AsyncIterator[asyncio.Queue[Claim]]:
    """Listen and claim meanwhile; yields what is claimed."""
    claimed: asyncio.Queue[Claim] = asyncio.Queue()
    claims = _claims(store, bell, claimed)
    tasks = [asyncio.create_task(work) for work in (bell.listen(claims.wake), claims.run())]
    try:
        yield claimed
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _first(claimed: asyncio.Queue[Claim], *, within_s: float = PATIENCE_S) -> str:
    """Return the job of the next claim."""
    async with asyncio.timeout(within_s):
        return (await claimed.get()).job.job_id


async def test_whoever_cannot_hear_finds_the_job_by_looking(
    faulty: DocumentStore, wire: FaultyConnection, other: DocumentStore
) -> None:
    """A processor that is not let listen polls as if there were no bell."""
    wire.deaf = True
    bell = Bell(BellRepository(faulty, worker="w"), rng=random.Random(1))
    async with _claiming(faulty, bell) as claimed:
        await _start_a_job(other)
        assert await _first(claimed) == "job"
        assert not bell.is_heard


async def test_whoever_is_cut_off_goes_back_to_looking(
    faulty: DocumentStore, wire: FaultyConnection, other: DocumentStore
) -> None:
    """While the bell is heard a job without a ring is not found, for nobody looks; cut off, it is."""
    bell = Bell(BellRepository(faulty, worker="w"), rng=random.Random(1))
    async with _claiming(faulty, bell) as claimed:
        async with asyncio.timeout(PATIENCE_S):
            while not bell.is_heard:  # noqa: ASYNC110 - nobody announces it
                await asyncio.sleep(0.01)
        await asyncio.sleep(10 * LOOK_S)
        await _start_a_job(other)
        with pytest.raises(TimeoutError):
            await _first(claimed, within_s=10 * LOOK_S)
        wire.deaf = True
        wire.cut()
        assert await _first(claimed) == "job"
