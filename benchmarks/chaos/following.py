"""A client that does not give up: it follows a job through whichever processor answers, by its tokens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, takewhile

import grpc
from contentfactory.processor.v1 import processor_pb2 as pb
from contentfactory.tracker.v1 import tracker_pb2

from tests.support.factory_client import TERMINAL, FactoryClient

_STREAM_S = 7.0
_CALL_S = 5.0
_AGAIN_S = 0.1
_PASSING = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
)


class Patience:
    """Ends when nothing has moved for a while. Its mutable state: what was seen last, and when.

    Attributes:
        is_over: Whether it has ended.
    """

    def __init__(self, count: Callable[[], int], *, quiet_s: float) -> None:
        """Begin to be patient.

        Args:
            count: Grows as long as something moves.
            quiet_s: How long it may stand still.
        """
        self.is_over = False
        self._count = count
        self._quiet_s = quiet_s
        self._last = (-1, time.monotonic())

    def look(self) -> None:
        """Look whether something has moved; one thread does."""
        count, now = self._count(), time.monotonic()
        if count != self._last[0]:
            self._last = (count, now)
        self.is_over = now - self._last[1] > self._quiet_s


class Follower:
    """Follows one job, until its end or the end of patience: then with what has come.

    Attributes:
        job_id: Which.
    """

    def __init__(self, clients: Sequence[FactoryClient], job_id: str, patience: Patience) -> None:
        """Prepare to follow.

        Args:
            clients: One of each processor.
            job_id: The job.
            patience: When to give up.
        """
        self.job_id = job_id
        self._clients = clients
        self._patience = patience

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
        return got

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
        return got

    def finished(self) -> pb.Job:
        """Return the job once it is over."""
        job = pb.Job()
        for client in self._in_turn():
            try:
                job = client.processor.GetJob(pb.GetJobRequest(job_id=self.job_id), timeout=_CALL_S).job
            except grpc.RpcError as error:
                _pass(error)
                continue
            if job.state in TERMINAL and job.HasField("finish_time"):
                return job
            time.sleep(_AGAIN_S)
        return job

    def progress(self, usage: pb.Usage) -> tracker_pb2.JobProgress:
        """Return what the tracker says once it has heard of the job's end and last cent."""
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
            time.sleep(_AGAIN_S)
        return progress

    def _in_turn(self) -> Iterator[FactoryClient]:
        return takewhile(lambda _: not self._patience.is_over, cycle(self._clients))


def _pass(error: grpc.RpcError) -> None:
    """Let whatever passes by itself pass, and nothing else."""
    if error.code() not in _PASSING:
        raise error
    time.sleep(_AGAIN_S)
