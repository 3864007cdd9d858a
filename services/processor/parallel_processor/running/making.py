"""One piece from prompt to content: slot, lease, call, score, fill; and what to do when one of them fails.

Nothing scarce is held while waiting (law 3): the slot is taken before the cache lease and the lease just
before the call; a piece that finds its key busy, or must back off, gives both back and stands in line again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass, replace

from service_common.clock import Clock

from parallel_processor.cache_key import cache_key
from parallel_processor.jobs.piece import CachePolicy, Piece, PieceError, PieceSpec, Usage
from parallel_processor.model.failures import ModelFailure
from parallel_processor.model.prices import PriceUnknownError
from parallel_processor.model.requests import ModelRequest
from parallel_processor.running.calls import Answer, EndpointSuspendedError, ModelCalls, OnText
from parallel_processor.running.chain import Chain
from parallel_processor.running.content import Content
from parallel_processor.running.covering import refusal_of
from parallel_processor.running.entries import entry_of, piece_of, tags_of
from parallel_processor.running.hedging import HedgedCalls, Spare
from parallel_processor.running.outages import Backoff
from parallel_processor.running.outcomes import Outcomes
from parallel_processor.running.ports import Acquired, Acquisition, Fill, OutcomeReport, Owner, Prompt
from parallel_processor.running.slots import Rank, Slots
from parallel_processor.running.treatment import NEVER_MIND, Again, Effort, treat

_MAX_OUTPUT_BYTES = 600_000
"""The largest output that is kept; it must fit one document."""


class _Done:
    """What is waited for when nothing has to be."""

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


def _no_announcement(_worst_case_micros: int) -> Awaitable[None]:
    return _Done()


def _nothing_to_withdraw() -> None:
    return


def _nobody_hears(_text: str) -> None:
    return


def _nothing_to_expect(_worst_case_micros: int) -> None:
    return


@dataclass(frozen=True, slots=True)
class Work:
    """For whom a piece is made, and how.

    Attributes:
        owner: On whose behalf.
        rank: Its place in the queue for slots.
        holder: The name under which leases are held.
        epoch: The holder's fencing epoch.
        item_id: The item, to recognise its own content after a restart.
        policy: How to use the cache.
        patience_s: How long to wait for someone else's content before generating without a lease.
        persistent: Whether to wait out an outage of the endpoint; otherwise it is the answer.
        expect: Is told a call's worst-case cost when it begins to stand in line.
        announce: Begins to make a call's worst-case cost durable; the call waits for what it returns.
        withdraw: Takes it back when the call's fate is known and the piece must wait for its next.
        listen: Says before each call who hears its text as it comes; None: nobody does.
        hedged: Whether a call that is slow to begin may get a second one beside it.
    """

    owner: Owner
    rank: Rank
    holder: str
    epoch: int
    item_id: str
    policy: CachePolicy
    patience_s: float
    persistent: bool = True
    expect: Callable[[int], None] = _nothing_to_expect
    announce: Callable[[int], Awaitable[None]] = _no_announcement
    withdraw: Callable[[], None] = _nothing_to_withdraw
    listen: Callable[[], OnText] | None = None
    hedged: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """A piece to make.

    Attributes:
        spec: What was asked.
        prompt: The prompt made of it.
        request: What the model is asked.
        key: Its cache key.
        stands_in: Whether another model is asked than the prompt was made for.
    """

    spec: PieceSpec
    prompt: Prompt
    request: ModelRequest
    key: str
    stands_in: bool = False

    @property
    def alike(self) -> tuple[str, tuple[str, ...]]:
        """What orders have in common that any answer to one of them is an answer to."""
        return self.key, self.spec.fallback_models

    def instead(self, model: str, tenant: str) -> Order:
        """Return the order for the same of another model, whose answer is kept under a key of its own."""
        request = replace(self.request, model=model)
        key = cache_key(tenant, request, variation=self.spec.variation)
        return replace(self, request=request, key=key, stands_in=True)


def _not_measured(_owner: Owner, _order: Order, _answer: Answer) -> None:
    return


class Making:
    """Makes pieces with everything that takes."""

    def __init__(
        self,
        *,
        content: Content,
        calls: ModelCalls,
        outcomes: Outcomes,
        slots: Slots,
        clock: Clock,
        rng: random.Random,
        max_attempts: int,
        on_spend: Callable[[str, str, Usage], None],
        on_answer: Callable[[Owner, Order, Answer], None] = _not_measured,
        hedging: HedgedCalls | None = None,
    ) -> None:
        self._content = content
        self._calls = calls
        self._outcomes = outcomes
        self._slots = slots
        self._clock = clock
        self._rng = rng
        self._max_attempts = max_attempts
        self._on_spend = on_spend
        self._on_answer = on_answer
        self._hedging = hedging

    async def make(self, order: Order, work: Work, effort: Effort) -> Piece | PieceError:
        """Make a piece, or say why there can be none. Cancelling it gives everything back.

        A call that was cut off by the cancellation counts as of unknown fate in `effort`.
        """
        backoff = Backoff(base_s=0.5, cap_s=20.0, rng=self._rng)
        give_up_waiting_at = self._clock.monotonic() + work.patience_s
        suspended = self._calls.breakers.suspended
        chain = Chain(order.request.model, order.spec.fallback_models, suspended=suspended)
        own = order
        while True:
            if (model := chain.choose()) != order.request.model:
                order = own if model == own.request.model else own.instead(model, work.owner.tenant)
            leased = work.policy is CachePolicy.USE and self._clock.monotonic() < give_up_waiting_at
            result = await self._attempt(order, work, effort, backoff, chain, use_lease=leased)
            if not isinstance(result, Again):
                return result
            began = self._clock.monotonic()
            if result.busy:
                left_s = max(0.05, give_up_waiting_at - began)
                entry = await self._content.await_entry(work.owner, order.key, timeout_s=left_s)
                if entry is not None:
                    effort.spend("wait", self._clock.monotonic() - began)
                    return piece_of(entry, order.prompt, order.key)
            else:
                work.withdraw()
                await asyncio.sleep(result.delay_s)
            effort.spend("wait", self._clock.monotonic() - began)

    async def _attempt(
        self, order: Order, work: Work, effort: Effort, backoff: Backoff, chain: Chain, *, use_lease: bool
    ) -> Piece | PieceError | Again:
        """Stand in line once, and generate if it is this piece's turn and nobody else does."""
        try:
            worst_case = self._calls.worst_case_micros(order.request)
        except PriceUnknownError as error:
            return PieceError(
                "PRICE_UNKNOWN", f"there is no price for model {error.model!r} in the price table"
            )
        work.expect(worst_case)
        began = self._clock.monotonic()
        acquisition = Acquisition(Acquired.LEASED)
        filled = False
        async with self._slots.hold(work.rank):
            effort.spend("wait", self._clock.monotonic() - began)
            announced = work.announce(worst_case)  # on its way while the lease is asked for
            if use_lease:
                acquisition = await self._content.acquire(work.owner, work.holder, work.epoch, order.key)
            if acquisition.outcome is Acquired.BUSY:
                work.withdraw()
                return Again(busy=True)
            if acquisition.entry is not None:
                return piece_of(acquisition.entry, order.prompt, order.key)
            try:
                refused = await refusal_of(announced)
                answer = refused or await self._generate(order, work, effort, backoff, chain)
                filled = isinstance(answer, Answer)
            finally:
                if use_lease and not filled:
                    self._content.release(work.owner, order.key, acquisition.lease_token)
        if not isinstance(answer, Answer):
            effort.committed = False
            return answer
        return await self._finish(order, work, effort, answer, acquisition.lease_token)

    async def _generate(
        self, order: Order, work: Work, effort: Effort, backoff: Backoff, chain: Chain
    ) -> Answer | PieceError | Again:
        began = self._clock.monotonic()
        effort.committed = True
        answer: Answer | None = None
        try:
            answer = await self._call(order, work, effort)
        except EndpointSuspendedError as suspended:
            if chain.choose() != order.request.model:
                return Again()
            if not work.persistent:
                return PieceError("MODEL_UNAVAILABLE", str(suspended))
            return Again(suspended.retry_in_s + backoff.next_s())
        except ModelFailure as failure:
            effort.attempts += 1
            self._spent(order, effort, self._calls.spent_on(order.request, failure))
            if chain.failed(order.request.model, failure):
                effort.faults = 0  # those of one model do not speak against the piece at the next
                return Again()
            effort.faults += failure.failure_class not in NEVER_MIND
            return treat(
                failure, effort, backoff, persistent=work.persistent, max_attempts=self._max_attempts
            )
        except asyncio.CancelledError:
            effort.attempts += 1
            self._spent(order, effort, self._calls.uncertain(order.request))
            raise
        finally:
            effort.committed = answer is not None
            effort.spend("generate", self._clock.monotonic() - began)
        effort.attempts += 1
        self._spent(order, effort, answer.usage)
        self._on_answer(work.owner, order, answer)
        return self._checked(answer, effort, backoff)

    def _call(self, order: Order, work: Work, effort: Effort) -> Awaitable[Answer]:
        on_text = work.listen and work.listen()
        if self._hedging is None or not work.hedged:
            return self._calls.call(order.request, on_text)

        async def afford() -> None:
            await work.announce(2 * self._calls.worst_case_micros(order.request))

        def lost(usage: Usage) -> None:
            effort.attempts += 1
            self._spent(order, effort, usage)

        slots, rank = self._slots, work.rank
        spare = Spare(
            room=lambda: slots.active < slots.limit and not slots.waiting,
            slot=lambda: slots.hold(rank),
            afford=afford,
            lost=lost,
        )
        return self._hedging.call(order.request, on_text or _nobody_hears, spare)

    def _spent(self, order: Order, effort: Effort, usage: Usage) -> None:
        """Count what a call took, whatever it bought."""
        effort.usage += usage
        self._on_spend(order.request.model, order.prompt.content_type, usage)

    def _checked(self, answer: Answer, effort: Effort, backoff: Backoff) -> Answer | PieceError | Again:
        """Return an answer that can be used, or what to do about one that cannot."""
        if len(answer.reply.text.encode()) > _MAX_OUTPUT_BYTES:
            return PieceError("OUTPUT_TOO_LARGE", f"the output is larger than {_MAX_OUTPUT_BYTES} bytes")
        if answer.reply.text.strip():
            return answer
        effort.faults += 1
        if effort.faults >= self._max_attempts:
            return PieceError("MODEL_EMPTY", "the model answered without text")
        return Again(backoff.next_s())

    async def _finish(
        self, order: Order, work: Work, effort: Effort, answer: Answer, lease_token: str
    ) -> Piece:
        """Score a generated piece and store it, also when cancelled; whoever waits for it is woken."""
        began = self._clock.monotonic()
        quality: float | None = None
        try:
            if not order.stands_in:  # another model's answer says nothing about the prompt's version
                quality = await self._outcomes.score(work.owner, _report(order, answer))
            effort.spend("score", self._clock.monotonic() - began)
        finally:
            piece = _generated(order, answer, quality)
            stored = self._store(order, work, piece, lease_token)
        await stored
        return piece

    def _store(self, order: Order, work: Work, piece: Piece, lease_token: str) -> Awaitable[None]:
        if work.policy is CachePolicy.BYPASS:
            return _Done()
        entry = entry_of(piece, holder=work.holder, item_id=work.item_id)
        fill = Fill(order.key, entry, tags_of(piece), lease_token)
        if work.policy is CachePolicy.REFRESH:
            return asyncio.shield(self._content.replace(work.owner, fill))
        return asyncio.shield(self._content.fill(work.owner, fill))


def _generated(order: Order, answer: Answer, quality: float | None) -> Piece:
    reply = answer.reply
    return Piece(
        content=reply.text,
        content_type=order.prompt.content_type,
        model=order.request.model,
        template_id=order.prompt.template_id,
        template_version=order.prompt.template_version,
        cache_key=order.key,
        cached=False,
        truncated=reply.truncated,
        prompt_tokens=reply.prompt_tokens,
        output_tokens=reply.output_tokens,
        cost_micros=answer.usage.cost_micros,
        quality=quality,
        generate_s=reply.latency_s,
    )


def _report(order: Order, answer: Answer) -> OutcomeReport:
    reply = answer.reply
    return OutcomeReport(
        decision_id=order.prompt.decision_id,
        spec=order.spec if order.prompt.decision_id else _pinned(order),
        succeeded=True,
        truncated=reply.truncated,
        output=reply.text,
        subjects=tuple(
            order.spec.variables[name][:1024] for name in ("topic", "title") if name in order.spec.variables
        ),
        prompt_tokens=reply.prompt_tokens,
        output_tokens=reply.output_tokens,
        cost_micros=answer.usage.cost_micros,
        latency_s=reply.latency_s,
    )


def _pinned(order: Order) -> PieceSpec:
    """Name the version a prompt was rendered with, so that the optimizer can say later what it decided."""
    return replace(order.spec, template_version=order.prompt.template_version)
