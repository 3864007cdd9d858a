"""The fair queue in simulated time: shares in tokens, classes, ageing, and nothing lost on the way."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from itertools import count
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parallel_processor.jobs.job import Priority
from parallel_processor.jobs.terms import Terms
from parallel_processor.queueing.fair_queue import FairQueue
from parallel_processor.queueing.flow import URGENT_LEAD
from parallel_processor.queueing.rank import AGING_S, Rank
from parallel_processor.queueing.tenant_flow import URGENT_IN_A_ROW, Turn

from tests.unit.processor.samples import NOW, job

START = NOW.timestamp()


def rank(
    tenant: str = "acme", job_id: str = "", priority: Priority = Priority.NORMAL, *, weight: int = 100
) -> Rank:
    """Return the rank of a job; without an id it is the tenant's only one."""
    return Rank(priority, START, tenant, job_id or f"{tenant}'s", weight)


@dataclass
class Lane:
    """Slots in simulated time: each call takes a second, and tokens that only its end tells.

    Attributes:
        served: Tokens by tenant and job.
        first: When each job's first call began.
    """

    queue: FairQueue
    slots: int
    rng: Random = field(default_factory=lambda: Random(1))
    served: Counter[tuple[str, str]] = field(default_factory=Counter)
    first: dict[str, float] = field(default_factory=dict)
    now: float = START
    _sizes: dict[Turn, int] = field(default_factory=dict)
    _calls: list[tuple[float, int, Turn]] = field(default_factory=list)
    _order: Callable[[], int] = field(default_factory=lambda: count().__next__)

    def add(self, where: Rank, items: int, size: Callable[[], int], *, bound: int) -> None:
        """Let items wait that may take so many tokens and do take what `size` says."""
        for _ in range(items):
            self._sizes[self.queue.join(where, bound, now=self.now)] = size()

    def run(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        while True:
            while len(self._calls) < self.slots and (turn := self.queue.next(now=self.now)):
                self.first.setdefault(turn.job.name, self.now)
                ends_at = self.now + self.rng.uniform(0.5, 1.5)
                heapq.heappush(self._calls, (ends_at, self._order(), turn))
            if not self._calls or self._calls[0][0] > until:
                self.now = until
                return
            self.now, _, turn = heapq.heappop(self._calls)
            tokens = self._sizes.pop(turn)
            self.served[turn.tenant.name, turn.job.name] += tokens
            self.queue.over(turn, tokens, now=self.now)

    def by_tenant(self) -> Counter[str]:
        """Return the tokens served, by tenant."""
        tokens: Counter[str] = Counter()
        for (tenant, _), number in self.served.items():
            tokens[tenant] += number
        return tokens


def jain(shares: list[float]) -> float:
    """Return Jain's index of fairness."""
    return sum(shares) ** 2 / (len(shares) * sum(each * each for each in shares))


@pytest.mark.parametrize(("many_size", "few_size"), [(30, 1_500), (1_500, 30)])
def test_a_hundred_times_the_backlog_and_fifty_times_the_size_bring_no_more(
    many_size: int, few_size: int
) -> None:
    """Two tenants with a backlog are served alike in tokens, whoever has the larger items."""
    lane = Lane(FairQueue(), slots=32)
    few = 40 * 32 * 2
    lane.add(rank("many"), few * 20, lambda: many_size, bound=4_000)
    lane.add(rank("few"), few, lambda: few_size, bound=4_000)
    lane.run(40)
    assert lane.queue.loads("few")[1] > 0
    served = lane.by_tenant()
    assert max(served.values()) / min(served.values()) <= 1.1


def test_ten_tenants_of_mixed_weights_get_their_weights() -> None:
    """Jain's index of tokens per weight is near 1, with items of mixed and badly foretold sizes."""
    weights = {f"tenant-{number}": 1.0 + number % 5 for number in range(10)}
    lane = Lane(FairQueue(weights), slots=32)
    for number, name in enumerate(weights):
        size = 50 * (1 + number % 4)
        lane.add(rank(name), 2_000, partial(lane.rng.randrange, 1, 2 * size), bound=4_000)
    lane.run(60)
    served = lane.by_tenant()
    assert jain([served[name] / weight for name, weight in weights.items()]) >= 0.98


def test_jobs_of_one_tenant_share_by_weight_and_not_with_other_tenants() -> None:
    """A tenant with nine jobs gets what a tenant with one gets; its jobs share that by their weights."""
    lane = Lane(FairQueue(), slots=16)
    for number in range(9):
        lane.add(rank("nine", f"j{number}", weight=100 * (1 + number % 3)), 2_000, lambda: 100, bound=100)
    lane.add(rank("one"), 2_000, lambda: 100, bound=100)
    lane.run(100)
    served = lane.by_tenant()
    assert served["nine"] == pytest.approx(served["one"], rel=0.05)
    assert lane.served["nine", "j2"] == pytest.approx(3 * lane.served["nine", "j0"], rel=0.1)


FLOWS = st.lists(
    st.tuples(st.sampled_from([0.5, 1.0, 2.0, 5.0]), st.integers(1, 500)), min_size=2, max_size=6
)


@settings(max_examples=60, deadline=None)
@given(flows=FLOWS, slots=st.integers(1, 8), seed=st.integers(0, 2**16))
def test_shares_stay_near_those_of_a_fluid(flows: list[tuple[float, int]], slots: int, seed: int) -> None:
    """What each got per weight differs from a fluid's share by no more than the calls that are out.

    That is the bound of start-time fair queueing with several served at a time, (slots + 1) * (largest item
    per weight), for any two, here with items that turn out smaller than foretold.
    """
    weights = {f"t{number}": weight for number, (weight, _) in enumerate(flows)}
    lane = Lane(FairQueue(weights), slots=slots, rng=Random(seed))
    for name, (_, size) in zip(weights, flows, strict=True):
        lane.add(rank(name), 400, partial(lane.rng.randint, 1, size), bound=size)
    lane.run(400 / slots / len(flows) / 4)
    served = lane.by_tenant()
    largest = {name: size / weights[name] for name, (_, size) in zip(weights, flows, strict=True)}
    backlogged = [name for name in weights if lane.queue.loads(name)[1] > 0]
    for one in backlogged:
        for other in backlogged:
            apart = served[one] / weights[one] - served[other] / weights[other]
            assert abs(apart) <= (slots + 1) * (largest[one] + largest[other])


def test_a_newcomer_has_no_credit_for_the_past_and_no_debt() -> None:
    """After an hour in which one was served alone, the other gets from then on the half, and not more."""
    lane = Lane(FairQueue(), slots=8)
    lane.add(rank("old"), 40_000, lambda: 100, bound=100)
    lane.run(3_600)
    before = lane.by_tenant()["old"]
    lane.add(rank("new"), 4_000, lambda: 100, bound=100)
    lane.run(200)
    served = lane.by_tenant()
    assert served["new"] == pytest.approx(served["old"] - before, rel=0.05)


def test_whoever_comes_back_has_no_credit_for_the_time_away() -> None:
    """Having been away for a while, and served little before, counts for nothing."""
    lane = Lane(FairQueue(), slots=8)
    lane.add(rank("steady"), 20_000, lambda: 100, bound=100)
    lane.add(rank("guest"), 10, lambda: 100, bound=100)
    lane.run(1_000)
    before = lane.by_tenant()
    lane.add(rank("guest"), 4_000, lambda: 100, bound=100)
    lane.run(200)
    gained = lane.by_tenant() - before
    assert gained["guest"] == pytest.approx(gained["steady"], rel=0.05)


def test_a_gap_between_two_shards_costs_no_share() -> None:
    """While a tenant's next items are on their way another is served; within a second that is made up for."""
    for gap_s, made_up in ((0.5, True), (2.0, False)):
        queue = FairQueue()
        for _ in range(300):
            queue.join(rank("steady"), 10, now=START)
        for _ in range(20):
            queue.join(rank("gap"), 10, now=START)
        assert order_of(queue, 40).count("gap's") == 20
        assert order_of(queue, 30) == ["steady's"] * 30
        for _ in range(100):
            queue.join(rank("gap"), 10, now=START + gap_s)
        share = order_of(queue, 30, now=START + gap_s).count("gap's")
        assert (share >= 29) is made_up


def test_what_was_charged_too_much_is_no_credit_from_before_it_came_back() -> None:
    """A charge that is given back after a time away does not let it go ahead for what it never took."""
    queue = FairQueue()
    large = queue.join(rank("guest"), 2_000, now=START)
    for _ in range(100):
        queue.join(rank("steady"), 20, now=START)
    assert queue.next(now=START) is large
    assert order_of(queue, 50) == ["steady's"] * 50
    for _ in range(100):
        queue.join(rank("guest"), 20, now=START + 2)
    queue.over(large, 0, now=START + 2)
    assert order_of(queue, 20, now=START + 2).count("guest's") == pytest.approx(10, abs=2)


def test_what_has_risen_shares_and_does_not_catch_up() -> None:
    """A job that rises into a class that was served for long has a share of it from then on, and not all."""
    queue = FairQueue()
    for _ in range(200):
        queue.join(rank("acme", "low", Priority.LOW), 10, now=START)
    at = START + 2 * AGING_S + 1
    for _ in range(400):
        queue.join(rank("acme", "high", Priority.HIGH), 10, now=at - 1)
    assert set(order_of(queue, 200, now=START)) == {"high"}
    assert order_of(queue, 40, now=at).count("low") == pytest.approx(20, abs=2)


def test_what_is_running_counts() -> None:
    """With long calls out of one tenant, the next slots are the other's."""
    queue = FairQueue()
    for _ in range(8):
        queue.join(rank("big"), 1_000, now=START)
    begun = [queue.next(now=START) for _ in range(4)]
    for _ in range(8):
        queue.join(rank("small"), 10, now=START)
    following = [queue.next(now=START) for _ in range(5)]
    assert [each.tenant.name for each in begun if each] == ["big"] * 4
    assert [each.tenant.name for each in following if each].count("small") == 5


def order_of(queue: FairQueue, turns: int, *, now: float = START) -> list[str]:
    """Return the jobs of the next turns, each ended at once."""
    jobs: list[str] = []
    for _ in range(turns):
        turn = queue.next(now=now)
        assert turn is not None
        jobs.append(turn.job.name)
        queue.over(turn, turn.bound, now=now)
    return jobs


def test_priority_orders_a_tenants_own_jobs_and_takes_nothing_from_others() -> None:
    """HIGH goes before NORMAL before LOW within the tenant; the other tenant's turns stay its own."""
    queue = FairQueue()
    for name, priority in (("low", Priority.LOW), ("normal", Priority.NORMAL), ("high", Priority.HIGH)):
        for _ in range(3):
            queue.join(rank("acme", name, priority), 10, now=START)
    for _ in range(9):
        queue.join(rank("other", "theirs", Priority.LOW), 10, now=START)
    order = order_of(queue, 18)
    assert [each for each in order if each != "theirs"] == ["high"] * 3 + ["normal"] * 3 + ["low"] * 3
    assert order[:12].count("theirs") == 6


def test_urgent_work_goes_before_all_tenants_until_its_tenant_is_far_beyond_its_share() -> None:
    """It goes first for so many tokens; then its tenant waits for its turns like any other."""
    queue, size = FairQueue(), 10_000
    for _ in range(100):
        queue.join(rank("calm"), size, now=START)
        queue.join(rank("acme", "now", Priority.URGENT), size, now=START)
    order = order_of(queue, 60)
    at_once = next(at for at, name in enumerate(order) if name != "now")
    assert at_once == pytest.approx(URGENT_LEAD / size, abs=2)
    assert order[30:].count("now") == pytest.approx(15, abs=2)


@pytest.mark.parametrize("priority", [Priority.LOW, Priority.NORMAL])
def test_no_priority_starves_under_a_flood_of_high(priority: Priority) -> None:
    """An item that has waited for (HIGH - its priority) * AGING_S shares with HIGH."""
    lane = Lane(FairQueue(), slots=4)
    lane.add(rank("acme", "humble", priority), 1, lambda: 10, bound=10)
    for _ in range(60):
        lane.add(rank("acme", "high", Priority.HIGH), 100, lambda: 10, bound=10)
        lane.run(20)
    bound_s = (Priority.HIGH - priority) * AGING_S
    assert bound_s <= lane.first["humble"] - START <= bound_s + 5


def test_urgent_floods_leave_every_sixteenth_turn() -> None:
    """A tenant's work that is not urgent goes on however much urgent work it has."""
    queue = FairQueue()
    for _ in range(200):
        queue.join(rank("acme", "now", Priority.URGENT), 10, now=START)
        queue.join(rank("acme", "later", Priority.LOW), 10, now=START)
    order = order_of(queue, 5 * (URGENT_IN_A_ROW + 1))
    assert order.count("later") == 5
    assert order[URGENT_IN_A_ROW] == "later"


def test_waiting_never_makes_anything_urgent() -> None:
    """Work that is as old as the hills does not delay work for which somebody waits."""
    queue = FairQueue()
    for number in range(100):
        queue.join(rank("acme", f"old-{number}"), 10, now=START - 100 * AGING_S)
    order_of(queue, 1)
    queue.join(rank("acme", "now", Priority.URGENT), 10, now=START)
    assert order_of(queue, 1) == ["now"]


def test_a_job_near_its_deadline_rises() -> None:
    """In the last fifth of its time it goes before the tenant's other jobs of its priority, not earlier."""
    due = job(job_id="due", start_time=NOW, terms=Terms(deadline=NOW + timedelta(seconds=100)))
    first = replace(due, job_id="first", terms=Terms())
    for at, expected in ((79.0, "first"), (81.0, "due")):
        queue = FairQueue()
        queue.join(Rank.of_job(first), 10, now=START)
        queue.join(Rank.of_job(due), 10, now=START)  # of two that are equal, who came first
        assert order_of(queue, 1, now=START + at) == [expected]


def test_a_changed_job_stands_elsewhere_at_once_also_what_comes_later_under_its_old_terms() -> None:
    """Raising a job moves what waits; an item that still has the old terms does not take that back."""
    queue = FairQueue()
    for name in ("one", "two"):
        for _ in range(3):
            queue.join(rank("acme", name), 10, now=START)
    queue.change(rank("acme", "two", Priority.URGENT), now=START)
    queue.join(rank("acme", "two"), 10, now=START)
    assert queue.waiting_by_priority() == {Priority.NORMAL: 3, Priority.URGENT: 4}
    assert order_of(queue, 7) == ["two"] * 4 + ["one"] * 3


def test_positions_say_in_which_order_jobs_have_their_next_turn() -> None:
    """Urgent work first, then tenants in turn, each with its most urgent job."""
    queue = FairQueue()
    for tenant, name, priority in (
        ("acme", "low", Priority.LOW),
        ("acme", "high", Priority.HIGH),
        ("other", "normal", Priority.NORMAL),
        ("third", "now", Priority.URGENT),
    ):
        queue.join(rank(tenant, name, priority), 10, now=START)
    positions = queue.positions()
    assert order_of(queue, 4) == sorted(
        (name for _, name in positions),
        key=lambda name: next(at for (_, job_id), at in positions.items() if job_id == name),
    )
    assert queue.positions() == {}


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["join", "join", "join", "leave", "next", "next", "over", "change", "wait"]),
        st.integers(0, 1_000),
    ),
    max_size=80,
)


@settings(max_examples=200, deadline=None)
@given(steps=STEPS)
def test_no_history_loses_or_repeats_a_turn(steps: list[tuple[str, int]]) -> None:
    """Each piece of work has one turn or leaves, in the order of its job, and the counts agree."""
    queue, now = FairQueue({"t0": 3.0}), START
    waiting: dict[str, list[Turn]] = defaultdict(list)
    active: list[Turn] = []
    for action, number in steps:
        where = rank(f"t{number % 3}", f"j{number % 5}", Priority(1 + number % 7 % 4))
        line = waiting[f"{where.tenant}/{where.job_id}"]
        if action == "join":
            line.append(queue.join(where, 1 + number, now=now))
        elif action == "leave" and line:
            queue.leave(line.pop(number % len(line)), now=now)
        elif action == "next":
            turn = queue.next(now=now)
            assert (turn is None) == (not any(waiting.values()))
            if turn is not None:
                assert waiting[f"{turn.tenant.name}/{turn.job.name}"].pop(0) is turn
                active.append(turn)
        elif action == "over" and active:
            queue.over(active.pop(number % len(active)), (None, 0, number)[number % 3], now=now)
        elif action == "change":
            queue.change(where, now=now)
        now += number if action == "wait" else 0.0
        _assert_counts(queue, waiting, active)


def _assert_counts(queue: FairQueue, waiting: Mapping[str, list[Turn]], active: list[Turn]) -> None:
    assert queue.waiting == sum(map(len, waiting.values())) == queue.waiting_by_priority().total()
    for number in range(3):
        tenant = f"t{number}"
        waits = sum(len(line) for name, line in waiting.items() if name.startswith(f"{tenant}/"))
        assert queue.loads(tenant) == (sum(each.tenant.name == tenant for each in active), waits)


def test_ten_thousand_jobs_that_come_and_go_leave_nothing_behind() -> None:
    """Tenants and jobs that are done are forgotten, and each operation stays about as cheap."""
    queue = FairQueue()
    for number in range(10_000):
        queue.join(rank(f"t{number % 500}", f"j{number}"), 10, now=START)
        turn = queue.next(now=START)
        assert turn is not None
        queue.over(turn, 10, now=START)
    flows = sum(len(tenant.jobs) for tenant in queue._tenants.values())
    assert flows <= 3_000
    assert len(queue._order._heap) <= 1_000
