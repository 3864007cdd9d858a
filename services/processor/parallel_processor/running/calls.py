"""Calls to the model endpoint: behind a breaker, with what they cost and what they might have cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from service_common.resilience.breaker import CircuitBreaker
from service_common.telemetry.tracing import current_traceparent, span

from parallel_processor.jobs.piece import Usage
from parallel_processor.model.failures import Fate, ModelFailure
from parallel_processor.model.prices import PriceTable
from parallel_processor.model.requests import ModelReply, ModelRequest
from parallel_processor.model.tokens import prompt_tokens_upper_bound


class ModelPort(Protocol):
    """The model endpoint."""

    async def generate(self, request: ModelRequest, *, traceparent: str | None = None) -> ModelReply:
        """Ask for one completion; raises ModelFailure."""
        ...


class EndpointSuspendedError(Exception):
    """The endpoint's breaker is open, so no call was made.

    Attributes:
        retry_in_s: When to ask again.
    """

    def __init__(self, retry_in_s: float) -> None:
        super().__init__("calls to the model endpoint are suspended after repeated failures")
        self.retry_in_s = retry_in_s


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply and what it cost."""

    reply: ModelReply
    usage: Usage


class ModelCalls:
    """Calls one endpoint.

    Attributes:
        breaker: Whether the endpoint is called at all.
    """

    def __init__(self, endpoint: ModelPort, *, prices: PriceTable, breaker: CircuitBreaker) -> None:
        self._endpoint = endpoint
        self._prices = prices
        self.breaker = breaker
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

    async def call(self, request: ModelRequest) -> Answer:
        """Ask for one completion.

        Raises:
            EndpointSuspendedError: Without a call, while the breaker is open.
            ModelFailure: If there is no content.
        """
        ticket = self.breaker.admit()
        if ticket is None:
            raise EndpointSuspendedError(self.breaker.retry_in_s())
        try:
            with span("model.generate", attributes={"model": request.model}):
                reply = await self._endpoint.generate(request, traceparent=current_traceparent())
        except ModelFailure as failure:
            if failure.endpoint_fault:
                self.breaker.failed(ticket)
            else:
                self.breaker.succeeded(ticket)
            raise
        except BaseException:
            self.breaker.abandoned(ticket)
            raise
        self.breaker.succeeded(ticket)
        self._answered()
        return Answer(reply, self._usage(request, reply.prompt_tokens, reply.output_tokens))

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
