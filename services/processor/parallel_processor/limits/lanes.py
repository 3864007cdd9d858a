"""The lanes to the models of one endpoint, under one ceiling over all of them.

Each lane's slots are as many as its limiter allows. Where all together would be more than the ceiling,
tenants share it in tokens, whatever models they ask for; of one tenant's lanes the emptiest goes first.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Self

from service_common.clock import Clock

from parallel_processor.jobs.job import Priority
from parallel_processor.limits.cause import Cause, Holding
from parallel_processor.limits.lane import Lane, LaneReading
from parallel_processor.queueing.accounts import Accounts
from parallel_processor.queueing.queue import QueueOfQueues
from parallel_processor.queueing.slots import OnTurn, Rank
from parallel_processor.queueing.tenant_flow import Turn

_SHORTEST_WAKE_S = 0.005

_MANY = 200
"""Lanes beyond which those that stand idle are forgotten: callers name the models."""


def _unseen(_model: str) -> None:
    return


class Hold:
    """Holds a turn of a lane for as long as its context lasts.

    Attributes:
        used: Tokens the call took; None, for one whose tokens are not known, counts as was expected.
    """

    __slots__ = ("_bound", "_lane", "_lanes", "_rank", "_since", "_turn", "begun", "used")

    def __init__(self, lanes: Lanes, lane: Lane, rank: Rank, bound: int) -> None:
        self._lanes = lanes
        self._lane = lane
        self._rank = rank
        self._bound = bound
        self.begun = False
        self.used: int | None = None

    async def __aenter__(self) -> Self:
        self._turn = await self._lanes.take(self._lane, self._rank, self._bound)
        self._since = self._lanes.monotonic()
        return self

    async def begin(self) -> None:
        """Begin the call that was prepared, as soon as the limit lets it."""
        self._lane.preparing.note(self._lanes.monotonic() - self._since)
        await self._lane.slots.begin()
        self.begun = True
        self._since = self._lanes.monotonic()

    async def __aexit__(self, *_: object) -> None:
        if self.begun:
            self._lane.calling.note(self._lanes.monotonic() - self._since)
        self._lanes.give_back(self._lane, self._turn, used=self.used, begun=self.begun)


class Lanes:
    """Slots by model.

    Its mutable state: the lanes and those in use, tenants' accounts while these are several, the ceiling, and
    when each lane wakes by itself.

    Attributes:
        most: The most calls at a time over all lanes.
        ceiling: The same, as far as this machine bears it.
        monotonic: Tells the time.
        queue: Who waits, over all lanes, to be read.

    Args:
        most: The most calls at a time over all lanes.
        clock: Time.
        rng: Chance, for pauses.
        prepares: Whether calls are prepared ahead; not where they are announced ahead anyway.
        tenant_weights: The share of some tenants in each lane; that of all others is 1.
        on_turn: Is told of each call that gets a slot.
        on_lane: Is told of each model whose lane is opened.
    """

    def __init__(
        self,
        most: int,
        *,
        clock: Clock,
        rng: random.Random,
        prepares: bool = True,
        tenant_weights: Mapping[str, float] | None = None,
        on_turn: OnTurn | None = None,
        on_lane: Callable[[str], None] = _unseen,
    ) -> None:
        self.most = most
        self.ceiling = most
        self._clock = clock
        self.monotonic = clock.monotonic
        self._rng = rng
        self._prepares = prepares
        self._tenant_weights = tenant_weights or {}
        self._on_turn = on_turn
        self._on_lane = on_lane
        self._lanes: dict[str, Lane] = {}
        self._in_use: dict[Lane, None] = {}  # in the order in which they came
        self._accounts: Accounts | None = None
        self.queue = QueueOfQueues(lambda: [each.slots.queue for each in self._lanes.values()])
        self._wakes: dict[str, asyncio.TimerHandle] = {}
        self._pressed = Holding(Cause.MOST, clock.monotonic())

    def of(self, model: str) -> Lane:
        """Return the lane to a model."""
        lane = self._lanes.get(model)
        if lane is None:
            self._forget_idle()
            lane = Lane(
                model,
                most=self.most,
                clock=self._clock,
                rng=self._rng,
                tenant_weights=self._tenant_weights,
                on_turn=self._on_turn,
            )
            self._lanes[model] = lane
            self._on_lane(model)
            self._set(lane, active=0)
        return lane

    def find(self, model: str) -> LaneReading | None:
        """Return how the lane to a model stands; None when there is none."""
        lane = self._lanes.get(model)
        return None if lane is None else lane.read()

    @property
    def limit(self) -> int:
        """How many calls there may be at a time, over all lanes; at least 1, for what is to be prepared."""
        if not self._lanes:
            return self.ceiling
        return max(1, min(self.ceiling, sum(each.slots.limit for each in self._lanes.values())))

    @property
    def calling(self) -> int:
        """Calls under way, over all lanes."""
        return sum(each.slots.calling for each in self._in_use)

    @property
    def active(self) -> int:
        """Slots taken, over all lanes."""
        return sum(each.slots.active for each in self._in_use)

    @property
    def waiting(self) -> int:
        """Callers that wait for a slot, over all lanes."""
        return sum(each.waiting for each in self._in_use)

    def rerank(self, rank: Rank) -> None:
        """Let a job's callers that wait stand where its new priority, weight or deadline say."""
        for each in self._lanes.values():
            each.slots.rerank(rank)

    def forget(self, tenant: str, job_id: str) -> None:
        """Forget how a job was changed, once none of its items can come any more."""
        for each in self._lanes.values():
            each.slots.forget(tenant, job_id)

    def waiting_by_priority(self) -> Counter[Priority]:
        """Callers that wait for a slot, by priority."""
        return sum((each.slots.waiting_by_priority() for each in self._lanes.values()), Counter())

    def read(self) -> Sequence[LaneReading]:
        """Return how each lane stands."""
        return [each.read() for each in self._lanes.values()]

    def hold(self, model: str, rank: Rank, bound: int = 1) -> Hold:
        """Hold a slot of a model's lane within, when its turn has come.

        Args:
            model: The model.
            rank: Who asks.
            bound: The most tokens the call may take, about.
        """
        return Hold(self, self.of(model), rank, bound)

    async def take(self, lane: Lane, rank: Rank, bound: int = 1) -> Turn:
        """Take a slot, in turn, to be given back; `hold` is the safe way."""
        if lane not in self._in_use:
            self._use(lane)
        lane.waiting += 1
        try:
            if self._accounts is None:
                self._set(lane, active=lane.slots.active)
                turn = lane.slots.join(rank, bound)
            else:
                turn = lane.slots.join(rank, bound)
                self._share_out(self._accounts)
            return await lane.slots.wait(turn)
        except asyncio.CancelledError:
            if self._accounts is not None:
                self._share_out(self._accounts)  # it may have been given one in that moment
            raise
        finally:
            lane.waiting -= 1
            self._leave(lane)

    def give_back(self, lane: Lane, turn: Turn, *, used: int | None = None, begun: bool = False) -> None:
        """Free a slot that was taken: for the lane's next, or for the tenant that was served least."""
        if self._accounts is None:
            self._set(lane, active=lane.slots.active - 1)
        lane.slots.give_back(turn, used=used, begun=begun)
        if self._accounts is not None:
            self._share_out(self._accounts)
        self._leave(lane)

    def press(self, ceiling: int, cause: Cause) -> None:
        """Set how many calls this machine bears, and why not more."""
        if ceiling == self.ceiling:
            return
        self.ceiling = ceiling
        self._pressed = Holding(cause, self._clock.monotonic())
        if self._accounts is not None:
            self._share_out(self._accounts)
        else:
            for each in self._lanes.values():
                self._set(each, active=each.slots.active)

    def refresh(self, lane: Lane) -> None:
        """Set a lane's slots by what its limiter allows now."""
        if self._accounts is not None:
            self._share_out(self._accounts)
        else:
            self._set(lane, active=lane.slots.active)

    def _forget_idle(self) -> None:
        if len(self._lanes) >= _MANY:
            self._lanes = {model: lane for model, lane in self._lanes.items() if not lane.idle}

    def _use(self, lane: Lane) -> None:
        """Count a lane among those in use, and its tenants in accounts over all of them."""
        self._in_use[lane] = None
        if len(self._in_use) == 1:
            return
        newcomers: Collection[Lane] = (lane,)
        if self._accounts is None:
            self._accounts = Accounts(self._tenant_weights)
            newcomers = self._in_use
        now = self._clock.now().timestamp()
        for each in newcomers:
            each.slots.by_itself = False
            each.slots.queue.account_to(self._accounts, now=now)

    def _leave(self, lane: Lane) -> None:
        """Count a lane no longer among those in use, if nobody uses it."""
        if lane.waiting or lane.slots.active or lane not in self._in_use:
            return
        del self._in_use[lane]
        self._by_itself(lane)
        if len(self._in_use) == 1 and self._accounts is not None:
            self._accounts = None
            (last,) = self._in_use
            self._by_itself(last)
            self._set(last, active=last.slots.active)

    @staticmethod
    def _by_itself(lane: Lane) -> None:
        lane.slots.queue.accounts = None
        lane.slots.by_itself = True

    def _share_out(self, accounts: Accounts) -> None:
        """Give what the ceiling leaves to the lanes in use that have room."""
        now = self._clock.monotonic()
        while self.ceiling > self.active:
            open_ = [each for each in self._in_use if each.slots.waiting and each.has_slot(now)]
            if not open_:
                break
            accounts.short = self.active + 1 >= self.ceiling
            if len(open_) == 1:  # nobody of another lane competes: the order is its own
                open_[0].slots.give()
            else:
                self._give_next(open_, accounts)
        for each in self._in_use:
            self._set(each, active=each.slots.active)

    def _give_next(self, lanes: Sequence[Lane], accounts: Accounts) -> None:
        """Give the next turn of several lanes: to urgent work, else to the tenant that was served least."""
        now = self._clock.now().timestamp()
        urgent = [name for each in lanes if (name := each.slots.queue.urgent()) is not None]
        leads = {name: accounts.lead_of(name) for name in urgent}
        tenant = min(leads, key=leads.__getitem__, default=None)
        if tenant is None or leads[tenant] == float("inf"):
            tenant = accounts.next(lambda name: any(each.slots.queue.loads(name)[1] for each in lanes))
        assert tenant is not None, "something waits in each of these lanes, and each has an account"
        turns = [(each, each.slots.queue.peek(tenant, now=now)) for each in lanes]
        lane, turn = min(
            ((lane, turn) for lane, turn in turns if turn is not None),
            key=lambda each: (-each[1].job.level, each[0].slots.active, each[1].since),
        )
        lane.slots.give(turn)

    def _set(self, lane: Lane, *, active: int) -> None:
        """Set a lane's slots, and when to do so again though nothing happens."""
        now = self._clock.monotonic()  # one time for both: what is not allowed now must wake later
        allowed = lane.allowed(active, now)
        if self._accounts is None:
            limit, pressed = min(allowed, self.ceiling), self._pressed
        else:
            others = self.active - lane.slots.active
            limit = min(allowed, max(0, self.ceiling - others))
            pressed = self._pressed if self.ceiling < self.most else Holding(Cause.SHARED, now)
        lane.shared = pressed if limit < allowed else None
        # Beside other lanes every turn beyond the limit would be one too many.
        lane.slots.ahead = lane.ahead(limit) if self._prepares and self._accounts is None else 0
        if limit != lane.slots.limit:
            lane.slots.limit = limit
        if limit <= active and lane.model not in self._wakes and (wake_s := lane.wake_in_s(now)) is not None:
            self._wakes[lane.model] = asyncio.get_running_loop().call_later(
                max(wake_s, _SHORTEST_WAKE_S), self._wake, lane
            )

    def _wake(self, lane: Lane) -> None:
        del self._wakes[lane.model]
        if lane.model in self._lanes:
            self.refresh(lane)
