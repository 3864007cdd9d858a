"""Where a job stands in the queue is part of its snapshots, and of what survives a restart."""

from __future__ import annotations

from pathlib import Path

import grpc
from contentfactory.tracker.v1 import tracker_pb2 as pb
from contentfactory.tracker.v1 import tracker_pb2_grpc
from google.protobuf.timestamp_pb2 import Timestamp

from tests.support.backends import Database, on_durable_stores
from tests.support.processes import running_service

STANDING = pb.QueueStanding(
    position=3, priority=pb.JOB_PRIORITY_HIGH, waiting_since=Timestamp(seconds=1_700_000_000)
)


@on_durable_stores
def test_the_standing_is_shown_and_kept_until_the_job_is_over(tmp_path: Path, database: Database) -> None:
    """A report of nothing but the standing is taken; a new process knows it; the end of the job ends it."""
    env = database.env("tracker")
    with running_service("tracker", env, directory=tmp_path) as service:
        report(service.address, producer_id="queue", producer_sequence=1, queue=STANDING)
        assert queue_of(service.address) == STANDING
    with running_service("tracker", env, directory=tmp_path) as service:
        assert queue_of(service.address) == STANDING
        over = pb.JobUpdate(state=pb.JOB_STATE_CANCELLED)
        report(service.address, producer_id="job", producer_sequence=1, job=over)
        assert queue_of(service.address) == pb.QueueStanding()


def report(address: str, **fields: object) -> None:
    """Report about the job."""
    with grpc.insecure_channel(address) as channel:
        stub = tracker_pb2_grpc.TrackerServiceStub(channel)
        message = pb.ProgressReport(job_id="job", **fields)  # type: ignore[arg-type]  # fields by name
        answer = stub.BatchReportProgress(pb.BatchReportProgressRequest(reports=[message]), timeout=10)
        assert answer.results[0].HasField("value"), answer


def queue_of(address: str) -> pb.QueueStanding:
    """Return where the job stands, as its snapshot says."""
    with grpc.insecure_channel(address) as channel:
        stub = tracker_pb2_grpc.TrackerServiceStub(channel)
        return stub.GetProgress(pb.GetProgressRequest(job_id="job"), timeout=10).progress.queue
