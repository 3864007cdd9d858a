"""A job's events in order, none twice, also when the connection or the tracker is lost in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from contentfactory.tracker.v1 import tracker_pb2 as pb
from google.protobuf.json_format import MessageToDict
from service_common.errors import ErrorKind, ServiceError
from service_common.rpc.client import ClientPool

from factory_cli.calls import PATIENCE_S
from factory_cli.failures import from_service_error

_PAUSE_S = 0.5
_RESUMABLE = frozenset(
    {ErrorKind.UNAVAILABLE, ErrorKind.CANCELLED, ErrorKind.INTERNAL, ErrorKind.RESOURCE_EXHAUSTED}
)


@dataclass(frozen=True, slots=True)
class EventLine:
    """One event, for people and for scripts.

    Attributes:
        sequence: Its number within the job.
        text: For people.
        facts: For scripts: the event as protobuf's JSON.
    """

    sequence: int
    text: str
    facts: dict[str, object]


async def follow_events(
    tracker: ClientPool[Any], job_id: str, *, patience_s: float = PATIENCE_S
) -> AsyncGenerator[EventLine]:
    """Yield a job's events until its last one.

    Args:
        tracker: Who knows.
        job_id: Which job; one that nobody has reported yet is waited for.
        patience_s: How long the tracker may be away.

    Raises:
        CommandError: As it answered, or when it stayed away.
    """
    token = ""
    alive_at = time.monotonic()
    while True:
        request = pb.WatchProgressRequest(
            job_id=job_id, mode=pb.WATCH_MODE_EVENTS, resume_token=token, wait_for_job=True
        )
        try:
            stream = tracker.stream(lambda stub: stub.WatchProgress, request, key=job_id.encode())
            async with aclosing(stream) as frames:
                async for frame in frames:
                    for event in frame.events:
                        yield describe(event)
                    token = frame.resume_token
                    alive_at = time.monotonic()
                return
        except ServiceError as error:
            if error.kind not in _RESUMABLE or time.monotonic() - alive_at > patience_s:
                raise from_service_error(error, service="tracker") from error
        await asyncio.sleep(_PAUSE_S)


def describe(event: pb.ProgressEvent) -> EventLine:
    """Say an event in a line."""
    at = event.event_time.ToDatetime().strftime("%H:%M:%S")
    what = _item(event.item) if event.WhichOneof("event") == "item" else _job(event.job)
    facts = MessageToDict(event, preserving_proto_field_name=True)
    return EventLine(
        event.sequence, f"{event.sequence:>6}  {at}  {what}", {**facts, "sequence": event.sequence}
    )


def _job(update: pb.JobUpdate) -> str:
    state = pb.JobState.Name(update.state).removeprefix("JOB_STATE_").lower().replace("_", " ")
    parts = [f"job {state}" if update.state else "job changed", update.message]
    return "  ".join(part for part in parts if part)


def _item(update: pb.ItemUpdate) -> str:
    state = pb.ItemState.Name(update.state).removeprefix("ITEM_STATE_").lower()
    parts = [f"{update.item_id} {state}"]
    if update.cached:
        parts.append("cached")
    elif update.output_tokens:
        parts.append(f"{update.prompt_tokens} + {update.output_tokens} tokens")
    if update.HasField("quality"):
        parts.append(f"quality {update.quality:.2f}")
    parts += [f"{each.stage} {each.duration.ToTimedelta().total_seconds():.2f} s" for each in update.stages]
    if update.error_reason:
        parts.append(f"{update.error_message} [{update.error_reason}]")
    return "  ".join(parts)
