"""All four services on one Firestore database: the main job, a crash of one of three processors, a stall."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from uuid import uuid4

import grpc
import pytest
from contentfactory.processor.v1 import processor_pb2 as pb

from tests.e2e.conftest import RunFactory
from tests.support.bill import abandoned, bill, completed
from tests.support.factory import PROCESSOR, Factory, eventually
from tests.support.factory_client import FactoryClient, raw_items, topic_items
from tests.support.firestore_emulator import Emulator, EmulatorMissing, own_emulator

pytestmark = [pytest.mark.xdist_group("e2e-firestore"), pytest.mark.timeout(180)]
SLOTS = 16
AHEAD = SLOTS  # announced before they came, as is the default on Firestore
SHARD = 96
LATENCY_MS = 300
PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """A Firestore emulator of the module's own, which may be stalled."""
    try:
        with own_emulator() as running:
            yield running
    except EmulatorMissing as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture
def env(emulator: Emulator) -> dict[str, dict[str, str]]:
    """The configuration of services that share a fresh database."""
    store = {
        "STORE_URL": f"firestore://factory-{uuid4().hex[:20]}/(default)",
        "FIRESTORE_EMULATOR_HOST": emulator.host,
    }
    return {"*": store, PROCESSOR: {"PROCESSOR_MAX_CONCURRENCY": str(SLOTS)}}


def _assert_complete(items: Sequence[pb.JobItem], results: Sequence[pb.ItemResult], job: pb.Job) -> None:
    assert Counter(each.item_id for each in results) == Counter(each.item_id for each in items)
    assert job.state == pb.JOB_STATE_SUCCEEDED
    assert job.counts.succeeded == job.counts.total == len(items)


def test_the_main_job_and_a_restart(run_factory: RunFactory, env: dict[str, dict[str, str]]) -> None:
    """Outlines and what is made from them; a restart of all four forgets nothing and pays nothing again."""
    with run_factory(env=env) as factory:
        client = factory.client()
        items = topic_items(6)
        job_id = client.submit(items)
        results = client.results(job_id)
        job = client.wait(job_id)
        _assert_complete(items, results, job)
        assert job.usage.model_calls == len(completed(factory.model_log())) == len(items)
        for name in list(factory.services):
            assert factory.stop(name) == 0
            factory.restart(name)
        client = factory.client()
        assert client.job(job_id) == job
        again = client.submit(items)
        assert {each.item_id: each.piece.content for each in client.results(again)} == {
            each.item_id: each.piece.content for each in results
        }
        assert client.wait(again).counts.cached == len(items)
        assert not list(Path(factory.directory).glob("*.db"))


def _active_calls(client: FactoryClient) -> int:
    return client.processor.GetCapacity(pb.GetCapacityRequest()).active_calls


def _busy(factory: Factory, job_id: str, names: Sequence[str]) -> None:
    """Wait until every processor has shards of the job."""
    for name in names:
        eventually(partial(_active_calls, factory.client(name)))
    eventually(lambda: factory.client().finished_items(job_id), lambda finished: finished >= SLOTS)


def test_three_processors_share_a_job_and_one_dies(
    run_factory: RunFactory, env: dict[str, dict[str, str]]
) -> None:
    """The result is complete and single; what the dead one had in flight is uncertain spend."""
    with run_factory(latency_ms=LATENCY_MS, env=env) as factory:
        factory.add_processor("second")
        factory.add_processor("third")
        client = factory.client()
        items = raw_items(9 * SHARD)
        job_id = client.submit(items)
        _busy(factory, job_id, [PROCESSOR, "second", "third"])
        factory.kill("third")
        results = client.results(job_id, timeout_s=PATIENCE_S)
        job = client.wait(job_id)
        _assert_complete(items, results, job)
        lines = factory.model_log()
        paid, cut_off = completed(lines), abandoned(lines)
        paid_twice = len(paid) - len({each.digest for each in paid})
        assert paid_twice <= SLOTS
        assert len(cut_off) + paid_twice <= job.usage.uncertain_calls <= SLOTS + AHEAD + paid_twice
        assert job.usage.cost_micros <= bill(paid)
        assert bill(paid) + bill(cut_off) <= job.usage.cost_micros + job.usage.uncertain_spend_micros


def test_a_database_that_stalls_in_the_middle_of_a_job(
    run_factory: RunFactory, env: dict[str, dict[str, str]], emulator: Emulator
) -> None:
    """Reads are UNAVAILABLE meanwhile; then the work resumes by itself, nothing lost and nothing doubled."""
    with run_factory(latency_ms=LATENCY_MS, env=env) as factory:
        client = factory.client()
        items = raw_items(3 * SHARD)
        job_id = client.submit(items)
        eventually(lambda: client.finished_items(job_id), lambda finished: finished >= SLOTS)
        emulator.stall()
        try:
            with pytest.raises(grpc.RpcError) as caught:
                client.processor.GetJob(pb.GetJobRequest(job_id=job_id), timeout=30)
        finally:
            emulator.resume()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        results = client.results(job_id, timeout_s=PATIENCE_S)
        _assert_complete(items, results, client.wait(job_id))
        paid = completed(factory.model_log())
        assert len({each.digest for each in paid}) == len(items)
