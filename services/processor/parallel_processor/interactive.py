"""One piece, for someone who waits: through prompt, cache and model like any item, but ahead of jobs."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from service_common.clock import Clock
from service_common.errors import ErrorKind, ServiceError, failed_precondition, unavailable

from parallel_processor.jobs.job import Priority
from parallel_processor.jobs.piece import CachePolicy, Piece, PieceError, PieceSpec, Usage
from parallel_processor.jobs.records import piece_from_fields, piece_to_fields
from parallel_processor.model.prices import PriceUnknownError
from parallel_processor.queueing.slots import Rank
from parallel_processor.repository import RequestRepository
from parallel_processor.running.accepting import acceptable
from parallel_processor.running.calls import ModelCalls, OnText
from parallel_processor.running.entries import piece_of
from parallel_processor.running.order import Order, Work
from parallel_processor.running.ports import Owner
from parallel_processor.running.treatment import Effort
from parallel_processor.running.workshop import Workshop, order_of
from parallel_processor.spending.interactive_purse import InteractivePurse
from parallel_processor.spool import Spool, Text

_IN_PROGRESS = timedelta(minutes=3)
"""How long a request that was begun is left to whoever began it."""

_KINDS = {
    "MODEL_UNAVAILABLE": ErrorKind.UNAVAILABLE,
    "MODEL_TIMEOUT": ErrorKind.DEADLINE_EXCEEDED,
    "MODEL_ERROR": ErrorKind.UNAVAILABLE,
    "MODEL_MALFORMED": ErrorKind.UNAVAILABLE,
    "MODEL_EMPTY": ErrorKind.UNAVAILABLE,
}


class Interactive:
    """Generates single pieces."""

    def __init__(
        self,
        workshop: Workshop,
        *,
        calls: ModelCalls,
        requests: RequestRepository,
        purse: InteractivePurse,
        clock: Clock,
    ) -> None:
        self._shop = workshop
        self._purse = purse
        self._calls = calls
        self._requests = requests
        self._clock = clock

    async def stream(
        self, owner: Owner, spec: PieceSpec, *, request_id: str, body: bytes, max_cost_micros: int
    ) -> AsyncGenerator[Text | Piece]:
        """Generate a piece and yield its text as it is written, then the piece; arguments as for `generate`.

        Leaving it, with `aclosing`, cancels the call that is under way. A slow reader holds nothing up: what
        was not read yet waits here, at most as much as an answer may have.

        Raises:
            ServiceError: As the contract says; texts that were yielded before are void then.
        """
        spool = Spool()
        made = asyncio.create_task(
            self.generate(
                owner,
                spec,
                request_id=request_id,
                body=body,
                max_cost_micros=max_cost_micros,
                listen=spool.begin,
            )
        )
        made.add_done_callback(lambda _task: spool.close())
        try:
            async for text in spool.texts():
                yield text
            piece = await made
            for text in spool.rest(piece.content):
                yield text
            yield piece
        finally:
            made.cancel()
            await asyncio.gather(made, return_exceptions=True)

    async def generate(
        self,
        owner: Owner,
        spec: PieceSpec,
        *,
        request_id: str,
        body: bytes,
        max_cost_micros: int,
        listen: Callable[[], OnText] | None = None,
    ) -> Piece:
        """Generate a piece; a repeat of a request returns the piece it made before.

        Args:
            owner: On whose behalf.
            spec: What to generate.
            request_id: Names the request; empty for no such protection.
            body: The request's body, to tell a repeat from another request.
            max_cost_micros: The most it may cost; 0 for no limit.
            listen: Says before each call who hears its text as it comes; None: nobody does.

        Raises:
            ServiceError: As the contract says.
        """
        if not request_id:
            return await self._generate(owner, spec, max_cost_micros, listen)
        rpc = "Generate" if listen is None else "StreamGenerate"
        name, body_hash = f"{rpc}/{request_id}", hashlib.sha256(body).hexdigest()
        token = uuid4().hex
        begun = {"by": token, "until": self._clock.now() + _IN_PROGRESS}
        kept = await self._requests.claim(
            owner.tenant, name, body_hash=body_hash, answer=begun, now=self._clock.now()
        )
        if "content" in kept:
            return piece_from_fields(kept)
        if kept["by"] != token and kept["until"] > self._clock.now():
            raise _in_progress(kept, self._clock.now())
        piece: Piece | None = None
        try:
            piece = await self._generate(owner, spec, max_cost_micros, listen)
        finally:
            answer: Mapping[str, Any] = {"by": token, "until": self._clock.now()}
            if piece is not None:
                answer = piece_to_fields(piece)
            await asyncio.shield(
                self._requests.replace(
                    owner.tenant, name, body_hash=body_hash, answer=answer, now=self._clock.now()
                )
            )
        return piece

    async def _generate(
        self, owner: Owner, spec: PieceSpec, max_cost_micros: int, listen: Callable[[], OnText] | None
    ) -> Piece:
        order = await self._order(owner, spec)
        if refusal := self._shop.post_processing.refusal(order.handlers):
            raise failed_precondition(refusal.reason, refusal.message)
        policy = spec.cache_policy or CachePolicy.USE
        if policy.reads:
            entries = await self._shop.content.lookup(owner, [order.key])
            if entry := entries.get(order.key):
                if piece := acceptable(piece_of(entry, order.prompt, order.key), order.contract):
                    return await self._handled(order, piece)
                policy = CachePolicy.REFRESH
        _check_cost(self._worst_case(order), max_cost_micros)
        effort, tab = Effort(), await self._purse.open(owner.tenant)

        async def within_budget(worst_case_micros: int) -> None:
            """Check before every call, since earlier ones may have cost something and brought nothing."""
            _check_cost(worst_case_micros, max_cost_micros, spent=effort.usage)
            await tab.announce(worst_case_micros, effort.usage)

        work = Work(
            owner=owner,
            rank=Rank.of(Priority.URGENT, self._clock.now(), tenant=owner.tenant),
            holder=f"generate/{uuid4().hex}",
            epoch=1,
            item_id="",
            policy=policy,
            patience_s=self._shop.urgent_patience_s,
            persistent=False,
            announce=within_budget,
            listen=listen,
            hedged=True,
        )
        try:
            made = await self._shop.making.make(order, work, effort)
        finally:
            tab.settle(effort.usage)
        return await self._handled(order, made)

    async def _handled(self, order: Order, made: Piece | PieceError) -> Piece:
        """Return a piece after its handlers."""
        if isinstance(made, Piece) and order.handlers:
            made = await self._shop.post_processing.process(made, order.handlers)
        if isinstance(made, PieceError):
            kind = _KINDS.get(made.reason, ErrorKind.FAILED_PRECONDITION)
            raise ServiceError(kind, made.reason, made.message)
        return made

    async def _order(self, owner: Owner, spec: PieceSpec) -> Order:
        (prompt,) = await self._shop.prompts.prepare(owner, [spec], patient=False)
        if isinstance(prompt, ServiceError):
            raise prompt
        return order_of(
            spec,
            prompt,
            tenant=owner.tenant,
            default_model=self._shop.default_model,
            max_output_tokens=self._shop.max_output_tokens,
        )

    def _worst_case(self, order: Order) -> int:
        try:
            return self._calls.worst_case_micros(order.request)
        except PriceUnknownError as error:
            raise failed_precondition(
                "PRICE_UNKNOWN", f"there is no price for model {error.model!r} in the price table"
            ) from error


def _check_cost(worst_case: int, max_cost_micros: int, *, spent: Usage | None = None) -> None:
    if spent is not None:
        worst_case += spent.cost_micros + spent.uncertain_spend_micros
    if max_cost_micros and worst_case > max_cost_micros:
        raise ServiceError(
            ErrorKind.FAILED_PRECONDITION,
            "MAX_COST_EXCEEDED",
            f"the piece may cost up to {worst_case} micros, max_cost_micros is {max_cost_micros}",
            metadata={"worst_case_micros": str(worst_case)},
        )


def _in_progress(kept: Mapping[str, Any], now: datetime) -> ServiceError:
    return unavailable(
        "REQUEST_IN_PROGRESS",
        "a request of this request_id is being worked on; ask again for its answer",
        retry_after=min(timedelta(seconds=2), kept["until"] - now),
    )


def served(piece: Piece) -> Piece:
    """Return a piece as it is shown: what it costs now, not what it cost when it was made."""
    return replace(piece, cost_micros=0) if piece.cached else piece
