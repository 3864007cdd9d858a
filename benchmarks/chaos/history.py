"""What is known of a job once it is over, from four witnesses that know nothing of each other.

The store says what was committed, the model endpoint's log what was asked and charged, the stream of results
what a client received, and the tracker's events what a watcher saw.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from parallel_processor.jobs.item import Outcome
from parallel_processor.jobs.job import Job
from parallel_processor.jobs.piece import Usage
from parallel_processor.jobs.shard import Shard

from tests.support.bill import Line

_SLACK_S = 0.1
"""How far the clocks of an endpoint that is kept waiting for a core and of whoever strikes may differ."""

_PUT_AWAY_S = 0.25 + _SLACK_S
"""How long an answer waits for its score before it is put away; until then it is lost with its worker."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call, as the endpoint that answered it has logged it.

    Attributes:
        caller: The processor that made it.
        line: What was asked and charged.
        arrived: When it came, in Unix seconds.
        ended: When it was answered, or its client left.
    """

    caller: str
    line: Line
    arrived: float
    ended: float

    def in_flight_at(self, moment: float) -> bool:
        """Whether it was under way then, or its answer not put away yet."""
        return self.arrived <= moment + _SLACK_S and moment - _PUT_AWAY_S <= self.ended


@dataclass(frozen=True, slots=True)
class Blow:
    """A processor was killed or stalled.

    Attributes:
        target: Which.
        time: When, in Unix seconds.
    """

    target: str
    time: float


@dataclass(frozen=True, slots=True)
class Received:
    """A result as a client got it: the item, its state's name, and the digest its content begins with."""

    item_id: str
    state: str
    digest: str


@dataclass(frozen=True, slots=True)
class Seen:
    """An event as a watcher saw it; one of the job as a whole names no item."""

    sequence: int
    item_id: str = ""
    state: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """What the tracker says of the job at the end.

    Attributes:
        state: The job's state's name.
        succeeded: Items that succeeded.
        failed: Items that failed or were skipped.
        usage: What they took; the tracker is not told of saved money and of the number of uncertain calls.
        last_sequence: The number of the last event.
    """

    state: str
    succeeded: int
    failed: int
    usage: Usage
    last_sequence: int


@dataclass(frozen=True, slots=True)
class History:
    """Everything the witnesses say.

    Attributes:
        items: The ids of each shard's items, in order, by the shard's number.
        job: The job as stored.
        shards: Its shards as stored.
        chunks: All stored documents of results, by id: item indexes and outcomes.
        received: What the client got, in order.
        seen: What the watcher saw, in order.
        told: The tracker's last word.
        calls: What the endpoints have logged.
        blows: When processors were killed or stalled.
    """

    items: Mapping[int, Sequence[str]]
    job: Job
    shards: Sequence[Shard]
    chunks: Mapping[str, Sequence[tuple[int, Outcome]]]
    received: Sequence[Received]
    seen: Sequence[Seen]
    told: Told
    calls: Sequence[Call]
    blows: Sequence[Blow]

    def outcomes(self) -> Iterator[tuple[int, int, Outcome]]:
        """Yield each committed outcome with its shard's number and its index in the shard."""
        for shard in self.shards:
            for chunk in shard.result_chunks:
                for index, outcome in self.chunks.get(chunk, ()):
                    yield shard.number, index, outcome

    def in_flight_at_blows(self) -> int:
        """Return how many calls were with the model when their processor was struck."""
        return sum(
            any(blow.target == call.caller and call.in_flight_at(blow.time) for blow in self.blows)
            for call in self.calls
        )


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken.

    Attributes:
        rule: Which.
        text: How.
    """

    rule: str
    text: str


def digest_of(outcome: Outcome) -> str:
    """Return the digest of the messages an outcome's content answers: the mock endpoint begins with it."""
    return outcome.piece.content.partition(" ")[0] if outcome.piece else ""
