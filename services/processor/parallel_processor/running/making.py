"""One piece from prompt to content: slot, lease, call, score, fill; and what to do when one of them fails.

Nothing scarce is held while waiting (law 3): the turn is taken before the cache lease, and the lease just
before the call, which begins as soon as a place with the model is free (0148); a piece that finds its key
busy, or must back off, gives both back and stands in line again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace

from service_common.clock import Clock
from service_common.output_contract import OutputContract

from parallel_processor.jobs.piece import CachePolicy, Piece, PieceError, Usage
from parallel_processor.limits.lanes import Lanes
from parallel_processor.model.failures import ModelFailure
from parallel_processor.model.prices import PriceUnknownError
from parallel_processor.model.requests import ModelRequest
from parallel_processor.model.tokens import tokens_bound
from parallel_processor.running.accepting import Acceptance, acceptable
from parallel_processor.running.calls import Answer, EndpointSuspendedError, ModelCalls
from parallel_processor.running.chain import Chain
from parallel_processor.running.content import Content
from parallel_processor.running.covering import refusal_of
from parallel_processor.running.entries import entry_of, piece_of, tags_of
from parallel_processor.running.error_class import ErrorClass
from parallel_processor.running.hedging import HedgedCalls, Spare
from parallel_processor.running.made import generated, report
from parallel_processor.running.order import Anew, Done, Order, Work, replacing
from parallel_processor.running.outages import Backoff
from parallel_processor.running.outcomes import Outcomes
from parallel_processor.running.ports import Acquired, Acquisition, Fill, Owner, Similar
from parallel_processor.running.retry_budget import RetryBudgets
from parallel_processor.running.treatment import Again, Effort, Treating

_MAX_OUTPUT_BYTES = 600_000
"""The largest output that is kept; it must fit one document."""


def _nobody_hears(_text: str) -> None:
    return


def _nothing_to_count(_error: ErrorClass) -> None:
    return


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
        lanes: Lanes,
        clock: Clock,
        rng: random.Random,
        max_attempts: int,
        on_spend: Callable[[str, str, Usage], None],
        on_answer: Callable[[Owner, Order, Answer], None] = _not_measured,
        hedging: HedgedCalls | None = None,
        acceptance: Acceptance,
        on_error: Callable[[ErrorClass], None] = _nothing_to_count,
        budgets: RetryBudgets | None = None,
    ) -> None:
        self._content = content
        self._calls = calls
        self._outcomes = outcomes
        self._lanes = lanes
        self._clock = clock
        self._rng = rng
        self._on_spend = on_spend
        self._treating = Treating(
            max_attempts=max_attempts, budgets=budgets or RetryBudgets(), clock=clock, on_error=on_error
        )
        self._on_answer = on_answer
        self._hedging = hedging
        self._acceptance = acceptance

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
            if order.before is None and (model := chain.choose()) != order.request.model:
                order = own if model == own.request.model else own.instead(model, work.owner.tenant)
            leased = work.policy.reads and self._clock.monotonic() < give_up_waiting_at
            result = await self._attempt(order, work, effort, backoff, chain, use_lease=leased)
            if isinstance(result, Anew):
                work.withdraw()
                order, work = result.order, replacing(work) if result.replacing else work
                continue
            if not isinstance(result, Again):
                return result
            began = self._clock.monotonic()
            if result.busy:
                left_s = max(0.05, give_up_waiting_at - began)
                entry = await self._content.await_entry(work.owner, order.key, timeout_s=left_s)
                if entry is not None:
                    effort.spend("wait", self._clock.monotonic() - began)
                    if piece := acceptable(piece_of(entry, order.prompt, order.key), order.contract):
                        return piece
                    work = replacing(work)
            else:
                if result.pause is not None:
                    work.pause(result.pause)
                work.withdraw()
                await asyncio.sleep(result.delay_s)
            effort.spend("wait", self._clock.monotonic() - began)

    async def _attempt(
        self, order: Order, work: Work, effort: Effort, backoff: Backoff, chain: Chain, *, use_lease: bool
    ) -> Piece | PieceError | Again | Anew:
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
        async with self._lanes.hold(order.request.model, work.rank, tokens_bound(order.request)) as slot:
            effort.spend("wait", self._clock.monotonic() - began)
            if use_lease:
                acquisition = await self._acquire(order, work)
            if acquisition.outcome is Acquired.BUSY:
                work.withdraw()
                slot.used = 0
                return Again(busy=True)
            if acquisition.entry is not None:
                slot.used = 0
                piece = piece_of(acquisition.entry, order.prompt, order.key, acquisition.source)
                return acceptable(piece, order.contract) or Anew(order, replacing=True)
            try:
                refused = await refusal_of(work.announce(worst_case), persistent=work.persistent)
                if refused is None:
                    await slot.begin()
                answer = refused or await self._generate(order, work, effort, backoff, chain)
                if isinstance(answer, Answer):
                    filled, slot.used = True, answer.usage.prompt_tokens + answer.usage.output_tokens
            finally:
                if use_lease and not filled:
                    self._content.release(work.owner, order.key, acquisition.lease_token)
        if not isinstance(answer, Answer):
            effort.committed = False
            return answer
        piece = await self._finish(order, work, effort, answer, acquisition.lease_token)
        if acquisition.ticket and (similar := self._content.similar):
            similar.learn(work.owner, order.key, acquisition.ticket)
        return piece

    async def _acquire(self, order: Order, work: Work) -> Acquisition:
        """Take the key's lease or learn what else to do; the answer to a similar prompt may do instead."""
        acquisition = await self._content.acquire(work.owner, work.holder, work.epoch, order.key)
        similar = self._content.similar if work.policy is CachePolicy.USE_SIMILAR else None
        if similar is None or acquisition.outcome is not Acquired.LEASED or order.before is not None:
            return acquisition
        found: Similar | None = None
        try:
            found = await similar.find(work.owner, order)
        finally:
            if found is None or found.entry is not None:
                self._content.release(work.owner, order.key, acquisition.lease_token)
        if found.entry is None:
            return replace(acquisition, ticket=found.ticket)
        return Acquisition(Acquired.HIT, found.entry, source=found.source)

    async def _generate(
        self, order: Order, work: Work, effort: Effort, backoff: Backoff, chain: Chain
    ) -> Answer | PieceError | Again | Anew:
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
                self._treating.passed_on(failure)
                effort.faults = 0  # those of one model do not speak against the piece at the next
                return Again()
            return self._treating.failed(
                order.request.model, failure, effort, backoff, persistent=work.persistent
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
        self._treating.answered(order.request.model, effort, truncated=answer.reply.truncated)
        self._on_answer(work.owner, order, answer)
        return self._checked(order, work, answer, effort, backoff)

    def _call(self, order: Order, work: Work, effort: Effort) -> Awaitable[Answer]:
        on_text = work.listen and work.listen()
        if self._hedging is None or not work.hedged:
            return self._calls.call(order.request, on_text)

        async def afford() -> None:
            await work.announce(2 * self._calls.worst_case_micros(order.request))

        def lost(usage: Usage) -> None:
            effort.attempts += 1
            self._spent(order, effort, usage)

        model = order.request.model
        spare = Spare(
            room=lambda: self._lanes.of(model).has_room,
            slot=lambda: self._lanes.hold(model, work.rank, tokens_bound(order.request)),
            afford=afford,
            lost=lost,
        )
        return self._hedging.call(order.request, on_text or _nobody_hears, spare)

    def _spent(self, order: Order, effort: Effort, usage: Usage) -> None:
        """Count what a call took, whatever it bought."""
        effort.usage += usage
        self._on_spend(order.request.model, order.prompt.content_type, usage)

    def _checked(
        self, order: Order, work: Work, answer: Answer, effort: Effort, backoff: Backoff
    ) -> Answer | PieceError | Again | Anew:
        """Return an answer that can be used, or what to do about one that cannot."""
        if len(answer.reply.text.encode()) > _MAX_OUTPUT_BYTES:
            return PieceError("OUTPUT_TOO_LARGE", f"the output is larger than {_MAX_OUTPUT_BYTES} bytes")
        if answer.reply.text.strip():
            return self._accepted(order, work, order.contract, answer) if order.contract else answer
        return self._treating.empty(order.request.model, effort, backoff)

    def _accepted(
        self, order: Order, work: Work, contract: OutputContract, answer: Answer
    ) -> Answer | PieceError | Anew:
        """Return an answer that meets its contract, at the price of all that were asked for it."""
        again = order.before is not None
        usage = answer.usage if order.before is None else order.before + answer.usage
        verdict = self._acceptance.judge(answer.reply, contract, order.request, asked_before=again)
        if isinstance(verdict, PieceError):
            self._outcomes.tell(work.owner, report(order, Answer(answer.reply, usage), succeeded=False))
            return verdict
        if isinstance(verdict, ModelRequest):
            return Anew(replace(order, request=verdict, before=usage))
        return Answer(verdict, usage)

    async def _finish(
        self, order: Order, work: Work, effort: Effort, answer: Answer, lease_token: str
    ) -> Piece:
        """Score a generated piece and store it, also when cancelled; whoever waits for it is woken."""
        began = self._clock.monotonic()
        quality: float | None = None
        try:
            if not order.stands_in:  # another model's answer says nothing about the prompt's version
                quality = await self._outcomes.score(work.owner, report(order, answer))
            effort.spend("score", self._clock.monotonic() - began)
        finally:
            piece = generated(order, answer, quality)
            stored = self._store(order, work, piece, lease_token)
        await stored
        return piece

    def _store(self, order: Order, work: Work, piece: Piece, lease_token: str) -> Awaitable[None]:
        if work.policy is CachePolicy.BYPASS:
            return Done()
        if order.before is not None:  # whoever finds its own work here has accounted for the first answer
            piece = replace(piece, cost_micros=piece.cost_micros - order.before.cost_micros)
        entry = entry_of(piece, holder=work.holder, item_id=work.item_id)
        fill = Fill(order.key, entry, tags_of(piece), lease_token)
        if work.policy is CachePolicy.REFRESH:
            return asyncio.shield(self._content.replace(work.owner, fill))
        return asyncio.shield(self._content.fill(work.owner, fill))
