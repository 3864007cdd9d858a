"""One worker's run of one shard: items begin as they become free, and none waits for the slowest.

The run ends when every item is finished, when the shard is taken over, or when it is handed back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Iterable, Sequence
from dataclasses import replace
from typing import Any

import structlog
from service_common.errors import ServiceError
from service_common.telemetry.tracing import span

from parallel_processor.jobs.item import Item, Outcome
from parallel_processor.jobs.job import Job, JobState, StateReason
from parallel_processor.jobs.life import Ending, ending_of
from parallel_processor.jobs.piece import CachePolicy, Piece, PieceError, PieceSpec, Usage
from parallel_processor.queueing.slots import Rank
from parallel_processor.running.accepting import acceptable
from parallel_processor.running.entries import piece_of
from parallel_processor.running.journal import Journal
from parallel_processor.running.order import Order, Want, Work
from parallel_processor.running.ports import Entry, Owner
from parallel_processor.running.shard_items import ShardItems
from parallel_processor.running.treatment import Effort
from parallel_processor.running.workshop import Workshop, order_of
from parallel_processor.spending.refusal import UsedUp

_log = structlog.get_logger("parallel_processor.running.shard_run")


class ShardRun:
    """Runs one claimed shard.

    Its mutable state: the items, the tasks that work on them, and who leads which cache key.

    Attributes:
        job: The job as last seen.
    """

    def __init__(
        self, job: Job, items: Sequence[Item], journal: Journal, workshop: Workshop, *, epoch: int
    ) -> None:
        self.job = job
        self.journal = journal
        self._items = ShardItems(items, journal, workshop.clock)
        self._shop = workshop
        self._epoch = epoch
        self._owner = Owner(job.tenant, job.user)
        self._rank = Rank.of_job(job)
        self._tasks: dict[asyncio.Task[None], list[int]] = {}
        self._leaders: dict[Want, dict[int, Order]] = {}
        self._stopping = False
        self._loop = asyncio.get_running_loop()
        self._trouble: StateReason | None = None

    @property
    def unfinished(self) -> int:
        """Items that are not finished."""
        return self._items.unfinished

    @property
    def is_given_up(self) -> bool:
        """Whether what was left has been ended."""
        return self._items.given_up

    @property
    def unprepared(self) -> int:
        """Items that have been begun and do not stand in line for the model yet."""
        return sum(len(indexes) for indexes in self._tasks.values() if len(indexes) > 1)

    @property
    def used_up(self) -> UsedUp | None:
        """The budget that bears no call of what is in hand; None while something else goes on."""
        return self.journal.purse.all_refused(index for part in self._tasks.values() for index in part)

    async def run(self, committed: Sequence[tuple[int, Outcome]]) -> None:
        """Work until everything is finished and durable.

        Args:
            committed: What earlier epochs committed, by item index.

        Raises:
            ServiceError: ABORTED, reason LEASE_LOST, when the shard was taken over.
        """
        with span("shard.run", parent=self.job.traceparent, attributes={"items": len(self._items)}):
            self._begin(self._items.resume(committed))
            try:
                await self.journal.run()
            finally:
                await self._stop_tasks()

    async def adopt(self, job: Job) -> None:
        """Follow what the job has become: work on under its new terms, pause, or give up the rest."""
        if job.revision < self.job.revision:
            return
        self.job, self._rank = job, Rank.of_job(job)
        if (ending := ending_of(job, self._shop.clock.now())) is not None:
            await self.give_up(ending)
        elif job.state is JobState.PAUSED and not self._stopping:
            await self.drain(None)

    async def give_up(self, ending: Ending) -> None:
        """Finish what is left, all alike; calls in flight are cut off and count as of unknown fate."""
        self._items.given_up = True
        await self._stop_tasks()
        self._items.end_all(ending)

    async def drain(self, grace_s: float | None) -> None:
        """Let calls in flight come back, commit, and stop; the rest is for the next epoch.

        Args:
            grace_s: How long to wait for them; None: as long as they take.
        """
        self._stopping, self._trouble = True, None
        for task, indexes in self._tasks.items():
            if not any(self._items.effort(index).committed for index in indexes):
                task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_s)
        await self._stop_tasks()
        self._items.account_efforts()
        self.journal.close()

    def _begin(self, indexes: list[int]) -> None:
        """Prepare items that became free together, together."""
        if self._stopping or not indexes:
            return
        for index in indexes:
            self._items.begin(index)
        self._spawn(indexes, self._prepare(indexes))

    def _spawn(self, indexes: list[int], work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks[task] = indexes
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        indexes = self._tasks.pop(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        problem = self._problem(error)
        for index in indexes:
            self._items.fail(index, problem)

    def _problem(self, error: BaseException) -> PieceError:
        if isinstance(error, ServiceError):
            return PieceError(error.reason, error.message)
        _log.error("item_task_failed", job_id=self.job.job_id, exc_info=error)
        return PieceError("INTERNAL", "an unexpected error of the processor; its log says more")

    async def _prepare(self, indexes: list[int]) -> None:
        """Get the prompts of items, take what the cache has, and set out to make the rest."""
        began = self._shop.clock.monotonic()
        specs = [self._spec(index) for index in indexes]
        prompts = await self._shop.prompts.prepare(self._owner, specs)
        self._spend(indexes, "optimize", began)
        orders: dict[int, Order] = {}
        for index, spec, prompt in zip(indexes, specs, prompts, strict=True):
            if isinstance(prompt, ServiceError):
                self._items.account_inherited(index)
                self._items.fail(index, PieceError(prompt.reason, prompt.message))
            else:
                orders[index] = order_of(
                    spec,
                    prompt,
                    tenant=self.job.tenant,
                    default_model=self._shop.default_model,
                    max_output_tokens=self._shop.max_output_tokens,
                )
        began = self._shop.clock.monotonic()
        entries = await self._lookup(orders)
        self._spend(orders, "cache", began)
        for index, order in orders.items():
            if not self._items.ended(index):
                self._set_out(index, order, entries.get(order.key))

    def _spec(self, index: int) -> PieceSpec:
        spec = self._items.spec(index)
        fallbacks = spec.fallback_models or self.job.terms.fallback_models
        if spec.model and spec.cache_policy and fallbacks == spec.fallback_models:
            return spec
        return replace(
            spec,
            model=spec.model or self.job.model,
            cache_policy=spec.cache_policy or self.job.cache_policy,
            fallback_models=fallbacks,
        )

    async def _lookup(self, orders: dict[int, Order]) -> dict[str, Entry]:
        keys = {order.key for order in orders.values() if order.policy.reads}
        return await self._shop.content.lookup(self._owner, sorted(keys)) if keys else {}

    def _set_out(self, index: int, order: Order, entry: Entry | None) -> None:
        """Take the cached entry, follow an equal item that is being made, or make the piece."""
        if order.handlers and (refusal := self._shop.post_processing.refusal(order.handlers)):
            self._items.account_inherited(index)
            self._items.fail(index, refusal)
            return
        if not order.policy.reads:
            self._items.account_inherited(index)
            self._spawn([index], self._make(index, order))
            return
        piece = acceptable(piece_of(entry, order.prompt, order.key), order.contract) if entry else None
        if entry is not None and piece is not None:
            self._hand_on(index, order, self._items.taken(index, entry, piece))
        elif (followers := self._leaders.get(order.want)) is not None:
            self._items.account_inherited(index)
            followers[index] = order
        else:
            self._items.account_inherited(index)
            self._leaders[order.want] = {}
            self._spawn([index], self._make(index, order, replacing=entry is not None))

    async def _make(self, index: int, order: Order, *, replacing: bool = False) -> None:
        effort = self._items.effort(index)
        policy = CachePolicy.REFRESH if replacing else order.policy
        urgent = self._rank.priority.name == "URGENT"
        work = Work(
            owner=self._owner,
            rank=self._rank,
            holder=self.journal.shard.holder,
            epoch=self._epoch,
            item_id=self._items.item_id(index),
            policy=policy,
            patience_s=self._shop.urgent_patience_s if urgent else self._shop.patience_s,
            expect=lambda worst_case: self.journal.expect(index, worst_case),
            announce=lambda worst_case: self._announce(index, order.request.model, worst_case),
            withdraw=lambda: self._withdraw(index, effort),
            pause=self._rest,
        )
        made: Piece | PieceError
        try:
            if order.handlers:
                await self._shop.post_processing.room(order.handlers)
            deaths = self.journal.shard.crashes.get(index, 0)
            made = await self._shop.quarantine.make(
                deaths, lambda: self._shop.making.make(order, work, effort)
            )
        except Exception as error:  # noqa: BLE001 - equal items wait for this one and must learn of it
            made = self._problem(error)
        self._lead_on(order, made)
        await self._handle(index, order, made)

    def _hand_on(self, index: int, order: Order, piece: Piece) -> None:
        """End an item with a piece that is not of its own making, by way of its handlers."""
        if order.handlers:
            self._spawn([index], self._handle(index, order, piece))
        else:
            self._succeed(index, piece)

    async def _handle(self, index: int, order: Order, made: Piece | PieceError) -> None:
        """Send what was made through its handlers, if it has any, to the item's end."""
        if isinstance(made, Piece) and order.handlers:
            self._items.effort(index).committed = not made.cached  # what is paid for is not given up
            began = self._shop.clock.monotonic()
            made = await self._shop.post_processing.process(made, order.handlers)
            self._spend([index], "handle", began)
        if isinstance(made, Piece):
            self._succeed(index, made)
        else:
            self._items.fail(index, made)

    def _announce(self, index: int, model: str, worst_case: int) -> Awaitable[None]:
        """Announce a call, unless it could not be answered before the job's deadline."""
        if (deadline := self.job.terms.deadline) is not None:
            self._shop.latencies.check_time_left(model, deadline - self._shop.clock.now())
        return self.journal.announce(index, worst_case)

    def _withdraw(self, index: int, effort: Effort) -> None:
        """Put what an item's calls took in the place of their announcement, since none is out any more."""
        self.journal.account(index, effort.usage)
        effort.usage = Usage()
        if self._stopping:
            raise asyncio.CancelledError  # a drain waits for calls in flight, and for no next one

    def take_trouble(self) -> StateReason | None:
        """Return why the job should rest, when no call of it can succeed, once; None when nothing is new."""
        trouble, self._trouble = self._trouble, None
        return trouble

    def _rest(self, why: StateReason) -> None:
        if not self._stopping:  # else it rests already, and may have been resumed for others meanwhile
            self._trouble = why

    def _lead_on(self, order: Order, made: Piece | PieceError) -> None:
        """Give what an item came to to the equal items that waited for it."""
        for follower, its in self._leaders.pop(order.want, {}).items():
            prompt = its.prompt
            if isinstance(made, PieceError):
                self._items.fail(follower, made)
                continue
            piece = replace(
                made,
                cached=True,
                generate_s=0.0,
                content_type=prompt.content_type,
                template_id=prompt.template_id,
                template_version=prompt.template_version,
            )
            self._hand_on(follower, its, piece)

    def _succeed(self, index: int, piece: Piece) -> None:
        if piece.generate_s:
            self._shop.latencies.observe(piece.model, piece.generate_s)
        self._begin(self._items.succeed(index, piece))

    def _spend(self, indexes: Iterable[int], stage: str, began: float) -> None:
        self._items.spend(indexes, stage, self._shop.clock.monotonic() - began)

    async def _stop_tasks(self) -> None:
        self._stopping = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
