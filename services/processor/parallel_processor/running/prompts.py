"""Prompts for items: from the optimizer, and while it is away from the active versions kept here (law 4)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence

from service_common.errors import ServiceError

from parallel_processor.jobs.piece import PieceSpec
from parallel_processor.running.outages import Backoff, is_outage
from parallel_processor.running.ports import OptimizerPort, Owner, Prompt
from parallel_processor.running.rendering import raw_prompt, render
from parallel_processor.running.versions import ActiveVersions

_BATCH_ITEMS = 200
_BATCH_BYTES = 2_000_000
"""Kept well under the optimizer's largest message, since prompts come back larger than variables go out."""


class Prompts:
    """Turns specs into prompts. An outage makes nothing fail: what cannot be rendered here waits."""

    def __init__(self, optimizer: OptimizerPort, versions: ActiveVersions, *, rng: random.Random) -> None:
        self._optimizer = optimizer
        self._versions = versions
        self._rng = rng

    async def prepare(
        self, owner: Owner, specs: Sequence[PieceSpec], *, patient: bool = True
    ) -> list[Prompt | ServiceError]:
        """Return one prompt per spec, in order, or why there can be none.

        Args:
            owner: On whose behalf.
            specs: What to generate.
            patient: Whether to wait for the optimizer if a template is not known here; otherwise its outage
                is the answer.
        """
        results: list[Prompt | ServiceError | None] = [None] * len(specs)
        backoff = Backoff(base_s=0.5, cap_s=8.0, rng=self._rng)
        missing = list(range(len(specs)))
        while missing:
            outage = None
            for part in _bounded(specs, missing):
                outage = await self._prepare_part(owner, specs, part, results) or outage
            missing = [index for index in missing if results[index] is None]
            if missing and outage and not patient:
                return [each or outage for each in results]
            if missing:
                await asyncio.sleep(backoff.next_s(floor_s=0.1))
        return [each for each in results if each is not None]

    async def _prepare_part(
        self,
        owner: Owner,
        specs: Sequence[PieceSpec],
        part: Sequence[int],
        results: list[Prompt | ServiceError | None],
    ) -> ServiceError | None:
        """Fill in the results of some specs; returns the outage that kept the optimizer away, if any."""
        try:
            answers = await self._optimizer.optimize(owner, [specs[index] for index in part])
        except ServiceError as error:
            if not is_outage(error):
                raise
            for index in part:
                results[index] = self._render_here(owner, specs[index])
            return error
        outage = None
        for index, answer in zip(part, answers, strict=True):
            if isinstance(answer, ServiceError) and is_outage(answer):
                outage, results[index] = answer, self._render_here(owner, specs[index])
            elif isinstance(answer, Prompt | ServiceError):
                results[index] = answer
        return outage

    def _render_here(self, owner: Owner, spec: PieceSpec) -> Prompt | ServiceError | None:
        """Render the active version kept here; None when this one is not known here."""
        if spec.raw is not None:
            return raw_prompt(spec)
        version = self._versions.active(owner.tenant, spec.template_id or "")
        if version is None or spec.template_version not in (0, version.version):
            return None
        try:
            return render(version, spec)
        except ServiceError as error:
            return error


def _bounded(specs: Sequence[PieceSpec], indexes: Sequence[int]) -> Iterator[list[int]]:
    """Cut a list of specs into parts of bounded count and size."""
    part: list[int] = []
    size = 0
    for index in indexes:
        spec = specs[index]
        weight = sum(len(each.encode()) for each in spec.variables.values())
        if spec.raw is not None:
            weight += sum(len(content.encode()) for _, content in spec.raw.messages)
        if part and (len(part) >= _BATCH_ITEMS or size + weight > _BATCH_BYTES):
            yield part
            part, size = [], 0
        part.append(index)
        size += weight
    if part:
        yield part
