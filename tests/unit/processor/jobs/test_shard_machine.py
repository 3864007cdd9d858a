"""The shard's lease under random histories: no stale epoch commits, nothing counts twice or goes back."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule
from parallel_processor.jobs.item import ItemState
from parallel_processor.jobs.piece import Usage
from parallel_processor.jobs.shard import (
    LEASE_LOST,
    Commit,
    Shard,
    ShardPhase,
    claimed,
    committed,
    handed_back,
    is_applied,
    renewed,
    settled,
)
from service_common.errors import ServiceError

from tests.unit.processor.samples import LEASE, NOW, outcome, shard

SIZE = 6
WORST = 100
ENDS = (ItemState.SUCCEEDED, ItemState.FAILED, ItemState.SKIPPED, ItemState.CANCELLED)
PHASES = list(ShardPhase)


@dataclass
class Worker:
    """What a worker believes: the shard as it last saw it."""

    seen: Shard
    sent: list[Commit] = field(default_factory=list)


class ShardMachine(RuleBasedStateMachine):
    """Workers claim, commit, repeat, renew and hand back one shard; the model is what was accepted."""

    workers = Bundle("workers")

    def __init__(self) -> None:
        super().__init__()
        self.shard = shard(SIZE)
        self.now = NOW
        self.accepted: dict[int, ItemState] = {}
        self.commits = 0
        self.intents: dict[int, int] = {}
        self.spent = 0
        self.phase = 0

    def try_to(self, change: object) -> bool:
        """Apply a transition; says whether it was accepted."""
        try:
            self.shard = change()  # type: ignore[operator]  # a transition with its arguments bound
        except ServiceError as error:
            if error.reason not in {LEASE_LOST, "SHARD_NOT_CLAIMABLE"}:
                raise
            return False
        return True

    @rule(target=workers)
    def claim(self) -> Worker:
        """Claim it, if it is free."""
        free = self.shard.claimable_at is not None and self.shard.claimable_at <= self.now
        epoch = self.shard.epoch
        assert free == self.try_to(lambda: claimed(self.shard, owner="w", now=self.now, lease=LEASE))
        assert self.shard.epoch == epoch + free
        return Worker(self.shard if free else shard(SIZE))

    @rule(seconds=st.sampled_from([1, 8, 20]))
    def wait(self, seconds: int) -> None:
        """Let time pass; a lease lasts fifteen seconds."""
        self.now += timedelta(seconds=seconds)

    @rule(
        worker=workers,
        ends=st.dictionaries(st.integers(0, SIZE - 1), st.sampled_from(ENDS), max_size=3),
        announce=st.sets(st.integers(0, SIZE - 1), max_size=2),
        account=st.sets(st.integers(0, SIZE - 1), max_size=2),
    )
    def commit(
        self, worker: Worker, ends: dict[int, ItemState], announce: set[int], account: set[int]
    ) -> None:
        """Commit what a worker believes it may; items that it knows to be finished it leaves alone."""
        believed = [ItemState(state) for state in worker.seen.states]
        ends = {index: state for index, state in ends.items() if not believed[index].terminal}
        announce = {index for index in announce if not believed[index].terminal and index not in ends}
        known = account & worker.seen.intents.keys()
        commit = Commit(
            epoch=worker.seen.epoch,
            number=worker.seen.commits + 1,
            lease_until=self.now + LEASE,
            outcomes={index: outcome(str(index), state) for index, state in ends.items()},
            result_chunks=(f"{worker.seen.epoch}.{worker.seen.commits + 1}",) if ends else (),
            intents=dict.fromkeys(announce, WORST),
            settled_intents=frozenset(known),
            uncertain=Usage(uncertain_calls=len(known), uncertain_spend_micros=WORST * len(known)),
        )
        self.send(worker, commit)

    def send(self, worker: Worker, commit: Commit) -> None:
        """Bring a commit to the store, as the repository does."""
        before = self.shard
        current = commit.epoch == self.shard.epoch and commit.epoch > 0
        if is_applied(self.shard, commit):
            worker.seen = self.shard
            return
        accepted = self.try_to(lambda: committed(self.shard, commit))
        assert accepted == (current and before.claimable_at is not None)
        if not accepted:
            assert self.shard is before
            return
        worker.seen = self.shard
        worker.sent.append(commit)
        self.commits += 1
        self.accepted |= {index: each.state for index, each in commit.outcomes.items()}
        self.spent += commit.uncertain.uncertain_spend_micros
        for index in commit.settled_intents | commit.outcomes.keys():
            self.intents.pop(index, None)
        self.intents |= commit.intents

    @rule(worker=workers)
    def repeat(self, worker: Worker) -> None:
        """Repeat an accepted commit whose answer was lost: nothing changes, or the lease is lost."""
        if not worker.sent:
            return
        before = self.shard
        commit = worker.sent[-1]
        if not is_applied(self.shard, commit):
            assert not self.try_to(lambda: committed(self.shard, commit))
        assert self.shard == before

    @rule(worker=workers)
    def renew(self, worker: Worker) -> None:
        """Renew the lease: only the present epoch may."""
        current = worker.seen.epoch == self.shard.epoch
        until = self.now + LEASE
        renew = lambda: renewed(self.shard, epoch=worker.seen.epoch, lease_until=until)  # noqa: E731 - one expression
        assert self.try_to(renew) == current

    @rule(worker=workers)
    def hand_back(self, worker: Worker) -> None:
        """Hand it back: a stale epoch changes nothing."""
        before = self.shard
        self.shard = handed_back(self.shard, epoch=worker.seen.epoch, now=self.now)
        if worker.seen.epoch != before.epoch:
            assert self.shard is before

    @rule(reported=st.booleans())
    def settle(self, reported: bool) -> None:  # noqa: FBT001 - drawn by name
        """Make it part of its job, when finished."""
        if self.shard.phase is ShardPhase.FINISHED:
            self.shard = settled(self.shard, reported=reported)

    @invariant()
    def states_are_what_was_accepted(self) -> None:
        """Item states are exactly those of accepted commits, which also means that none goes back."""
        states = {index: ItemState(state) for index, state in enumerate(self.shard.states)}
        assert {index: each for index, each in states.items() if each.terminal} == self.accepted

    @invariant()
    def phases_go_forward(self) -> None:
        """A phase is never left for an earlier one, and nothing finished can be claimed."""
        phase = PHASES.index(self.shard.phase)
        assert phase >= self.phase
        self.phase = phase
        finished = len(self.accepted) == SIZE
        assert finished == (self.shard.claimable_at is None) == (phase >= PHASES.index(ShardPhase.FINISHED))

    @invariant()
    def intents_are_accounted_once(self) -> None:
        """Every announcement stands until it is accounted for, and every account is counted once."""
        assert dict(self.shard.intents) == self.intents
        assert self.shard.usage.uncertain_spend_micros == self.spent

    @invariant()
    def counts_add_up(self) -> None:
        """Commits and results are counted once, and items by state sum up to all."""
        assert self.shard.commits == self.commits
        assert len(set(self.shard.result_chunks)) == len(self.shard.result_chunks)
        succeeded = sum(state is ItemState.SUCCEEDED for state in self.accepted.values())
        counts = self.shard.counts
        assert (counts.succeeded, self.shard.usage.model_calls) == (succeeded, succeeded)
        assert counts.finished + counts.pending + counts.running == SIZE


TestShardMachine = ShardMachine.TestCase
TestShardMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
