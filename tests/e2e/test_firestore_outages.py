"""All four services while their Firestore database is slow, cut off, restarted with its data, or away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from contentfactory.cache.v1 import cache_pb2
from contentfactory.optimizer.v1 import optimizer_pb2
from contentfactory.processor.v1 import processor_pb2 as pb
from contentfactory.tracker.v1 import tracker_pb2
from grpc_health.v1 import health_pb2_grpc

from tests.e2e.conftest import RunFactory
from tests.support.bill import completed
from tests.support.books import assert_complete, assert_honest
from tests.support.factory import PROCESSOR, eventually
from tests.support.factory_client import FactoryClient, raw_items
from tests.support.firestore_emulator import Emulator, or_skipped, own_emulator
from tests.support.mock_process import mock_endpoint
from tests.support.processes import (
    MODULES,
    end_service,
    health_of,
    launch_service,
    wait_until_listening,
    wait_until_serving,
)
from tests.support.wire import Wire, wire_to

pytestmark = [pytest.mark.xdist_group("e2e-firestore-outages"), pytest.mark.timeout(180)]
SLOTS = 32
SHARD = 96
LATENCY_MS = 300
PATIENCE_S = 120.0
CALL_S = 30.0
HOLD_S = 1.0
"""How long answers are held while a test waits to see that what was asked has happened."""


@dataclass(frozen=True, slots=True)
class Database:
    """A database of the test's own, at the far end of a wire.

    Attributes:
        emulator: What holds it.
        wire: The way there.
        project: Its name.
    """

    emulator: Emulator
    wire: Wire
    project: str

    @property
    def store(self) -> dict[str, str]:
        """The variables that lead a service here."""
        return {
            "STORE_URL": f"firestore://{self.project}/(default)",
            "FIRESTORE_EMULATOR_HOST": self.wire.host,
        }

    @property
    def env(self) -> dict[str, dict[str, str]]:
        """The configuration of a factory here."""
        return {"*": self.store, PROCESSOR: {"PROCESSOR_MAX_CONCURRENCY": str(SLOTS)}}

    def restart(self, directory: Path, meanwhile: Callable[[], None]) -> None:
        """Lose the database in the middle of whatever happens, and start it again with its data."""
        self.wire.cut()
        exported = self.emulator.export(self.project, directory)
        self.emulator.kill()
        meanwhile()
        self.emulator.start_again(exported)
        self.wire.mend()


@pytest.fixture
def database() -> Iterator[Database]:
    """An empty database with nothing in its way."""
    with or_skipped(own_emulator()) as emulator, wire_to(emulator.host) as wire:
        yield Database(emulator, wire, f"factory-{uuid4().hex[:20]}")


def _needing_the_database(client: FactoryClient, job_id: str) -> Iterator[tuple[Callable[..., Any], Any]]:
    processor, tracker, optimizer = client.processor, client.tracker, client.optimizer
    yield processor.CreateJob, pb.CreateJobRequest(request_id="meanwhile")
    yield processor.BatchAddItems, pb.BatchAddItemsRequest(job_id=job_id, items=raw_items(1))
    yield processor.StartJob, pb.StartJobRequest(job_id=job_id)
    yield processor.GetJob, pb.GetJobRequest(job_id=job_id)
    yield processor.ListJobs, pb.ListJobsRequest()
    yield processor.ListItems, pb.ListItemsRequest(job_id=job_id)
    yield processor.ListResults, pb.ListResultsRequest(job_id=job_id)
    yield processor.StreamResults, pb.StreamResultsRequest(job_id=job_id)
    yield tracker.GetProgress, tracker_pb2.GetProgressRequest(job_id=job_id)
    yield tracker.ListProgress, tracker_pb2.ListProgressRequest()
    watch = tracker_pb2.WatchProgressRequest(job_id="unwatched", mode=tracker_pb2.WATCH_MODE_EVENTS)
    yield tracker.WatchProgress, watch
    source = optimizer_pb2.TemplateSource(sampling=optimizer_pb2.SamplingParameters(max_tokens=9))
    source.messages.add(role=optimizer_pb2.ChatMessage.ROLE_USER, content="Write.")
    yield optimizer.CreateTemplate, optimizer_pb2.CreateTemplateRequest(template_id="haiku", source=source)


def _code_of(call: Callable[..., Any], request: Any) -> grpc.StatusCode:
    """Make a call, to the end of its stream if it is one, and return its status."""
    try:
        answer = call(request, timeout=CALL_S)
        if hasattr(answer, "__iter__"):
            list(answer)
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return grpc.StatusCode.OK


def test_a_database_restarted_in_the_middle_of_a_job(
    run_factory: RunFactory, database: Database, tmp_path: Path
) -> None:
    """What needs it is UNAVAILABLE meanwhile, prompts and the cache go on; then the job does too."""
    with run_factory(latency_ms=LATENCY_MS, env=database.env) as factory, ThreadPoolExecutor(1) as pool:
        client = factory.client()
        items = raw_items(3 * SHARD)
        job_id = client.submit(items)
        watched = pool.submit(client.events, job_id, timeout_s=PATIENCE_S)
        eventually(lambda: client.finished_items(job_id), lambda finished: finished >= SLOTS)
        codes: dict[str, grpc.StatusCode] = {}
        served: list[grpc.StatusCode] = []

        def ask() -> None:
            for call, request in _needing_the_database(client, job_id):
                codes[type(request).__name__] = _code_of(call, request)
            ask_for = optimizer_pb2.OptimizeRequest(template_id="faq", variables={"topic": "Bees"})
            served.append(_code_of(client.optimizer.Optimize, ask_for))
            served.append(_code_of(client.cache.Get, cache_pb2.GetRequest(key="anything")))

        database.restart(tmp_path, ask)
        results = client.results(job_id, timeout_s=PATIENCE_S)
        job = client.wait(job_id)
        assert codes == dict.fromkeys(codes, grpc.StatusCode.UNAVAILABLE)
        assert served == [grpc.StatusCode.OK] * 2
        assert_complete(items, results, job)
        # What was paid while nothing could be stored is kept: no call is made again, none is uncertain.
        assert (len(factory.model_log()), job.usage.model_calls) == (len(items), len(items))
        assert_honest(job.usage, factory.model_log())
        events = watched.result()
        assert [each.sequence for each in events] == list(range(1, len(events) + 1))
        told = Counter(each.item.item_id for each in events if each.HasField("item"))
        assert told == Counter(each.item_id for each in items)
        again = client.submit(items)
        assert client.wait(again).counts.cached == len(items)


def test_a_database_that_is_slow_and_then_a_trickle(run_factory: RunFactory, database: Database) -> None:
    """The job takes longer, that is all: nothing is lost, doubled or counted wrongly."""
    with run_factory(latency_ms=LATENCY_MS, env=database.env) as factory:
        client = factory.client()
        items = raw_items(2 * SHARD)
        job_id = client.submit(items)
        eventually(lambda: client.finished_items(job_id), lambda finished: finished >= SLOTS)
        database.wire.slow(delay_s=0.3, jitter_s=0.3)
        eventually(lambda: len(completed(factory.model_log())), lambda calls: calls >= SHARD)
        database.wire.slow(delay_s=0)
        database.wire.trickle(bytes_per_s=20_000)
        results = client.results(job_id, timeout_s=PATIENCE_S)
        job = client.wait(job_id, timeout_s=PATIENCE_S)
        assert_complete(items, results, job)
        assert_honest(job.usage, factory.model_log())


def _lost(database: Database, call: Any, request: Any, is_done: Callable[[], bool]) -> None:
    """Make a call that is done and whose answer never comes."""
    database.wire.slow(delay_s=HOLD_S)
    answer = call.future(request, timeout=CALL_S)
    eventually(is_done)
    database.wire.cut()
    with pytest.raises(grpc.RpcError) as caught:
        answer.result()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    database.wire.mend()


def _answered(call: Any, request: Any) -> Any:
    """Repeat a call until the database is back."""

    def once() -> Any:
        try:
            return call(request, timeout=CALL_S)
        except grpc.RpcError as error:
            assert error.code() is grpc.StatusCode.UNAVAILABLE  # noqa: PT017 - any other would be a bug
            return None

    return eventually(once)


def test_requests_repeated_over_an_outage_do_not_double(run_factory: RunFactory, database: Database) -> None:
    """Whoever got no answer asks again: there is one job, each item once, and it is started once."""
    with run_factory(env=database.env) as factory:
        factory.add_processor("witness", FIRESTORE_EMULATOR_HOST=database.emulator.host)
        processor, witness = factory.client().processor, factory.client("witness")
        items = raw_items(SHARD)

        def jobs() -> list[pb.Job]:
            return list(witness.processor.ListJobs(pb.ListJobsRequest(), timeout=CALL_S).jobs)

        create = pb.CreateJobRequest(display_name="once", request_id="r1")
        _lost(database, processor.CreateJob, create, lambda: len(jobs()) == 1)
        job_id = _answered(processor.CreateJob, create).job.job_id
        assert [each.job_id for each in jobs()] == [job_id]
        add = pb.BatchAddItemsRequest(job_id=job_id, items=items)
        _lost(database, processor.BatchAddItems, add, lambda: witness.job(job_id).counts.total == len(items))
        assert all(each.value.already_added for each in _answered(processor.BatchAddItems, add).results)
        start = pb.StartJobRequest(job_id=job_id)
        _lost(database, processor.StartJob, start, lambda: witness.job(job_id).state != pb.JOB_STATE_DRAFT)
        assert _answered(processor.StartJob, start).job.job_id == job_id
        results = witness.results(job_id, timeout_s=PATIENCE_S)
        job = witness.wait(job_id)
        assert_complete(items, results, job)
        assert len(completed(factory.model_log())) == len(items)
        assert_honest(job.usage, factory.model_log())


def test_a_database_that_is_away_at_the_start(database: Database, tmp_path: Path) -> None:
    """Services wait for it without saying SERVING, and say in the log where they look; then they serve."""
    database.wire.cut()
    with mock_endpoint() as model, ExitStack() as stack:
        env = {**database.store, "PROCESSOR_MODEL_URL": model.url, "PROCESSOR_MODEL": "mock"}
        services = [launch_service(name, env, directory=tmp_path) for name in MODULES]
        for each in services:
            stack.callback(end_service, each)
        cache, *others = services
        # The cache listens meanwhile: it is of use without its store, once it has tried long enough.
        eventually(lambda: cache.events("load_failed"))
        wait_until_listening(cache)
        with grpc.insecure_channel(cache.address) as channel:
            assert health_of(health_pb2_grpc.HealthStub(channel)) == "NOT_SERVING"
        for each in others:
            told = eventually(partial(each.events, "store_away"))[0]
            assert database.project in told["error"]
            assert "STORE_URL" in told["advice"]
        assert not any(each.events("failed") for each in services)
        database.wire.mend()
        for each in services:
            wait_until_listening(each)
            wait_until_serving(each)


def test_a_service_that_waits_for_its_database_stops_when_told(database: Database, tmp_path: Path) -> None:
    """SIGTERM ends the wait, with exit code 0."""
    database.wire.cut()
    service = launch_service("tracker", database.store, directory=tmp_path)
    try:
        eventually(lambda: service.events("store_away"))
        assert service.stop() == 0
    finally:
        end_service(service)
