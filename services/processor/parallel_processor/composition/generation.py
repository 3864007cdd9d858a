"""What makes pieces, put together: prompts, lanes, model calls, handlers, and what is learned of them."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from service_common.config import ConfigError, Problem
from service_common.telemetry.metrics import show

from parallel_processor import metrics
from parallel_processor.composition.base import Base
from parallel_processor.composition.calling import hedging, model_calls
from parallel_processor.composition.limiting import guard_of, open_lanes
from parallel_processor.config import Settings
from parallel_processor.handlers import builtin
from parallel_processor.handlers.post_processing import PostProcessing
from parallel_processor.handlers.registry import HandlersError, Registry, load
from parallel_processor.limits.lanes import Lanes
from parallel_processor.neighbours.cache import LEASE_RENEWAL_S
from parallel_processor.recorder import Recorder, measured
from parallel_processor.running.accepting import Acceptance
from parallel_processor.running.calls import ModelCalls
from parallel_processor.running.content import Content
from parallel_processor.running.making import Making
from parallel_processor.running.outcomes import Outcomes
from parallel_processor.running.prompts import Prompts
from parallel_processor.running.retry_budget import RetryBudgets
from parallel_processor.running.similar import SimilarAnswers
from parallel_processor.running.versions import ActiveVersions
from parallel_processor.running.workshop import Workshop

_MEASURES_S = 5.0
"""How often what calls took is written, for estimates to come."""


@dataclass(frozen=True, slots=True)
class Generation:
    """What makes pieces."""

    lanes: Lanes
    calls: ModelCalls
    content: Content
    outcomes: Outcomes
    versions: ActiveVersions
    recorder: Recorder
    workshop: Workshop

    def background(self, base: Base) -> dict[str, Coroutine[Any, Any, None]]:
        """Return what goes on beside the making, for ever, by name."""
        return {
            "versions": self.versions.follow(base.rng),
            "leases": self.content.keep_leases(LEASE_RENEWAL_S),
            "outcomes": self.outcomes.deliver_backlog(),
            "guard": guard_of(base.settings, self.lanes, clock=base.clock).run(),
            "measures": self.recorder.run(),
        }


async def open_generation(base: Base) -> Generation:
    """Put together what makes pieces.

    Raises:
        ConfigError: If a URL, a file or the handlers cannot be used.
    """
    settings, neighbours = base.settings, base.neighbours
    lanes = open_lanes(settings, base.pace, clock=base.clock, rng=base.rng)
    calls = model_calls(settings, base.lifecycle, lanes=lanes, clock=base.clock, rng=base.rng)
    outcomes = Outcomes(neighbours.optimizer, score_wait_s=settings.processor_score_wait_s)
    show(metrics.OUTCOMES_DROPPED, lambda: outcomes.dropped)
    versions = ActiveVersions(base.stores.versions, neighbours.optimizer, all_tenants=neighbours.acts_for_all)
    await versions.load()
    content = Content(
        neighbours.cache,
        similar=SimilarAnswers(neighbours.similar, clock=base.clock),
        keep_cut=settings.processor_cache_truncated,
    )
    recorder = Recorder(base.stores.measures, interval_s=_MEASURES_S)
    making = _making(base, lanes, calls, content=content, outcomes=outcomes, recorder=recorder)
    prompts = Prompts(neighbours.optimizer, versions, rng=base.rng)
    workshop = _workshop(base, prompts, making, content=content)
    return Generation(lanes, calls, content, outcomes, versions, recorder, workshop)


def _making(
    base: Base, lanes: Lanes, calls: ModelCalls, *, content: Content, outcomes: Outcomes, recorder: Recorder
) -> Making:
    budgets = RetryBudgets()
    show(metrics.RETRY_BUDGET, lambda: budgets.left(base.clock.monotonic()))
    return Making(
        content=content,
        calls=calls,
        outcomes=outcomes,
        lanes=lanes,
        clock=base.clock,
        rng=base.rng,
        max_attempts=base.settings.processor_max_attempts,
        on_spend=metrics.observe_spend,
        on_error=metrics.observe_error,
        budgets=budgets,
        hedging=hedging(base.settings, calls, clock=base.clock),
        acceptance=Acceptance(metrics.observe_repair),
        on_answer=lambda owner, order, answer: measured(recorder, owner, order, answer),
    )


def _workshop(base: Base, prompts: Prompts, making: Making, *, content: Content) -> Workshop:
    settings = base.settings
    return Workshop(
        prompts=prompts,
        content=content,
        making=making,
        post_processing=PostProcessing(
            _handlers(settings),
            threads=settings.processor_handler_threads,
            clock=base.clock,
            observe=metrics.observe_handler,
        ),
        default_model=settings.processor_model,
        max_output_tokens=settings.processor_max_output_tokens,
        clock=base.clock,
        patience_s=settings.processor_patience_s,
        urgent_patience_s=settings.processor_urgent_patience_s,
    )


def _handlers(settings: Settings) -> Registry:
    registry = Registry(timeout_s=settings.processor_handler_timeout_s)
    builtin.register(registry)
    try:
        load(registry, settings.processor_handlers)
    except HandlersError as error:
        raise ConfigError([Problem("PROCESSOR_HANDLERS", str(error))]) from error
    return registry
