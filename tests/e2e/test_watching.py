"""Progress is complete and in order, however often its watcher is cut off."""

from __future__ import annotations

import time

import grpc
import pytest
from contentfactory.tracker.v1 import tracker_pb2 as pb

from tests.support.factory import Factory
from tests.support.factory_client import FactoryClient, topic_items

pytestmark = pytest.mark.xdist_group("e2e-neighbours")
FACTORY = {"latency_ms": 150, "env": {"processor": {"PROCESSOR_MAX_CONCURRENCY": "8"}}}
CUT_AFTER_S = 0.1


def _watch(
    client: FactoryClient, job_id: str, token: str = ""
) -> grpc.CallIterator[pb.WatchProgressResponse]:
    request = pb.WatchProgressRequest(
        job_id=job_id, mode=pb.WATCH_MODE_EVENTS, resume_token=token, wait_for_job=True
    )
    return client.tracker.WatchProgress(request, timeout=60)


def _watch_cut(client: FactoryClient, job_id: str) -> tuple[list[pb.ProgressEvent], int]:
    """Watch to the end over streams that are cancelled every 100 ms; returns the events and the cuts."""
    events: list[pb.ProgressEvent] = []
    token, cuts = "", 0
    while True:
        stream = _watch(client, job_id, token)
        cut_at = time.monotonic() + CUT_AFTER_S
        try:
            for frame in stream:
                events += frame.events
                token = frame.resume_token
                if time.monotonic() >= cut_at:
                    stream.cancel()  # type: ignore[no-untyped-call]  # published without types
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.CANCELLED:
                raise
            cuts += 1
        else:
            return events, cuts


def test_a_watcher_that_is_cut_off_all_the_time_sees_each_event_once_in_order(
    shared_factory: Factory,
) -> None:
    """Resuming by token, it has every sequence number once, to the last: the log as read in one go."""
    client = shared_factory.client()
    items = topic_items(12)
    job_id = client.submit(items)
    events, cuts = _watch_cut(client, job_id)
    assert cuts >= 5, "the job was over too soon: the test shows nothing"
    assert [each.sequence for each in events] == list(range(1, len(events) + 1))
    in_one_go = [event for frame in _watch(client, job_id) for event in frame.events]
    assert events == in_one_go
    progress = client.tracker.GetProgress(pb.GetProgressRequest(job_id=job_id), timeout=10).progress
    assert progress.last_sequence == len(events)
    finished = [each.item.item_id for each in events if each.HasField("item")]
    assert sorted(finished) == sorted(each.item_id for each in items)
    assert events[-1].job.state == pb.JOB_STATE_SUCCEEDED
