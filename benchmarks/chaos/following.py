"""A client that does not give up: it follows a job through whichever processor answers, by its tokens."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import cycle

import grpc
from contentfactory.processor.v1 import processor_pb2 as pb
from contentfactory.tracker.v1 import tracker_pb2

from tests.support.factory_client import TERMINAL, FactoryClient

_STREAM_S = 10.0
_CALL_S = 5.0
_AGAIN_S = 0.1
_PASSING = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
)


class Follower:
    """Follows one job.

    Attributes:
        job_id: Which.
    """

    def __init__(self, clients: Sequence[FactoryClient], job_id: str, *, patience_s: float) -> None:
        """Prepare to follow.

        Args:
            clients: One of each processor.
            job_id: The job.
            patience_s: When to give up.
        """
        self.job_id = job_id
        self._clients = clients
        self._gives_up_at = time.monotonic() + patience_s

    def results(self) -> list[pb.ItemResult]:
        """Return every result that comes, each stream continuing where the last one was cut."""
        got: list[pb.ItemResult] = []
        request = pb.StreamResultsRequest(job_id=self.job_id)
        for client in self._in_turn():
            try:
                for frame in client.processor.StreamResults(request, timeout=_STREAM_S):
                    got += frame.results
                    request.resume_token = frame.resume_token
            except grpc.RpcError as error:
                _pass(error)
            else:
                return got
        raise TimeoutError(f"the results did not end; {len(got)} came")

    def events(self) -> list[tracker_pb2.ProgressEvent]:
        """Return every event, from before the first one on."""
        got: list[tracker_pb2.ProgressEvent] = []
        request = tracker_pb2.WatchProgressRequest(
            job_id=self.job_id, mode=tracker_pb2.WATCH_MODE_EVENTS, wait_for_job=True
        )
        for client in self._in_turn():
            try:
                for frame in client.tracker.WatchProgress(request, timeout=_STREAM_S):
                    got += frame.events
                    request.resume_token = frame.resume_token
            except grpc.RpcError as error:
                _pass(error)
            else:
                return got
        raise TimeoutError(f"the events did not end; {len(got)} came")

    def finished(self) -> pb.Job:
        """Return the job once it is over."""
        job = None
        for client in self._in_turn():
            try:
                job = client.processor.GetJob(pb.GetJobRequest(job_id=self.job_id), timeout=_CALL_S).job
            except grpc.RpcError as error:
                _pass(error)
                continue
            if job.state in TERMINAL and job.HasField("finish_time"):
                return job
        raise TimeoutError(f"the job did not end: {job}")

    def progress(self, usage: pb.Usage) -> tracker_pb2.JobProgress:
        """Return what the tracker says once it has heard of the job's last cent, or when patience ends."""
        progress = tracker_pb2.JobProgress()
        request = tracker_pb2.GetProgressRequest(job_id=self.job_id)
        for client in self._in_turn():
            try:
                progress = client.tracker.GetProgress(request, timeout=_CALL_S).progress
            except grpc.RpcError as error:
                _pass(error)
                continue
            totals = progress.totals
            spent = totals.cost_micros, totals.uncertain_spend_micros
            if spent == (usage.cost_micros, usage.uncertain_spend_micros) and progress.HasField(
                "finish_time"
            ):
                break
        return progress

    def _in_turn(self) -> cycle[FactoryClient]:
        return cycle(self._clients)


def _pass(error: grpc.RpcError) -> None:
    """Let whatever passes by itself pass, and nothing else."""
    if error.code() not in _PASSING:
        raise error
    time.sleep(_AGAIN_S)
