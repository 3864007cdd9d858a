"""The cap holds: whatever shards spend, whoever dies, and whoever takes over, nothing goes beyond it."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from parallel_processor.jobs.item import ItemState
from parallel_processor.jobs.job import Job, JobState, is_settled, settle
from parallel_processor.jobs.piece import Usage
from parallel_processor.jobs.retrying import lost_items, retried
from parallel_processor.jobs.shard import Commit, Shard, claimed, committed
from parallel_processor.jobs.terms import Terms
from parallel_processor.spending import drawing
from parallel_processor.spending.account import Account, slice_of
from parallel_processor.spending.drawing import Books
from parallel_processor.spending.tenant_budget import Spending, TenantBudget, given_back, held, reckoned

from tests.unit.processor.samples import LEASE, NOW, job, outcome, shard

SHARDS, ITEMS = 3, 4
LATER = NOW + 10 * LEASE


def running_job(cap: int | None) -> Job:
    """Return a started job of a few shards."""
    return replace(
        job(SHARDS * ITEMS),
        state=JobState.RUNNING,
        shard_count=SHARDS,
        settled=b"\0",
        terms=Terms(max_cost_micros=cap),
    )


def commit(of: Shard, **fields: object) -> Commit:
    """Return the shard's next commit."""
    known = {"epoch": of.epoch, "number": of.commits + 1, "lease_until": LATER}
    return Commit(**{**known, **fields})  # type: ignore[arg-type]  # a commit's fields, by name


class Caps(RuleBasedStateMachine):
    """Shards of one job call, settle, run again, time out, die, are squeezed; the endpoint keeps the bill."""

    def __init__(self) -> None:
        super().__init__()
        self.cap, self.tenant_cap = 300, 260
        self.books = Books(running_job(self.cap), TenantBudget("acme", NOW, cap=self.tenant_cap))
        self.shards = [
            claimed(shard(ITEMS, number=number), owner="w", now=NOW, lease=LEASE) for number in range(SHARDS)
        ]
        self.billed = 0  # by the endpoint, whatever the workers know of it
        self.lost: set[tuple[int, int]] = set()  # calls whose worker has died

    number = st.integers(0, SHARDS - 1)
    index = st.integers(0, ITEMS - 1)

    def _free(self, number: int, index: int) -> bool:
        now = self.shards[number]
        return (
            index not in now.intents
            and now.states[index] < ItemState.SUCCEEDED
            and now.claimable_at is not None
        )

    @rule(number=number, index=index, worst=st.integers(0, 60), wish=st.integers(0, 300), asks=st.booleans())
    def call(self, number: int, index: int, worst: int, wish: int, asks: bool) -> None:  # noqa: FBT001 - drawn by name
        """Announce a call; one that is borne is made, and billed at anything up to its worst."""
        if not self._free(number, index):
            return
        before = self.shards[number]
        if before.granted is None:
            asks = True  # a worker asks before it spends the first time
        wanted = commit(before, intents={index: worst}, draw=wish if asks else None)
        if asks:
            self.books, before = drawing.drawn(self.books, before, wanted)
        self.shards[number] = committed(before, wanted)

    @rule(number=number, index=index, share=st.floats(0, 1))
    def answer(self, number: int, index: int, share: float) -> None:
        """A call comes back and costs what it costs."""
        now = self.shards[number]
        if index in now.intents and (number, index) not in self.lost:
            cost = int(now.intents[index] * share)
            self.billed += cost
            made = replace(outcome(str(index)), usage=Usage(1, 1, 1, cost))
            self.shards[number] = committed(now, commit(now, outcomes={index: made}))

    @rule(number=number, index=index, share=st.floats(0, 1))
    def time_out(self, number: int, index: int, share: float) -> None:
        """A call's fate stays unknown; the endpoint bills what it likes up to the worst."""
        now = self.shards[number]
        if index in now.intents:
            worst = now.intents[index]
            self.billed += int(worst * share)
            self.lost.discard((number, index))
            uncertain = Usage(uncertain_calls=1, uncertain_spend_micros=worst)
            after = commit(now, settled_intents=frozenset({index}), uncertain=uncertain)
            self.shards[number] = committed(now, after)

    @rule(number=number)
    def die(self, number: int) -> None:
        """A worker dies; the next one takes the shard over and knows of no call's fate."""
        now = self.shards[number]
        if now.claimable_at is not None:
            self.lost |= {(number, index) for index in now.intents}
            later = max(now.claimable_at, LATER)
            self.shards[number] = claimed(now, owner="x", now=later, lease=LEASE)

    @rule(number=number)
    def finish(self, number: int) -> None:
        """What is left of a shard ends without a call; calls that are out come back at their worst."""
        now = self.shards[number]
        if now.claimable_at is None:
            return
        self.billed += sum(worst for index, worst in now.intents.items() if (number, index) not in self.lost)
        uncertain = Usage(uncertain_spend_micros=now.reserved)
        left = [index for index in range(ITEMS) if now.states[index] < ItemState.SUCCEEDED]
        ends = {index: outcome(str(index), ItemState.FAILED) for index in left}
        self.lost -= {each for each in self.lost if each[0] == number}
        self.shards[number] = committed(now, commit(now, outcomes=ends, uncertain=uncertain))

    @rule()
    def squeeze(self) -> None:
        """Someone needs what others do not use."""
        self.books, self.shards = drawing.squeezed(self.books, self.shards)

    @precondition(lambda self: any(each.claimable_at is None for each in self.shards))
    @rule()
    def settle(self) -> None:
        """Finished shards become part of the job; again: nothing."""
        done = [each for each in self.shards if each.claimable_at is None]
        closed = drawing.settled(self.books, done)
        after = settle(self.books.job, [each.totals for each in done], NOW)
        self.books = replace(closed, job=after)

    @precondition(lambda self: any(each.claimable_at is None and lost_items(each) for each in self.shards))
    @rule(number=number)
    def retry(self, number: int) -> None:
        """What a shard has lost runs again, settled or not: what it has spent stays spent, once."""
        over = self.shards[number]
        if over.claimable_at is not None or not lost_items(over):
            return
        job_now, (opened,) = retried(self.books.job, [over], NOW, round_=self.books.job.retries + 1)
        self.books = replace(self.books, job=job_now)
        self.shards[number] = claimed(opened, owner="w", now=NOW, lease=LEASE)

    @rule(cap=st.integers(0, 400))
    def another_cap(self, cap: int) -> None:
        """The owner changes his mind; what is out already cannot be called back."""
        self.books = replace(self.books, job=replace(self.books.job, terms=Terms(max_cost_micros=cap)))
        granted = drawing.job_account(self.books.job)
        self.cap = max(cap, granted.settled + granted.granted)

    @invariant()
    def the_caps_hold(self) -> None:
        """What is billed, with what calls that are out may still cost, is within both caps."""
        out = sum(each.reserved for each in self.shards)
        assert self.billed + out <= min(self.cap, self.tenant_cap)

    @invariant()
    def nothing_set_aside_is_forgotten(self) -> None:
        """What is granted in the books is what the open shards were given."""
        books, settled = self.books, self.books.job.settled
        open_ = [each for each in self.shards if not settled[0] >> each.number & 1]
        assert sum(each.granted or 0 for each in open_) == books.job.granted
        assert books.tenant is not None
        booked = sum(each.tenant_base or 0 for each in open_)  # before they were retried
        assert sum(each.granted or 0 for each in open_) - booked == books.tenant.granted
        settled_by_tenant = books.tenant.spent + books.tenant.uncertain
        assert settled_by_tenant == drawing.job_account(books.job).settled + booked

    @invariant()
    def what_is_spent_is_known(self) -> None:
        """The job and its open shards have spent, and may yet spend, at least what is billed."""
        open_ = [each for each in self.shards if not is_settled(self.books.job, each.number)]
        known = drawing.job_account(self.books.job).settled + sum(
            each.spent + each.reserved for each in open_
        )
        assert self.billed <= known


Caps.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestCaps = Caps.TestCase


def test_a_slice_is_what_is_needed_and_a_share_of_what_is_left() -> None:
    """Far from the cap a slice is as large as wished, near it no larger than needed, and never beyond it."""
    assert slice_of([Account("job", 16_000)], need=10, wish=500) == 500
    assert slice_of([Account("job", 16_000)], need=10, wish=5_000) == 1_000
    assert slice_of([Account("job", 16_000, settled=15_900)], need=10, wish=5_000) == 10
    assert slice_of([Account("job", 16_000, 15_000, 996)], need=10, wish=50) == 4
    assert slice_of([Account("job", 100, 90, 20)], need=10, wish=50) == 0
    assert slice_of([Account("job", None)], need=10, wish=50) == 50


def test_a_shard_that_spent_before_its_tenant_had_a_budget_owes_it_only_what_came_after() -> None:
    """What was spent before the budget began to bear the shard is part of the job's bill alone."""
    old = claimed(shard(2), owner="w", now=NOW, lease=LEASE)
    old = replace(old, usage=Usage(cost_micros=40))
    books = Books(running_job(None), TenantBudget("acme", NOW, cap=100))
    wanted = commit(old, intents={0: 30}, draw=0)
    books, now = drawing.drawn(books, old, wanted)
    now = committed(now, wanted)
    assert dict(now.intents) == {0: 30}
    assert books.tenant is not None
    assert (books.tenant.granted, books.job.granted) == (30, 70)
    now = replace(now, intents={}, usage=Usage(cost_micros=65), states=b"\3\3", claimable_at=None)
    closed = drawing.settled(books, [now])
    assert closed.tenant is not None
    assert (closed.tenant.granted, closed.tenant.spent) == (0, 25)


def test_no_budget_no_books() -> None:
    """Without cap and budget a shard is given nothing, and its commits are borne as they come."""
    free = claimed(shard(2), owner="w", now=NOW, lease=LEASE)
    books = Books(running_job(None), None)
    wanted = commit(free, intents={0: 10**12}, draw=0)
    after_books, after = drawing.drawn(books, free, wanted)
    assert (after_books, after) == (books, free)
    assert dict(committed(after, wanted).intents) == {0: 10**12}


def test_a_hold_of_a_dead_process_counts_as_spent() -> None:
    """Once its time is over, all of it is uncertain spend; what its process says later counts for nothing."""
    budget, has = held(
        TenantBudget("acme", NOW, cap=100), "p", spent=Spending(), need=10, wish=0, until=NOW + LEASE, now=NOW
    )
    assert (has, budget.account.left) == (10, 90)
    after = reckoned(budget, NOW + LEASE)
    assert (after.uncertain, after.holds, after.account.left) == (10, (), 90)
    late = given_back(after, "p", spent=Spending(4), now=NOW + LEASE)
    assert (late.spent, late.uncertain) == (0, 10)


def test_a_hold_is_settled_at_what_was_spent_of_it() -> None:
    """A process that goes on or stops accounts for what it spent; the rest stays held, or is free."""
    start = TenantBudget("acme", NOW, cap=100)
    budget, _ = held(start, "p", spent=Spending(), need=40, wish=0, until=NOW + LEASE, now=NOW)
    budget, has = held(budget, "p", spent=Spending(25, 5), need=20, wish=0, until=NOW + LEASE, now=NOW)
    assert (budget.spent, budget.uncertain, has) == (25, 5, 30)
    refused, still = held(budget, "p", spent=Spending(), need=41, wish=0, until=NOW + LEASE, now=NOW)
    assert (still, refused.account.left) == (30, 40)
    done = given_back(refused, "p", spent=Spending(10), now=NOW)
    assert (done.spent, done.holds, done.account.left) == (35, (), 60)


def test_what_a_retried_shard_spends_is_settled_once_more() -> None:
    """Settled, retried, and settled again: both budgets have booked all of it once, and set nothing aside."""
    books = Books(running_job(100), TenantBudget("acme", NOW, cap=200))
    now = claimed(shard(2), owner="w", now=NOW, lease=LEASE)
    for cost, spent in ((30, 30), (25, 55), (40, 95)):
        wanted = commit(now, intents={0: 40}, draw=0)
        books, now = drawing.drawn(books, now, wanted)
        now = committed(now, wanted)
        lost = replace(outcome("0", ItemState.FAILED), usage=Usage(1, 1, 1, cost))
        ends = {0: lost} if now.states[1] == ItemState.SUCCEEDED else {0: lost, 1: outcome("1")}
        ends = {
            index: replace(each, usage=lost.usage if index == 0 else Usage()) for index, each in ends.items()
        }
        now = committed(now, commit(now, outcomes=ends))
        closed = drawing.settled(books, [now])
        books = replace(closed, job=settle(books.job, [now.totals], NOW))
        assert books.tenant is not None
        assert (books.job.granted, books.tenant.granted) == (0, 0)
        assert books.tenant.spent == drawing.job_account(books.job).settled == spent
        after, (opened,) = retried(books.job, [now], NOW, round_=books.job.retries + 1)
        assert drawing.job_account(after).left == 100 - spent
        books = replace(books, job=after)
        now = claimed(opened, owner="w", now=NOW, lease=LEASE)
    wanted = commit(now, intents={0: 40}, draw=0)
    books, now = drawing.drawn(books, now, wanted)
    assert dict(committed(now, wanted).intents) == {}, "five are left"
