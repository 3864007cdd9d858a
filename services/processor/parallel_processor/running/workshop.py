"""What all runs share, and how a prompt becomes an order: the request to the model and its cache key."""

from __future__ import annotations

from dataclasses import dataclass, field

from service_common.clock import Clock

from parallel_processor.cache_key import cache_key
from parallel_processor.handlers.post_processing import PostProcessing
from parallel_processor.jobs.piece import PieceSpec
from parallel_processor.model.requests import Message, ModelRequest
from parallel_processor.running.content import Content
from parallel_processor.running.latencies import Latencies
from parallel_processor.running.making import Making
from parallel_processor.running.order import Order
from parallel_processor.running.ports import Prompt
from parallel_processor.running.prompts import Prompts
from parallel_processor.running.quarantine import Quarantine


@dataclass(frozen=True, slots=True)
class Workshop:
    """What all runs share.

    Attributes:
        prompts: Makes prompts of specs.
        content: The cache.
        making: Makes pieces.
        post_processing: Sends them through their handlers.
        default_model: The model of items for which nobody names one.
        max_output_tokens: The most tokens the endpoint is asked for in one piece; None: as prompts say.
        clock: Time.
        patience_s: How long an item waits for what someone else generates.
        urgent_patience_s: The same, for items of urgent jobs.
        latencies: How fast answers can come.
        quarantine: Makes items that may be what kills workers.
    """

    prompts: Prompts
    content: Content
    making: Making
    post_processing: PostProcessing
    default_model: str
    max_output_tokens: int | None
    clock: Clock
    patience_s: float
    urgent_patience_s: float
    latencies: Latencies = field(default_factory=Latencies)
    quarantine: Quarantine = field(default_factory=Quarantine)


def order_of(
    spec: PieceSpec, prompt: Prompt, *, tenant: str, default_model: str, max_output_tokens: int | None
) -> Order:
    """Return the order for a prompt: the request that goes to the model, and its cache key.

    The limit on the output is applied here, before the key is made: a piece that was cut short for one
    endpoint is never the answer to a request that another one may answer in full.
    """
    sampling = prompt.sampling
    request = ModelRequest(
        model=prompt.model or default_model,
        messages=tuple(Message(role, content) for role, content in prompt.messages),
        max_tokens=_at_most(sampling.max_tokens, max_output_tokens),
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        seed=sampling.seed,
        stop=sampling.stop,
    )
    return Order(
        spec,
        prompt,
        request,
        cache_key(tenant, request, variation=spec.variation),
        contract=spec.output_contract or prompt.output_contract,
        handlers=spec.handlers or prompt.handlers,
    )


def _at_most(tokens: int, limit: int | None) -> int:
    return tokens if limit is None else min(tokens, limit)
