"""A real tracker in a real process, called over gRPC: what it promises survives cuts, repeats and kill -9."""

from __future__ import annotations

import asyncio
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import pytest
from contentfactory.tracker.v1 import tracker_pb2 as pb
from contentfactory.tracker.v1 import tracker_pb2_grpc
from google.protobuf.duration_pb2 import Duration
from service_common.errors import ServiceError
from service_common.rpc.status import from_rpc_error, from_status

from tests.integration.conftest import NewDatabase
from tests.support.backends import Database, on_durable_stores
from tests.support.processes import ServiceProcess, running_service, start_service

Stub: TypeAlias = Any  # the generated stubs describe the synchronous client


def quick(database: Database) -> dict[str, str]:
    """Return the configuration of a tracker that commits in a hurry, also where it would be paid for."""
    return {**database.env("tracker"), "TRACKER_COMMIT_INTERVAL_S": "0.02"}


@pytest.fixture(scope="module")
def service(new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """Run one tracker for the tests that do not stop it."""
    directory = tmp_path_factory.mktemp("tracker")
    with running_service("tracker", quick(new_database(directory)), directory=directory) as running:
        yield running


def stub_of(channel: grpc.aio.Channel) -> Stub:
    """Return the client."""
    return tracker_pb2_grpc.TrackerServiceStub(channel)


@pytest.fixture
async def stub(service: ServiceProcess) -> AsyncIterator[Stub]:
    """Return a client of the shared tracker."""
    async with grpc.aio.insecure_channel(service.address) as channel:
        yield stub_of(channel)


def job_report(job_id: str, sequence: int, state: pb.JobState.ValueType, **fields: Any) -> pb.ProgressReport:
    """Return a report about the job as a whole."""
    update = pb.JobUpdate(state=state, **fields)
    return pb.ProgressReport(job_id=job_id, producer_id="job", producer_sequence=sequence, job=update)


def item_report(job_id: str, sequence: int, names: list[str], *, done: int) -> pb.ProgressReport:
    """Return a shard's report of items that succeeded."""
    items = [
        pb.ItemUpdate(
            item_id=name,
            state=pb.ITEM_STATE_SUCCEEDED,
            content_type="flashcards",
            quality=0.5,
            stages=[pb.StageDuration(stage="generate", duration=Duration(seconds=2))],
        )
        for name in names
    ]
    totals = pb.ProducerTotals(succeeded=done, model_calls=done)
    return pb.ProgressReport(
        job_id=job_id, producer_id="shard-0", producer_sequence=sequence, totals=totals, items=items
    )


async def send(stub: Stub, *reports: pb.ProgressReport) -> pb.BatchReportProgressResponse:
    """Report, with a deadline."""
    request = pb.BatchReportProgressRequest(reports=reports)
    answer: pb.BatchReportProgressResponse = await stub.BatchReportProgress(request, timeout=10)
    return answer


async def send_until_taken(stub: Stub, report: pb.ProgressReport) -> None:
    """Report as a producer does: again while other trackers keep writing the job."""
    while True:
        try:
            await send(stub, report)
        except grpc.aio.AioRpcError as error:
            assert from_rpc_error(error).reason == "JOB_CONTENDED"  # noqa: PT017 - any other would be a bug
        else:
            return


async def error_of(call: Any) -> ServiceError:
    """Return the error with which a call or a stream ends."""
    first = anext(aiter(call)) if isinstance(call, grpc.aio.UnaryStreamCall) else call
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await first
    return from_rpc_error(caught.value)


async def finish(stub: Stub, job_id: str, count: int) -> None:
    """Run a job of so many items from start to end."""
    await send(stub, job_report(job_id, 1, pb.JOB_STATE_RUNNING, item_count=count, display_name="A job"))
    await send(stub, item_report(job_id, 1, [f"i{each}" for each in range(count)], done=count))
    await send(stub, job_report(job_id, 2, pb.JOB_STATE_SUCCEEDED))


async def test_a_job_from_first_report_to_last_event(stub: Stub) -> None:
    """Reports come out as a snapshot, as events, and as a stream that ends."""
    await finish(stub, "whole", 120)
    answer = await stub.GetProgress(pb.GetProgressRequest(job_id="whole"))
    progress = answer.progress
    assert (progress.state, progress.last_sequence) == (pb.JOB_STATE_SUCCEEDED, 122)
    assert (progress.fraction_done, progress.mean_quality, progress.display_name) == (1.0, 0.5, "A job")
    assert [(each.stage, each.items, each.total_duration.seconds) for each in progress.stages] == [
        ("generate", 120, 240)
    ]
    request = pb.WatchProgressRequest(job_id="whole", mode=pb.WATCH_MODE_EVENTS)
    events = [event async for frame in stub.WatchProgress(request) for event in frame.events]
    assert [event.sequence for event in events] == list(range(1, 123))
    assert events[1].item.stages[0].duration.seconds == 2
    request.resume_token = answer.resume_token
    assert [frame async for frame in stub.WatchProgress(request)] == []


async def test_repeats_and_mistakes_are_answered_one_by_one(stub: Stub) -> None:
    """A batch has one answer per report, in order: taken, repeated or refused."""
    good = item_report("mixed", 1, ["a"], done=1)
    bad = item_report("mixed", 2, [""], done=1)
    answer = await send(stub, good, bad, good, item_report("mixed", 9, ["b"], done=2))
    kinds = [each.WhichOneof("outcome") for each in answer.results]
    assert kinds == ["value", "error", "value", "value"]
    assert [each.value.duplicate for each in answer.results] == [False, False, True, False]
    assert answer.results[3].value.durable_sequence == 9
    refusal = from_status(answer.results[1].error)
    assert [each.field for each in refusal.violations] == ["reports[1].items[0].item_id"]


async def test_every_rpc_names_what_is_wrong(stub: Stub) -> None:
    """Canonical codes and registered reasons, for each RPC."""
    await finish(stub, "errors", 1)
    events = pb.WATCH_MODE_EVENTS
    watch, request = stub.WatchProgress, pb.WatchProgressRequest
    cases = [
        (stub.BatchReportProgress(pb.BatchReportProgressRequest()), "INVALID_FIELD"),
        (stub.GetProgress(pb.GetProgressRequest()), "INVALID_FIELD"),
        (stub.GetProgress(pb.GetProgressRequest(job_id="nobody")), "JOB_NOT_FOUND"),
        (stub.ListProgress(pb.ListProgressRequest(page_token="x")), "INVALID_FIELD"),
        (stub.ListProgress(pb.ListProgressRequest(page_size=-1)), "INVALID_FIELD"),
        (watch(request()), "INVALID_FIELD"),
        (watch(request(job_id="nobody")), "JOB_NOT_FOUND"),
        (watch(request(job_id="nobody", mode=events)), "JOB_NOT_FOUND"),
        (watch(request(job_id="errors", mode=events, resume_token="x")), "INVALID_RESUME_TOKEN"),
    ]
    assert [(await error_of(call)).reason for call, _ in cases] == [reason for _, reason in cases]


class Cutter:
    """A watcher that is cut off every few frames and comes back with its last token."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.cuts = 0
        self._token = ""

    async def run(self, address: list[str], job_id: str) -> None:
        """Watch until the stream ends by itself, whatever happens to the tracker meanwhile."""
        while not await self._once(address[0], job_id):
            self.cuts += 1

    async def _once(self, address: str, job_id: str) -> bool:
        request = pb.WatchProgressRequest(
            job_id=job_id, mode=pb.WATCH_MODE_EVENTS, resume_token=self._token, wait_for_job=True
        )
        async with grpc.aio.insecure_channel(address) as channel:
            call = stub_of(channel).WatchProgress(request)
            left = 1 + self.cuts % 3
            try:
                async for frame in call:
                    self.seen += [event.sequence for event in frame.events]
                    self._token = frame.resume_token
                    left -= 1
                    if left == 0:
                        call.cancel()
                        return False
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.UNAVAILABLE  # noqa: PT017 - any other would be a bug
                await asyncio.sleep(0.02)
                return False
        return True


async def report_until_durable(address: list[str], reports: list[pb.ProgressReport]) -> None:
    """Report as a producer does: again until acknowledged, and once more for good measure."""
    for _ in range(2):
        while True:
            try:
                async with grpc.aio.insecure_channel(address[0]) as channel:
                    answer = await send(stub_of(channel), *reports)
                assert all(each.HasField("value") for each in answer.results)
                break
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.UNAVAILABLE  # noqa: PT017 - any other would be a bug
                await asyncio.sleep(0.02)


@on_durable_stores
async def test_a_watcher_cut_again_and_again_misses_nothing_over_kill_9(
    tmp_path: Path, database: Database
) -> None:
    """Every number once, in order, though watchers are cut, reports repeat, and the tracker dies thrice."""
    count = 400
    env = quick(database)
    tracker = start_service("tracker", env, directory=tmp_path)
    address = [tracker.address]
    watchers = [Cutter() for _ in range(3)]
    watching = [asyncio.create_task(each.run(address, "cut")) for each in watchers]
    try:
        start = job_report("cut", 1, pb.JOB_STATE_RUNNING, item_count=count)
        await report_until_durable(address, [start])
        for step in range(0, count, 10):
            names = [f"i{each}" for each in range(step, step + 10)]
            reporting = asyncio.create_task(
                report_until_durable(address, [item_report("cut", step + 1, names, done=step + 10)])
            )
            if step in (100, 200, 300):
                await asyncio.sleep(0)
                tracker.kill()
                tracker = await asyncio.to_thread(start_service, "tracker", env, directory=tmp_path)
                address[0] = tracker.address
            await reporting
        await report_until_durable(address, [job_report("cut", 2, pb.JOB_STATE_SUCCEEDED)])
        await asyncio.wait_for(asyncio.gather(*watching), 20)
    finally:
        tracker.stop()
    for each in watchers:
        assert each.seen == list(range(1, count + 3))
        assert each.cuts > 3


async def test_two_hundred_watchers_of_one_job_see_the_same(stub: Stub) -> None:
    """Each of them gets every event once and in order, live."""
    ready = asyncio.Semaphore(0)

    async def watch() -> list[int]:
        seen: list[int] = []
        request = pb.WatchProgressRequest(job_id="crowd", mode=pb.WATCH_MODE_EVENTS)
        async for frame in stub.WatchProgress(request):
            if not seen:
                ready.release()
            seen += [event.sequence for event in frame.events]
        return seen

    await send(stub, job_report("crowd", 1, pb.JOB_STATE_RUNNING, item_count=200))
    watchers = [asyncio.create_task(watch()) for _ in range(200)]
    for _ in watchers:
        await ready.acquire()
    for step in range(20):
        names = [f"i{each}" for each in range(step * 10, step * 10 + 10)]
        await send(stub, item_report("crowd", step + 1, names, done=step * 10 + 10))
    await send(stub, job_report("crowd", 2, pb.JOB_STATE_SUCCEEDED))
    seen = await asyncio.wait_for(asyncio.gather(*watchers), 20)
    assert seen == [list(range(1, 203))] * 200


@on_durable_stores
async def test_two_trackers_on_one_store_keep_one_sequence(tmp_path: Path, database: Database) -> None:
    """Producers report to both at once; watchers of either see the same numbers, without gap or repeat."""
    env = quick(database) | {"TRACKER_POLL_INTERVAL_S": "0.1"}
    with (
        running_service("tracker", env, directory=tmp_path / "a") as one,
        running_service("tracker", env, directory=tmp_path / "b") as two,
    ):
        async with grpc.aio.insecure_channel(one.address) as a, grpc.aio.insecure_channel(two.address) as b:
            stubs = [stub_of(a), stub_of(b)]
            await send(stubs[0], job_report("both", 1, pb.JOB_STATE_RUNNING, item_count=100))

            async def produce(stub: Stub, name: str) -> None:
                for sequence in range(1, 51):
                    report = item_report("both", sequence, [f"{name}-{sequence}"], done=sequence)
                    report.producer_id = name
                    await send_until_taken(stub, report)

            async def watch(stub: Stub) -> list[tuple[int, str]]:
                request = pb.WatchProgressRequest(job_id="both", mode=pb.WATCH_MODE_EVENTS)
                frames = stub.WatchProgress(request)
                return [(each.sequence, each.item.item_id) async for frame in frames for each in frame.events]

            watching = [asyncio.create_task(watch(each)) for each in stubs]
            await asyncio.gather(produce(stubs[0], "p"), produce(stubs[1], "q"))
            await send(stubs[1], job_report("both", 2, pb.JOB_STATE_SUCCEEDED))
            seen = await asyncio.wait_for(asyncio.gather(*watching), 20)
    assert seen[0] == seen[1]
    assert [number for number, _ in seen[0]] == list(range(1, 103))


@on_durable_stores
async def test_everything_survives_a_restart(tmp_path: Path, database: Database) -> None:
    """Snapshot, list and tokens are the same after SIGTERM and a new process; an open watch ends at once."""
    env = quick(database)
    with running_service("tracker", env, directory=tmp_path) as before:
        async with grpc.aio.insecure_channel(before.address) as channel:
            stub = stub_of(channel)
            await finish(stub, "kept", 60)
            await send(stub, job_report("open", 1, pb.JOB_STATE_RUNNING, item_count=1))
            answer = await stub.GetProgress(pb.GetProgressRequest(job_id="kept"))
            watch = stub.WatchProgress(pb.WatchProgressRequest(job_id="open", mode=pb.WATCH_MODE_EVENTS))
            frames = aiter(watch)
            await anext(frames)
            started = time.monotonic()
            stopping = asyncio.create_task(asyncio.to_thread(before.stop))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await anext(frames)
            assert from_rpc_error(caught.value).reason == "DRAINING"
            assert await stopping == 0
            assert time.monotonic() - started < 8
    with running_service("tracker", env, directory=tmp_path) as after:
        async with grpc.aio.insecure_channel(after.address) as channel:
            stub = stub_of(channel)
            assert await stub.GetProgress(pb.GetProgressRequest(job_id="kept")) == answer
            listed = await stub.ListProgress(pb.ListProgressRequest())
            assert {each.job_id for each in listed.progress} == {"kept", "open"}
            repeat = await send(stub, item_report("kept", 1, ["i0"], done=1))
            assert repeat.results[0].value.duplicate


async def test_snapshots_by_filter(stub: Stub) -> None:
    """The first frame is there at once, also when nothing matches; then whatever comes to match."""
    wanted = pb.ProgressFilter(label_key="suite", label_value="filter")
    request = pb.WatchProgressRequest(filter=wanted, min_interval=Duration(nanos=20_000_000))
    frames = aiter(stub.WatchProgress(request))
    assert list((await anext(frames)).snapshots) == []
    await send(stub, job_report("labelled", 1, pb.JOB_STATE_RUNNING, labels={"suite": "filter"}))
    frame = await anext(frames)
    assert [(each.job_id, each.state) for each in frame.snapshots] == [("labelled", pb.JOB_STATE_RUNNING)]


async def test_metrics_equal_the_reports_sent(tmp_path: Path, database: Database) -> None:
    """Events, repeats and durations are counted once each, as the client sent them."""
    with running_service("tracker", quick(database), directory=tmp_path) as tracker:
        async with grpc.aio.insecure_channel(tracker.address) as channel:
            stub = stub_of(channel)
            await finish(stub, "counted", 30)
            await send(
                stub, item_report("counted", 1, ["i0"], done=1), item_report("counted", 2, ["i0"], done=30)
            )
        text = await asyncio.to_thread(scrape, tracker.metrics_port)
    assert 'progress_updates_total{kind="item"} 30.0' in text
    assert 'progress_updates_total{kind="job"} 2.0' in text
    assert 'progress_updates_total{kind="duplicate"} 1.0' in text
    assert 'generation_duration_seconds_count{content_type="flashcards"} 30.0' in text
    assert 'generation_duration_seconds_sum{content_type="flashcards"} 60.0' in text
    assert 'stage_duration_seconds_count{stage="generate"} 30.0' in text


def scrape(port: int) -> str:
    """Return what Prometheus would read."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as response:
        return str(response.read().decode())


async def test_a_watcher_that_does_not_read_is_ended_and_can_continue(
    tmp_path: Path, database: Database
) -> None:
    """SLOW_CONSUMER after the timeout; with the last token nothing is missing."""
    env = quick(database) | {"TRACKER_WRITE_TIMEOUT_S": "0.3"}
    with running_service("tracker", env, directory=tmp_path) as tracker:
        async with grpc.aio.insecure_channel(tracker.address) as channel:
            for step in range(12):
                report = item_report("big", step + 1, [f"{step}-{each}" for each in range(1000)], done=0)
                for each in report.items:
                    each.error_message = "x" * 900
                await send(stub_of(channel), report)
        seen, ends = await asyncio.to_thread(read_late, tracker.address, 12_000)
    assert seen == list(range(1, 12_001))
    assert ends[0] == "SLOW_CONSUMER"


def read_late(address: str, count: int) -> tuple[list[int], list[str]]:
    """Watch with a client that first reads nothing for a second; returns numbers and how streams ended."""
    seen: list[int] = []
    ends: list[str] = []
    request = pb.WatchProgressRequest(job_id="big", mode=pb.WATCH_MODE_EVENTS)
    with grpc.insecure_channel(address) as channel:
        stub = tracker_pb2_grpc.TrackerServiceStub(channel)
        while len(seen) < count:
            call = stub.WatchProgress(request)
            time.sleep(0 if ends else 1)  # what is tested is a client that sleeps
            try:
                for frame in call:
                    seen += [event.sequence for event in frame.events]
                    request.resume_token = frame.resume_token
                    if len(seen) == count:
                        break
            except grpc.RpcError as error:
                ends.append(from_rpc_error(error).reason)  # type: ignore[arg-type]  # its twin
    return seen, ends
