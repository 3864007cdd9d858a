"""What a job will cost and take: prompts are made, the cache is peeked at, experience is applied.

Items whose content is cached, and equal items of one job, make no call. What an item's prompt is made of that
does not exist yet, an outline for example, is taken to be as long as such outputs usually are.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import structlog
from service_common.errors import ServiceError, failed_precondition

from parallel_processor.estimating.forecast import Call, Experience, Forecast, expected_cost, forecast
from parallel_processor.estimating.measure import Kind, Measures
from parallel_processor.estimating.sample import Sampled, chosen, sampled
from parallel_processor.jobs.item import Item
from parallel_processor.jobs.job import Job
from parallel_processor.jobs.piece import PieceSpec
from parallel_processor.model.prices import PriceUnknownError
from parallel_processor.running.calls import ModelCalls
from parallel_processor.running.order import Order
from parallel_processor.running.outages import is_outage
from parallel_processor.running.ports import Entry, Owner, Prompt
from parallel_processor.running.workshop import Workshop, order_of

_log = structlog.get_logger("parallel_processor.estimator")
_PEEKED_AT_ONCE = 100
_LONGEST_FILLER = 32_000


class JobReader(Protocol):
    """Where jobs and their items are."""

    async def get(self, tenant: str, job_id: str) -> Job:
        """Return a job."""
        ...

    async def read_chunks(self, job: Job, numbers: Sequence[int]) -> list[list[Item]]:
        """Return some of a job's chunks of items."""
        ...


class PeekPort(Protocol):
    """The content cache, looked into without a trace."""

    async def peek(self, owner: Owner, keys: Sequence[str]) -> list[Entry | None]:
        """Return one entry or None per key; raises ServiceError as the neighbour answered."""
        ...


class MeasureReader(Protocol):
    """What earlier calls took."""

    async def measures(self, tenant: str) -> Measures:
        """Return a tenant's measures."""
        ...


@dataclass(frozen=True, slots=True)
class OfType:
    """What items of one content type come to, in the sample.

    Attributes:
        items: Items.
        calls: Calls they will take.
        cost_micros: What these are expected to cost.
    """

    items: int
    calls: int
    cost_micros: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a job will come to.

    Attributes:
        job: The job.
        forecast: What it will cost and take.
        scale: How many times the items looked at make up the job.
        looked_at: Items looked at.
        cached: Of them, those the cache holds.
        equal: Of them, those equal to another one.
        refused: Of them, those no prompt can be made for.
        calls: Calls the others will take.
        worst_case_micros: The most those calls can cost, each made once.
        types: By content type.
        cache_unknown: Whether the cache could not be asked, so that nothing was taken to be there.
    """

    job: Job
    forecast: Forecast
    scale: float
    looked_at: int
    cached: int
    equal: int
    refused: int
    calls: int
    worst_case_micros: int
    types: Mapping[str, OfType]
    cache_unknown: bool


@dataclass(slots=True)
class _Draft:
    """An estimate in the making.

    Attributes:
        contents: By item id, its content, or a text as long as that will be.
        levels: By item id, how many calls lie before its content.
        made_by: By item id, the call that makes its content; none for what is cached.
        by_key: By cache key, the item that makes its content.
        calls: Calls that will be made.
    """

    contents: dict[str, str] = field(default_factory=dict)
    levels: dict[str, int] = field(default_factory=dict)
    made_by: dict[str, Call] = field(default_factory=dict)
    by_key: dict[str, str] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    items: Counter[str] = field(default_factory=Counter)
    cached: int = 0
    equal: int = 0
    refused: int = 0
    worst_case: int = 0
    cache_unknown: bool = False


class Estimator:
    """Estimates jobs."""

    def __init__(
        self,
        workshop: Workshop,
        *,
        jobs: JobReader,
        cache: PeekPort,
        measures: MeasureReader,
        calls: ModelCalls,
        rng: random.Random,
    ) -> None:
        self._shop = workshop
        self._jobs = jobs
        self._cache = cache
        self._measures = measures
        self._calls = calls
        self._rng = rng

    async def estimate(self, tenant: str, job_id: str, *, at_once: int) -> Estimate:
        """Say what a job will cost and take.

        Args:
            tenant: Whose job it is.
            job_id: The job.
            at_once: How many calls are made at a time.

        Raises:
            ServiceError: NOT_FOUND; FAILED_PRECONDITION, reason JOB_EMPTY or PRICE_UNKNOWN; UNAVAILABLE while
                neither the optimizer nor what is known of it here makes the prompts.
        """
        job = await self._jobs.get(tenant, job_id)
        if not job.item_count:
            raise failed_precondition("JOB_EMPTY", f"job {job_id} has no items; add some with BatchAddItems")
        numbers = chosen(job.chunk_count, self._rng)
        chunks = await self._jobs.read_chunks(job, numbers)
        looked = sampled(chunks, chunk_count=job.chunk_count, item_count=job.item_count)
        experience = Experience(await self._measures.measures(tenant))
        draft = await self._draft(job, looked, experience)
        return _estimate(job, looked, draft, experience, at_once=at_once)

    async def _draft(self, job: Job, looked: Sampled, experience: Experience) -> _Draft:
        draft, owner = _Draft(), Owner(job.tenant, job.user)
        chunk_of = {each.item_id: number for number, chunk in enumerate(looked.chunks) for each in chunk}
        for items in _in_order([item for chunk in looked.chunks for item in chunk]):
            specs = [_spec(job, item, draft) for item in items]
            prompts = await self._shop.prompts.prepare(owner, specs, patient=False)
            orders = self._orders(job, items, specs, prompts, draft)
            entries = await self._peek(owner, orders, draft)
            for item, order in orders:
                self._count(item, order, entries, draft, experience, chunk=chunk_of[item.item_id])
        return draft

    def _orders(
        self,
        job: Job,
        items: Sequence[Item],
        specs: Sequence[PieceSpec],
        prompts: Sequence[Prompt | ServiceError],
        draft: _Draft,
    ) -> list[tuple[Item, Order]]:
        orders: list[tuple[Item, Order]] = []
        for item, spec, prompt in zip(items, specs, prompts, strict=True):
            if isinstance(prompt, ServiceError):
                if is_outage(prompt):
                    raise prompt
                draft.refused += 1
                continue
            order = order_of(
                spec,
                prompt,
                tenant=job.tenant,
                default_model=self._shop.default_model,
                max_output_tokens=self._shop.max_output_tokens,
            )
            orders.append((item, order))
        return orders

    async def _peek(
        self, owner: Owner, orders: Sequence[tuple[Item, Order]], draft: _Draft
    ) -> dict[str, str]:
        """Return the cached contents there are, by key."""
        keys = sorted({each.key for _, each in orders if each.policy.reads})
        found: dict[str, str] = {}
        for start in range(0, len(keys), _PEEKED_AT_ONCE):
            part = keys[start : start + _PEEKED_AT_ONCE]
            try:
                entries = await self._cache.peek(owner, part)
            except ServiceError as error:
                _log.info("cache_not_peeked", reason=error.reason)
                draft.cache_unknown = True
                break
            found |= {key: each.value for key, each in zip(part, entries, strict=True) if each is not None}
        return found

    def _count(
        self,
        item: Item,
        order: Order,
        entries: Mapping[str, str],
        draft: _Draft,
        experience: Experience,
        *,
        chunk: int,
    ) -> None:
        """Take in one item: it is cached, equal to another one, or takes a call."""
        draft.items[order.prompt.content_type] += 1
        usable = order.policy.reads
        if usable and (content := entries.get(order.key)) is not None:
            draft.cached += 1
            draft.contents[item.item_id] = content
            return
        if usable and (maker := draft.by_key.get(order.key)) is not None:
            draft.equal += 1
            draft.contents[item.item_id] = draft.contents[maker]
            draft.levels[item.item_id] = draft.levels[maker]
            draft.made_by[item.item_id] = draft.made_by[maker]
            return
        call = self._call(item, order, draft, chunk=chunk)
        length = experience.output_characters(call.kind)
        name = order.key if usable else f"{order.key} {item.item_id}"
        draft.contents[item.item_id] = _filler(name, length)
        if usable:
            draft.by_key[order.key] = item.item_id

    def _call(self, item: Item, order: Order, draft: _Draft, *, chunk: int) -> Call:
        request = order.request
        try:
            price = self._calls.prices.of(request.model)
            draft.worst_case += self._calls.worst_case_micros(request)
        except PriceUnknownError as error:
            raise failed_precondition(
                "PRICE_UNKNOWN", f"there is no price for model {error.model!r} in the price table"
            ) from error
        level = max((draft.levels.get(each.item_id, 0) for each in item.depends_on), default=0)
        call = Call(
            Kind(request.model, order.prompt.content_type, request.max_tokens),
            price,
            sum(len(each.content) for each in request.messages),
            chunk,
            level,
        )
        for each in item.depends_on:
            if (source := draft.made_by.get(each.item_id)) is not None:
                source.readers.append(price.prompt_micros_per_million)
        draft.calls.append(call)
        draft.levels[item.item_id], draft.made_by[item.item_id] = level + 1, call
        return call


def _estimate(job: Job, looked: Sampled, draft: _Draft, experience: Experience, *, at_once: int) -> Estimate:
    costs = expected_cost(draft.calls, experience)
    calls = Counter(each.kind.content_type for each in draft.calls)
    return Estimate(
        job=job,
        forecast=forecast(
            draft.calls, experience, scale=looked.scale, at_once=at_once, unread_chunks=looked.unread
        ),
        scale=looked.scale,
        looked_at=sum(map(len, looked.chunks)),
        cached=draft.cached,
        equal=draft.equal,
        refused=draft.refused,
        calls=len(draft.calls),
        worst_case_micros=round(looked.scale * draft.worst_case),
        types={name: OfType(items, calls[name], costs.get(name, 0.0)) for name, items in draft.items.items()},
        cache_unknown=draft.cache_unknown,
    )


def _in_order(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Yield items in steps, each after the items it depends on; those that are not here hold nothing up."""
    waiting = {each.item_id: each for each in items}
    while waiting:
        step = [
            each
            for each in waiting.values()
            if not any(needed.item_id in waiting for needed in each.depends_on)
        ]
        if not step:  # BatchAddItems refuses circles
            raise AssertionError("items depend on each other in a circle")
        for each in step:
            del waiting[each.item_id]
        yield step


def _spec(job: Job, item: Item, draft: _Draft) -> PieceSpec:
    """Return what will be generated, with contents that exist, or fillers, in the place of dependencies."""
    fed = {
        each.variable: draft.contents.get(each.item_id, _filler(each.item_id, _USUAL_CHARACTERS))
        for each in item.depends_on
    }
    return replace(
        item.spec,
        variables={**item.spec.variables, **fed},
        model=item.spec.model or job.model,
        cache_policy=item.spec.cache_policy or job.cache_policy,
    )


_USUAL_CHARACTERS = 1_500
"""How long a content is taken to be whose item is not part of the sample."""


def _filler(name: str, characters: int) -> str:
    """Return a text of a length that tells apart what will be made for different items."""
    return f"{name} ".ljust(min(characters, _LONGEST_FILLER), "x")
