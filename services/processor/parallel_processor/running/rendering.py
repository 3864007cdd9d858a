"""Prompts without the optimizer: the active version's messages, rendered here exactly as there (law 4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from service_common.errors import ErrorKind, FieldViolation, ServiceError
from service_common.templating import compile_template

from parallel_processor.jobs.piece import PieceSpec, Sampling
from parallel_processor.jobs.template import TemplateVariable, TemplateVersion
from parallel_processor.running.ports import Prompt

DEFAULT_CONTENT_TYPE = "text"


def raw_prompt(spec: PieceSpec) -> Prompt:
    """Return the prompt of a spec that needs no template."""
    assert spec.raw is not None
    return Prompt(
        messages=spec.raw.messages,
        sampling=_limited(spec.raw.sampling, spec.max_tokens),
        model=spec.model,
        template_id="",
        template_version=0,
        content_type=spec.content_type or DEFAULT_CONTENT_TYPE,
    )


def render(version: TemplateVersion, spec: PieceSpec) -> Prompt:
    """Return the prompt that the optimizer would make of a spec with a version.

    Raises:
        ServiceError: INVALID_ARGUMENT, reason INVALID_VARIABLE, naming the variable.
    """
    values = _values(version.variables, spec.variables)
    return Prompt(
        messages=tuple((role, compile_template(source).render(values)) for role, source in version.messages),
        sampling=_limited(version.sampling, spec.max_tokens),
        model=spec.model or version.model,
        template_id=version.template_id,
        template_version=version.version,
        content_type=spec.content_type or version.content_type,
        output_contract=version.output_contract,
        handlers=version.handlers,
    )


def _limited(sampling: Sampling, max_tokens: int) -> Sampling:
    return replace(sampling, max_tokens=min(sampling.max_tokens, max_tokens)) if max_tokens else sampling


def _values(declared: tuple[TemplateVariable, ...], given: Mapping[str, str]) -> dict[str, str]:
    names = {each.name for each in declared}
    problems = [
        FieldViolation(f"spec.variables.{name}", "the template has no such variable")
        for name in given.keys() - names
    ]
    for each in declared:
        if each.required and each.name not in given:
            problems.append(FieldViolation(f"spec.variables.{each.name}", "is required"))
        elif len(given.get(each.name, "").encode()) > each.max_bytes:
            problems.append(
                FieldViolation(f"spec.variables.{each.name}", f"must be at most {each.max_bytes} bytes")
            )
    if problems:
        words = "; ".join(f"{each.field}: {each.description}" for each in problems)
        raise ServiceError(ErrorKind.INVALID_ARGUMENT, "INVALID_VARIABLE", words, violations=problems)
    return {each.name: given.get(each.name, each.default_value) for each in declared}
