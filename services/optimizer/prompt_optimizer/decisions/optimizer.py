"""From requests to prompts: which version, its messages rendered, its parameters within the caller's limits.

What comes out is what the version says and nothing else, so that whoever holds the version can make the same
prompt while this service is away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import Protocol, TypeAlias

from service_common.errors import ServiceError
from service_common.frozen import dataclass
from service_common.output_contract import OutputContract

from prompt_optimizer.decisions.decision import Decision, DecisionIds, sticky_unit
from prompt_optimizer.decisions.tokens import estimate_tokens
from prompt_optimizer.templates.catalogue import Catalogue
from prompt_optimizer.templates.compiled import CompiledVersion
from prompt_optimizer.templates.shelf import Shelf
from prompt_optimizer.templates.source import Message, Sampling
from prompt_optimizer.templates.stored import StoredTemplates
from prompt_optimizer.templates.template import (
    Family,
    Template,
    VersionKey,
    template_not_found,
    version_not_found,
)

RAW_CONTENT_TYPE = "text"


@dataclass(frozen=True, slots=True)
class RawPrompt:
    """A prompt taken literally."""

    messages: tuple[Message, ...]
    sampling: Sampling


@dataclass(frozen=True, slots=True)
class PromptRequest:
    """What a prompt is wanted for.

    Attributes:
        template_id: The template; empty with a raw prompt.
        raw: The prompt itself; None with a template.
        version: The version; 0 for the active one.
        variables: Values of the template's variables.
        content_type: Of the output; empty for the template's.
        model: The model; empty for the version's.
        max_tokens: Upper limit of the output; 0 for the version's.
    """

    template_id: str = ""
    raw: RawPrompt | None = None
    version: int = 0
    variables: Mapping[str, str] = field(default_factory=dict)
    content_type: str = ""
    model: str = ""
    max_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Prompt:
    """What to send to a model, and the decision behind it."""

    decision_id: str
    decision: Decision
    messages: tuple[Message, ...]
    sampling: Sampling
    model: str
    estimated_prompt_tokens: int
    estimated_output_tokens: int
    output_contract: OutputContract | None = None
    handlers: tuple[str, ...] = ()


Result: TypeAlias = Prompt | ServiceError


class OutputLengths(Protocol):
    """How long outputs of versions have been."""

    async def mean_output_tokens(self, tenant: str, keys: Sequence[VersionKey]) -> Mapping[VersionKey, float]:
        """Return the mean length of each version's outputs, for those that have any and are known."""
        ...


class Optimizer:
    """Answers requests from memory; the store is asked only for what is not there yet."""

    def __init__(
        self,
        catalogue: Catalogue,
        shelf: Shelf,
        stored: StoredTemplates,
        *,
        lengths: OutputLengths,
        ids: DecisionIds,
    ) -> None:
        self._catalogue = catalogue
        self._shelf = shelf
        self._stored = stored
        self._lengths = lengths
        self._ids = ids

    async def optimize(self, tenant: str, requests: Sequence[PromptRequest | ServiceError]) -> list[Result]:
        """Return a prompt or an error for each request, in order.

        Args:
            tenant: Whose templates to use.
            requests: What is wanted; an error in a request's place is returned as it is.

        Raises:
            ServiceError: UNAVAILABLE if something is not at hand and the store cannot be reached.
        """
        good = iter(
            await self._prompts(tenant, [each for each in requests if isinstance(each, PromptRequest)])
        )
        return [each if isinstance(each, ServiceError) else next(good) for each in requests]

    async def _prompts(self, tenant: str, requests: Sequence[PromptRequest]) -> list[Result]:
        templates = await self._templates(tenant, {each.template_id for each in requests if not each.raw})
        keys = [_version_key(each, templates) for each in requests]
        wanted = [key for key in dict.fromkeys(keys) if key is not None]
        compiled = await self._shelf.fetch(tenant, wanted)
        lengths = await self._lengths.mean_output_tokens(tenant, list(compiled))
        return [
            self._result(tenant, request, key=key, compiled=compiled, lengths=lengths)
            for request, key in zip(requests, keys, strict=True)
        ]

    async def _templates(self, tenant: str, ids: set[str]) -> dict[str, Template]:
        found: dict[str, Template] = {}
        for template_id in ids:
            template = self._catalogue.find(tenant, template_id)
            if template is None:
                # It may have been created a moment ago through another process.
                template = await self._stored.template(tenant, template_id)
                if template is None:
                    continue
                self._catalogue.put(tenant, template)
            found[template_id] = template
        return found

    def _result(
        self,
        tenant: str,
        request: PromptRequest,
        *,
        key: VersionKey | None,
        compiled: Mapping[VersionKey, CompiledVersion],
        lengths: Mapping[VersionKey, float],
    ) -> Result:
        try:
            if request.raw is not None:
                return self._from_raw(tenant, request, request.raw)
            if key is None:
                raise template_not_found(request.template_id)
            if key not in compiled:
                raise version_not_found(request.template_id, key.version)
            return self._from_version(
                tenant, request, key=key, compiled=compiled[key], length=lengths.get(key)
            )
        except ServiceError as error:
            return error

    def _from_raw(self, tenant: str, request: PromptRequest, raw: RawPrompt) -> Prompt:
        content = "".join(f"{each.role.value}\0{each.content}\0" for each in raw.messages)
        decision = Decision(
            family=Family(""),
            version=0,
            content_type=request.content_type or RAW_CONTENT_TYPE,
            unit=sticky_unit(tenant, "", {"raw": content}),
        )
        return self._prompt(
            tenant,
            decision,
            messages=raw.messages,
            sampling=_limited(raw.sampling, request.max_tokens),
            model=request.model,
            length=None,
        )

    def _from_version(
        self,
        tenant: str,
        request: PromptRequest,
        *,
        key: VersionKey,
        compiled: CompiledVersion,
        length: float | None,
    ) -> Prompt:
        version = compiled.version
        decision = Decision(
            family=key.family,
            version=key.version,
            content_type=request.content_type or version.content_type,
            unit=sticky_unit(tenant, request.template_id, request.variables),
        )
        prompt = self._prompt(
            tenant,
            decision,
            messages=compiled.render(request.variables),
            sampling=_limited(version.source.sampling, request.max_tokens),
            model=request.model or version.source.model,
            length=length,
        )
        if version.source.output_contract is None and not version.source.handlers:
            return prompt
        return replace(
            prompt, output_contract=version.source.output_contract, handlers=version.source.handlers
        )

    def _prompt(
        self,
        tenant: str,
        decision: Decision,
        *,
        messages: tuple[Message, ...],
        sampling: Sampling,
        model: str,
        length: float | None,
    ) -> Prompt:
        limit = sampling.max_tokens
        return Prompt(
            decision_id=self._ids.write(tenant, decision),
            decision=decision,
            messages=messages,
            sampling=sampling,
            model=model,
            estimated_prompt_tokens=estimate_tokens(each.content for each in messages),
            # Without experience the limit is the one length that is never exceeded.
            estimated_output_tokens=limit if length is None else min(limit, max(1, round(length))),
        )


def _version_key(request: PromptRequest, templates: Mapping[str, Template]) -> VersionKey | None:
    template = templates.get(request.template_id)
    if request.raw is not None or template is None:
        return None
    return VersionKey(template.family, request.version or template.active_version)


def _limited(sampling: Sampling, max_tokens: int) -> Sampling:
    if not 0 < max_tokens < sampling.max_tokens:
        return sampling
    return replace(sampling, max_tokens=max_tokens)
