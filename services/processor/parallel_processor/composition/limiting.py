"""The lanes to the model endpoint and the guard of this machine, as the settings want them."""

from __future__ import annotations

import random

from service_common.clock import Clock

from parallel_processor import metrics
from parallel_processor.composition.pacing import Pacing
from parallel_processor.config import Settings
from parallel_processor.limits.guard import Guard
from parallel_processor.limits.lanes import Lanes
from parallel_processor.limits.pressure import PressurePolicy
from parallel_processor.queueing.tenant_weights import parse_tenant_weights


def open_lanes(settings: Settings, pacing: Pacing, *, clock: Clock, rng: random.Random) -> Lanes:
    """Make the lanes; each is shown in the metrics as it is opened."""
    lanes = Lanes(
        settings.processor_max_concurrency,
        clock=clock,
        rng=rng,
        prepares=not pacing.commits.ahead.left,
        tenant_weights=parse_tenant_weights(settings.processor_tenant_weights),
        on_turn=metrics.observe_turn,
        on_lane=lambda model: metrics.show_lane(model, lambda: lanes.find(model)),
    )
    return lanes


def guard_of(settings: Settings, lanes: Lanes, *, clock: Clock) -> Guard:
    """Make the guard that lowers the lanes' ceiling while this machine is short of something."""
    policy = PressurePolicy(
        memory_high=settings.processor_memory_high, cpu_wait_high=settings.processor_cpu_wait_high
    )
    return Guard(policy, most=lanes.most, clock=clock, press=lanes.press)
