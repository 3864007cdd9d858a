"""What to generate, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import Enum
from types import MappingProxyType

from service_common.frozen import dataclass
from service_common.output_contract import OutputContract

NO_LABELS: Mapping[str, str] = MappingProxyType({})


class CachePolicy(Enum):
    """How a piece uses the cache."""

    USE = "USE"
    REFRESH = "REFRESH"
    BYPASS = "BYPASS"
    USE_SIMILAR = "USE_SIMILAR"

    @property
    def reads(self) -> bool:
        """Whether it takes what is there."""
        return self is CachePolicy.USE or self is CachePolicy.USE_SIMILAR


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a model is to sample; None leaves a parameter to the endpoint.

    Attributes:
        max_tokens: The most tokens to generate.
        temperature: Randomness, 0 to 2.
        top_p: Nucleus sampling, more than 0, at most 1.
        seed: For endpoints that support one.
        stop: Texts at which generation stops.
    """

    max_tokens: int
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RawPrompt:
    """A prompt taken literally: pairs of role (system, user, assistant) and content, and how to sample."""

    messages: tuple[tuple[str, str], ...]
    sampling: Sampling


@dataclass(frozen=True, slots=True)
class PieceSpec:
    """What to generate: from a template with variables, or from a raw prompt.

    Attributes:
        template_id: The template; None with a raw prompt.
        raw: The prompt; None with a template.
        template_version: The version to use; 0 for the active one.
        variables: Values of the template's variables.
        content_type: The content type of the output; empty for the template's own.
        model: The model to ask; empty for the default.
        max_tokens: The most tokens to generate, if fewer than the template says; 0 for as the template says.
        variation: Tells several pieces of one prompt apart.
        cache_policy: How to use the cache; None for the job's policy.
        output_contract: What the output must be like; None for the template's.
        handlers: What the output goes through; empty for the template's.
        fallback_models: Models to ask, in this order, when its own cannot be had.
    """

    template_id: str | None = None
    raw: RawPrompt | None = None
    template_version: int = 0
    variables: Mapping[str, str] = field(default_factory=dict)
    content_type: str = ""
    model: str = ""
    max_tokens: int = 0
    variation: int = 0
    cache_policy: CachePolicy | None = None
    output_contract: OutputContract | None = None
    handlers: tuple[str, ...] = ()
    fallback_models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """Content, and how it came to be.

    Attributes:
        content: The text.
        content_type: For example `faq`.
        model: The model that wrote it.
        template_id: Empty for a raw prompt.
        template_version: 0 for a raw prompt.
        cache_key: The key it is cached under; another prompt's when it is that one's answer.
        cached: Whether no model was called for it.
        truncated: Whether it ended because max_tokens was reached.
        prompt_tokens: As the endpoint counted when it was generated.
        output_tokens: As the endpoint counted when it was generated.
        cost_micros: What generating it cost, in micros of US dollars, whoever paid.
        quality: Its score, 0 to 1; None when it was not scored.
        generate_s: How long the model took, in seconds; 0 when cached.
        similarity: Of the prompt whose answer it is, up to 1; None when it was made for its own.
    """

    content: str
    content_type: str
    model: str
    template_id: str
    template_version: int
    cache_key: str
    cached: bool
    truncated: bool
    prompt_tokens: int
    output_tokens: int
    cost_micros: int
    quality: float | None
    generate_s: float
    similarity: float | None = None


@dataclass(frozen=True, slots=True)
class PieceError:
    """Why there is no content: a reason of the registry, and words for people."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What model calls took; sums up.

    Attributes:
        prompt_tokens: Of all answered calls.
        output_tokens: Of all answered calls.
        model_calls: Calls that were answered.
        cost_micros: What they cost.
        saved_micros: What cached pieces would have cost again.
        uncertain_calls: Calls whose fate is unknown.
        uncertain_spend_micros: The most those may have cost; not part of cost_micros.
    """

    prompt_tokens: int = 0
    output_tokens: int = 0
    model_calls: int = 0
    cost_micros: int = 0
    saved_micros: int = 0
    uncertain_calls: int = 0
    uncertain_spend_micros: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.output_tokens + other.output_tokens,
            self.model_calls + other.model_calls,
            self.cost_micros + other.cost_micros,
            self.saved_micros + other.saved_micros,
            self.uncertain_calls + other.uncertain_calls,
            self.uncertain_spend_micros + other.uncertain_spend_micros,
        )
