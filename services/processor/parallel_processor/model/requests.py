"""What a model is asked, and what it answered."""

from __future__ import annotations

from service_common.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation.

    Attributes:
        role: `system`, `user` or `assistant`.
        content: What is said.
    """

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One completion to ask for.

    Attributes:
        model: The model, as the endpoint names it.
        messages: The conversation so far.
        max_tokens: The most tokens to generate.
        temperature: Randomness; None leaves it to the endpoint.
        top_p: Nucleus sampling; None leaves it to the endpoint.
        seed: Seed of the sampling; None sends none.
        stop: Texts at which generation stops.
    """

    model: str
    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """What one call took.

    Attributes:
        prompt_tokens: Tokens of the prompt.
        output_tokens: Tokens of the output, reasoning included.
        estimated: Whether the endpoint did not say, so that these are guesses from the lengths of the texts.
    """

    prompt_tokens: int
    output_tokens: int
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class ModelReply:
    """One completion.

    Attributes:
        text: The content; may be empty when all tokens went into reasoning.
        model: The model that answered, as the endpoint names it.
        truncated: Whether it ended because max_tokens was reached.
        prompt_tokens: Tokens of the prompt.
        output_tokens: Tokens of the output.
        latency_s: From sending the request to having the whole reply.
        usage_estimated: Whether the endpoint sent no usage, so that the token counts are guesses.
        first_token_s: From sending the request to the first token; None when the reply came whole.
    """

    text: str
    model: str
    truncated: bool
    prompt_tokens: int
    output_tokens: int
    latency_s: float
    usage_estimated: bool = False
    first_token_s: float | None = None
