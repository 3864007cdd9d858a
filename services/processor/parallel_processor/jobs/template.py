"""Templates as the optimizer publishes them: what prompts can be rendered from here while it is away."""

from __future__ import annotations

from dataclasses import dataclass

from service_common.output_contract import OutputContract

from parallel_processor.jobs.piece import Sampling

DEFAULT_MAX_VARIABLE_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class TemplateVariable:
    """One variable of a template.

    Attributes:
        name: Its name.
        required: Whether a request must give it.
        default_value: What it is otherwise.
        max_bytes: The most bytes a value may have.
    """

    name: str
    required: bool = False
    default_value: str = ""
    max_bytes: int = DEFAULT_MAX_VARIABLE_BYTES


@dataclass(frozen=True, slots=True)
class TemplateVersion:
    """One immutable version of a template, as the optimizer published it.

    Attributes:
        tenant: Whose it is; empty for a built-in one.
        template_id: The template.
        version: Its number.
        content_type: Of its output.
        messages: Pairs of role and source.
        variables: The variables its messages use.
        sampling: How to sample.
        model: The model to ask; empty for the default.
        output_contract: What its output must be like; None if anything goes.
        handlers: What its output goes through.
    """

    tenant: str
    template_id: str
    version: int
    content_type: str
    messages: tuple[tuple[str, str], ...]
    variables: tuple[TemplateVariable, ...]
    sampling: Sampling
    model: str = ""
    output_contract: OutputContract | None = None
    handlers: tuple[str, ...] = ()
