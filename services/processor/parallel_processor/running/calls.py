"""Calls to models: each behind its breaker, with what they cost and what they might have cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from service_common.frozen import dataclass
from service_common.telemetry.tracing import current_traceparent, span

from parallel_processor.jobs.piece import Usage
from parallel_processor.limits.lanes import Lanes
from parallel_processor.model.failures import Fate, ModelFailure
from parallel_processor.model.prices import PriceTable
from parallel_processor.model.requests import ModelReply, ModelRequest
from parallel_processor.model.tokens import prompt_tokens_upper_bound
from parallel_processor.running.breakers import Breakers

OnText = Callable[[str], None]
"""Hears an answer's text as it comes, piece by piece; what it heard is void if the call fails."""


class ModelPort(Protocol):
    """The model endpoint."""

    async def generate(self, request: ModelRequest, *, traceparent: str | None = None) -> ModelReply:
        """Ask for one completion; raises ModelFailure."""
        ...

    async def stream(
        self, request: ModelRequest, on_text: OnText, *, traceparent: str | None = None
    ) -> ModelReply:
        """Ask for one completion and pass its text on as it comes; raises ModelFailure."""
        ...


class EndpointSuspendedError(Exception):
    """The model's breaker is open, so no call was made.

    Attributes:
        retry_in_s: When to ask again.
    """

    def __init__(self, model: str, retry_in_s: float) -> None:
        super().__init__(f"calls to model {model!r} are suspended after repeated failures")
        self.retry_in_s = retry_in_s


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply and what it cost."""

    reply: ModelReply
    usage: Usage


class ModelCalls:
    """Calls models.

    Attributes:
        breakers: Which models are called at all.

    Args:
        endpoint: The endpoint.
        prices: What its models cost.
        breakers: Decide which are called.
        lanes: Hear what becomes of every call, by model.
    """

    def __init__(self, endpoint: ModelPort, *, prices: PriceTable, breakers: Breakers, lanes: Lanes) -> None:
        self._endpoint = endpoint
        self._lanes = lanes
        self._prices = prices
        self.breakers = breakers
        self._answered: Callable[[], None] = lambda: None

    def on_answer(self, hook: Callable[[], None]) -> None:
        """Call a hook with every answer."""
        self._answered = hook

    @property
    def prices(self) -> PriceTable:
        """What calls cost."""
        return self._prices

    def worst_case_micros(self, request: ModelRequest) -> int:
        """Return the most a call can cost.

        Raises:
            PriceUnknownError: If the model has no price.
        """
        bound = prompt_tokens_upper_bound(request.messages)
        return self._prices.worst_case_micros(request.model, bound, request.max_tokens)

    async def call(self, request: ModelRequest, on_text: OnText | None = None) -> Answer:
        """Ask for one completion.

        Args:
            request: What to ask.
            on_text: Who hears the text as it comes; None: it is asked for whole.

        Raises:
            EndpointSuspendedError: Without a call, while the model's breaker is open.
            ModelFailure: If there is no content.
        """
        breaker = self.breakers.of(request.model)
        ticket = breaker.admit()
        if ticket is None:
            raise EndpointSuspendedError(request.model, breaker.retry_in_s())
        lane = self._lanes.of(request.model)
        call = lane.begin()
        try:
            with span("model.generate", attributes={"model": request.model}):
                reply = await self._ask(request, on_text)
        except ModelFailure as failure:
            lane.failed(call, failure)
            if failure.endpoint_fault:
                breaker.failed(ticket)
            else:
                breaker.succeeded(ticket)
            raise
        except BaseException:
            lane.abandoned(call)
            breaker.abandoned(ticket)
            raise
        lane.answered(call, reply)
        breaker.succeeded(ticket)
        self._answered()
        return Answer(reply, self._usage(request, reply.prompt_tokens, reply.output_tokens))

    async def _ask(self, request: ModelRequest, on_text: OnText | None) -> ModelReply:
        if on_text is None:
            return await self._endpoint.generate(request, traceparent=current_traceparent())
        return await self._endpoint.stream(request, on_text, traceparent=current_traceparent())

    def spent_on(self, request: ModelRequest, failure: ModelFailure) -> Usage:
        """Return what a failed call took; one of unknown fate counts at its worst case (law 5)."""
        if failure.fate is Fate.BILLED and failure.usage is not None:
            return self._usage(request, failure.usage.prompt_tokens, failure.usage.output_tokens)
        return self.uncertain(request) if failure.fate is Fate.UNKNOWN else Usage()

    def uncertain(self, request: ModelRequest) -> Usage:
        """Return what a call of unknown fate counts as."""
        return Usage(uncertain_calls=1, uncertain_spend_micros=self.worst_case_micros(request))

    def _usage(self, request: ModelRequest, prompt_tokens: int, output_tokens: int) -> Usage:
        return Usage(
            prompt_tokens=prompt_tokens,
            output_tokens=output_tokens,
            model_calls=1,
            cost_micros=self._prices.cost_micros(request.model, prompt_tokens, output_tokens),
        )
