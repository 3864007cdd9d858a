"""A shard: a lease over whole groups of items, fenced by an epoch; every change of it is made here.

A worker claims a shard for a while and renews the lease with every commit. Whoever claims it next gets a
higher epoch, and nothing that an earlier epoch commits is accepted (fencing token: Kleppmann, "Designing
Data-Intensive Applications", chapter 8).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from datetime import datetime, timedelta
from enum import Enum

from service_common.errors import aborted
from service_common.frozen import dataclass

from parallel_processor.jobs.item import ItemCounts, ItemState, Outcome, count_states, total_usage
from parallel_processor.jobs.job import DEADLINE_EXCEEDED, Job, JobState, Priority, ShardTotals
from parallel_processor.jobs.piece import Usage

LEASE_LOST = "LEASE_LOST"


class ShardPhase(Enum):
    """How far a shard has come."""

    WAITING = "WAITING"
    BEGUN = "BEGUN"
    FINISHED = "FINISHED"
    SETTLED = "SETTLED"


@dataclass(frozen=True, slots=True)
class ItemSource:
    """Which items of one stored chunk belong to the shard."""

    chunk: int
    positions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard as stored.

    Attributes:
        job_id: The job it is part of.
        tenant: Whose it is.
        number: Its place in the job, from 0.
        priority: The job's priority.
        sources: Where its items are stored, in their order.
        states: One `ItemState` number per item.
        claimable_at: From when on it may be claimed; None when there is nothing left to do.
        phase: How far it has come.
        owner: The worker that holds the lease; empty when handed back.
        epoch: Counts its claims; the fencing token.
        commits: Counts its commits, across epochs; numbers its reports of progress.
        result_chunks: Ids of the documents that hold its results, in the order of their commits.
        intents: Worst-case cost, by item index, of announced model calls that are not accounted for.
        cached: Of the succeeded items, those that needed no model call.
        usage: What its items took so far.
        unreported: Whether its last commit may not have reached the tracker.
        parked: Whether it waits, unclaimable, for its paused job to be resumed.
        late: Whether items were given up for the job's deadline.
        superseded: Results of items that were to be worked on again, and so no longer stand.
        reopened: How many results there were when it was opened again, by the round of retries.
        retry: Whether it is to be opened again once it is over.
        crashes: How often a worker was lost while the item's call was out, by item index.
        inherited: Indexes of items whose announcements are of earlier epochs.
        granted: What it may spend in all, calls that are out at their worst; None while no budget holds it.
        tenant_base: What it had spent when its tenant's budget began to bear it; None while that does not.
    """

    job_id: str
    tenant: str
    number: int
    priority: Priority
    sources: tuple[ItemSource, ...]
    states: bytes
    claimable_at: datetime | None
    phase: ShardPhase = ShardPhase.WAITING
    owner: str = ""
    epoch: int = 0
    commits: int = 0
    result_chunks: tuple[str, ...] = ()
    intents: Mapping[int, int] = field(default_factory=dict)
    cached: int = 0
    usage: Usage = field(default_factory=Usage)
    unreported: bool = False
    parked: bool = False
    late: bool = False
    superseded: int = 0
    reopened: Mapping[int, int] = field(default_factory=dict)
    retry: bool = False
    crashes: Mapping[int, int] = field(default_factory=dict)
    inherited: tuple[int, ...] = ()
    granted: int | None = None
    tenant_base: int | None = None

    @property
    def spent(self) -> int:
        """What its calls cost so far, those of unknown fate at their worst."""
        return self.usage.cost_micros + self.usage.uncertain_spend_micros

    @property
    def reserved(self) -> int:
        """The most that the calls may cost that are out."""
        return sum(self.intents.values())

    @property
    def holder(self) -> str:
        """The name under which the shard's workers hold things elsewhere, whatever their epoch (law 1)."""
        return f"{self.job_id}/{self.number}"

    def is_claimable(self, now: datetime) -> bool:
        """Whether it may be claimed."""
        return not self.parked and self.claimable_at is not None and self.claimable_at <= now

    @property
    def counts(self) -> ItemCounts:
        """Its items by state."""
        return count_states(self.states, cached=self.cached, running=len(self.intents))

    @property
    def totals(self) -> ShardTotals:
        """What it adds to its job."""
        return ShardTotals(self.number, self.counts, self.usage, self.late, self.granted or 0)


@dataclass(frozen=True, slots=True)
class Commit:
    """What a worker makes durable in one step.

    Attributes:
        epoch: The epoch under which the work was done.
        number: `Shard.commits` once this is done; recognises a repeat of a commit whose answer was lost.
        outcomes: Items that finished, by index.
        result_chunks: Ids of the documents that hold those outcomes.
        intents: Worst-case cost, by item index, of model calls about to be made.
        settled_intents: Indexes of items whose earlier announced calls are accounted for.
        uncertain: What calls of unknown fate may have cost.
        lease_until: How long the lease lasts from here.
        draw: How much more the shard would like to be given of its budgets; None: it asks for nothing.
    """

    epoch: int
    number: int
    lease_until: datetime
    outcomes: Mapping[int, Outcome] = field(default_factory=dict)
    result_chunks: Sequence[str] = ()
    intents: Mapping[int, int] = field(default_factory=dict)
    settled_intents: frozenset[int] = frozenset()
    uncertain: Usage = field(default_factory=Usage)
    draw: int | None = None


def new_shard(
    *, job_id: str, tenant: str, number: int, priority: Priority, sources: Sequence[ItemSource], now: datetime
) -> Shard:
    """Lay out a shard of a job that is being started."""
    size = sum(len(source.positions) for source in sources)
    return Shard(
        job_id=job_id,
        tenant=tenant,
        number=number,
        priority=priority,
        sources=tuple(sources),
        states=bytes([ItemState.PENDING]) * size,
        claimable_at=now,
    )


def claimed(shard: Shard, *, owner: str, now: datetime, lease: timedelta) -> Shard:
    """Return the shard with its lease taken, under a new epoch.

    Raises:
        ServiceError: ABORTED if someone else holds it or nothing is left to do.
    """
    if not shard.is_claimable(now):
        raise aborted("SHARD_NOT_CLAIMABLE", f"shard {shard.holder} is held by another worker or finished")
    return replace(
        shard,
        owner=owner,
        epoch=shard.epoch + 1,
        claimable_at=now + lease,
        phase=ShardPhase.BEGUN,
        crashes=_crashes(shard),
        inherited=tuple(shard.intents),
    )


def _crashes(shard: Shard) -> Mapping[int, int]:
    """Count the items whose calls were out when the worker was lost; one that went away hands back."""
    out = shard.intents.keys() - set(shard.inherited)
    if not shard.owner or not out:
        return shard.crashes
    return {**shard.crashes, **{index: shard.crashes.get(index, 0) + 1 for index in out}}


def postponed(shard: Shard, until: datetime) -> Shard:
    """Return a shard that cannot be worked on yet, out of the way of others until a time."""
    return replace(shard, claimable_at=until)


def is_applied(shard: Shard, commit: Commit) -> bool:
    """Whether a commit whose answer was lost has happened."""
    return shard.epoch == commit.epoch and shard.commits >= commit.number


def committed(shard: Shard, commit: Commit) -> Shard:
    """Return the shard with a commit applied; of the calls it announces, those that its budget can bear.

    Raises:
        ServiceError: ABORTED, reason LEASE_LOST, if the epoch is not the present one.
    """
    if shard.epoch != commit.epoch or shard.claimable_at is None:
        raise aborted(LEASE_LOST, f"shard {shard.holder} was taken over by another worker")
    states = bytearray(shard.states)
    cached = shard.cached
    for index, outcome in commit.outcomes.items():
        states[index] = outcome.state
        cached += outcome.piece is not None and outcome.piece.cached
    finished = all(state >= ItemState.SUCCEEDED for state in states)
    shard = _accounted(shard, commit)
    return replace(
        shard,
        states=bytes(states),
        cached=cached,
        commits=commit.number,
        result_chunks=(*shard.result_chunks, *commit.result_chunks),
        intents={**shard.intents, **_borne(shard, commit.intents)},
        inherited=tuple(
            each for each in shard.inherited if each in shard.intents and each not in commit.intents
        ),
        phase=ShardPhase.FINISHED if finished else ShardPhase.BEGUN,
        claimable_at=None if finished else commit.lease_until,
        late=shard.late or any(map(_is_late, commit.outcomes.values())),
        unreported=True,
    )


def _is_late(outcome: Outcome) -> bool:
    return outcome.error is not None and outcome.error.reason == DEADLINE_EXCEEDED.reason


def _accounted(shard: Shard, commit: Commit) -> Shard:
    """Return the shard with what a commit knows of earlier calls, before those that it announces."""
    accounted = commit.settled_intents | commit.outcomes.keys()
    return replace(
        shard,
        intents={index: worst for index, worst in shard.intents.items() if index not in accounted},
        usage=shard.usage + total_usage(commit.outcomes.values()) + commit.uncertain,
    )


def _borne(shard: Shard, intents: Mapping[int, int]) -> Mapping[int, int]:
    """Return those of the calls announced, in their order, that fit into what the shard was given."""
    if shard.granted is None:
        return intents
    left = shard.granted - shard.spent - shard.reserved
    borne: dict[int, int] = {}
    for index, worst in intents.items():
        if worst <= max(0, left):
            borne[index] = worst
            left -= worst
    return borne


def slack(shard: Shard, commit: Commit) -> int:
    """Return what is left of what a shard was given once a commit is made; below 0: what it lacks."""
    after = _accounted(shard, commit)
    has = shard.spent + shard.reserved if shard.granted is None else shard.granted
    return has - after.spent - after.reserved - sum(commit.intents.values())


def given(shard: Shard, amount: int, *, by_tenant: bool) -> Shard:
    """Return the shard with more to spend.

    Args:
        shard: The shard; what it spent before any budget held it is part of what it was given.
        amount: How much more.
        by_tenant: Whether its tenant's budget bears it too.
    """
    base = shard.tenant_base
    if by_tenant and base is None:
        base = shard.spent
    before = shard.spent + shard.reserved if shard.granted is None else shard.granted
    return replace(shard, granted=before + amount, tenant_base=base)


def trimmed(shard: Shard) -> Shard:
    """Return the shard with no more to spend than it has spent and its calls that are out may cost."""
    used = shard.spent + shard.reserved
    return shard if shard.granted is None or shard.granted <= used else replace(shard, granted=used)


def handed_back(shard: Shard, *, epoch: int, now: datetime) -> Shard:
    """Return the shard free to be claimed at once; as it is when the epoch is not the present one."""
    if shard.epoch != epoch or shard.claimable_at is None:
        return shard
    return replace(shard, owner="", claimable_at=now)


def arranged(shard: Shard, job: Job, now: datetime) -> Shard:
    """Return an unfinished shard as its job wants it: as urgent, parked while it is paused, else in line.

    One that a worker holds is not parked: the worker finishes its calls and hands it back.
    """
    if shard.claimable_at is None:
        return shard
    shard = replace(shard, priority=job.priority)
    if job.state is not JobState.PAUSED:
        return replace(shard, parked=False, claimable_at=now) if shard.parked else shard
    return replace(shard, parked=True) if shard.is_claimable(now) else shard


def renewed(shard: Shard, *, epoch: int, lease_until: datetime) -> Shard:
    """Return the shard with its lease extended.

    Raises:
        ServiceError: ABORTED, reason LEASE_LOST, if the epoch is not the present one.
    """
    if shard.epoch != epoch:
        raise aborted(LEASE_LOST, f"shard {shard.holder} was taken over by another worker")
    return shard if shard.claimable_at is None else replace(shard, claimable_at=lease_until)


def settled(shard: Shard, *, reported: bool) -> Shard:
    """Return the finished shard with its totals part of its job's.

    Args:
        shard: A finished shard.
        reported: Whether the tracker has acknowledged its last commit.
    """
    return replace(shard, phase=ShardPhase.SETTLED, unreported=shard.unreported and not reported)
