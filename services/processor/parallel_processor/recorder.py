"""Measures of calls on their way to the store: gathered here, written now and then, one document a tenant.

They are advice, not accounts: what a killed process had not written yet is missing, and nothing else suffers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

import structlog
from service_common.errors import ServiceError

from parallel_processor.estimating.measure import Kind, Measure, Measures, MeasureTally, merged
from parallel_processor.running.calls import Answer
from parallel_processor.running.order import Order
from parallel_processor.running.ports import Owner

_log = structlog.get_logger("parallel_processor.recorder")
_MAX_KINDS = 10_000
"""Kinds of calls that are kept in mind between two writes, over all tenants; others are not measured."""


class MeasureStore(Protocol):
    """Where measures are kept."""

    async def read(self, tenant: str) -> Measures:
        """Return a tenant's measures."""
        ...

    async def merge(self, tenant: str, measures: Measures) -> None:
        """Add to a tenant's measures."""
        ...


class Recorder:
    """Measures answered calls. Its mutable state: what was measured and not written yet."""

    def __init__(self, store: MeasureStore, *, interval_s: float) -> None:
        """Prepare to measure.

        Args:
            store: Where measures are kept.
            interval_s: The time between two writes.
        """
        self._store = store
        self._interval_s = interval_s
        self._tallies: dict[str, dict[Kind, MeasureTally]] = {}
        self._kinds = 0

    def tally(self, tenant: str, kind: Kind) -> MeasureTally | None:
        """Return where calls of one kind are counted; None when there are too many kinds."""
        of_tenant = self._tallies.setdefault(tenant, {})
        found = of_tenant.get(kind)
        if found is None and self._kinds < _MAX_KINDS:
            found = of_tenant[kind] = MeasureTally()
            self._kinds += 1
        return found

    async def measures(self, tenant: str) -> Mapping[Kind, Measure]:
        """Return all that is known of a tenant's calls, what is not written yet included.

        Raises:
            ServiceError: UNAVAILABLE if the store is away.
        """
        stored = await self._store.read(tenant)
        return merged(stored, _read(self._tallies.get(tenant, {})))

    async def run(self) -> None:
        """Write what was measured, now and then, for ever."""
        while True:
            await asyncio.sleep(self._interval_s)
            await self.flush()

    async def flush(self) -> None:
        """Write what was measured; what the store does not take is given up."""
        taken, self._tallies, self._kinds = self._tallies, {}, 0
        for tenant, tallies in taken.items():
            try:
                await self._store.merge(tenant, _read(tallies))
            except ServiceError as error:
                _log.info("measures_not_written", reason=error.reason)


def measured(recorder: Recorder, owner: Owner, order: Order, answer: Answer) -> None:
    """Count a call that was answered."""
    tally = recorder.tally(
        owner.tenant, Kind(order.request.model, order.prompt.content_type, order.request.max_tokens)
    )
    reply = answer.reply
    if tally is not None and not reply.usage_estimated:
        tally.add(
            prompt_characters=sum(len(each.content) for each in order.request.messages),
            prompt_tokens=reply.prompt_tokens,
            output_characters=len(reply.text),
            output_tokens=reply.output_tokens,
            seconds=reply.latency_s,
        )


def _read(tallies: Mapping[Kind, MeasureTally]) -> dict[Kind, Measure]:
    return {kind: each.read() for kind, each in tallies.items()}
