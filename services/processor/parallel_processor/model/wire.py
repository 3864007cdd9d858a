"""The chat-completions format: a request as bytes, and bytes as a reply or a failure. Pure."""

from __future__ import annotations

from typing import Any, Literal

import orjson

from parallel_processor.model.failures import FailureClass, Fate, ModelFailure
from parallel_processor.model.requests import ModelReply, ModelRequest, TokenUsage
from parallel_processor.model.tokens import estimate_tokens

MaxTokensField = Literal["max_tokens", "max_completion_tokens"]
"""What the endpoint calls the limit on output: reasoning models of OpenAI know only the second name."""

_TEMPLATE_TOKENS_PER_MESSAGE = 4
_SUCCESS = 200


def encode_request(
    request: ModelRequest, *, max_tokens_field: MaxTokensField, streamed: bool = False
) -> bytes:
    """Write the body of a chat completion request; what is None or empty is left out."""
    body: dict[str, Any] = {
        "model": request.model,
        "messages": [{"role": each.role, "content": each.content} for each in request.messages],
        max_tokens_field: request.max_tokens,
    }
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.top_p is not None:
        body["top_p"] = request.top_p
    if request.seed is not None:
        body["seed"] = request.seed
    if request.stop:
        body["stop"] = request.stop
    if streamed:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    return orjson.dumps(body)


def decode_reply(body: bytes, request: ModelRequest, *, latency_s: float) -> ModelReply:
    """Read the body of a successful answer.

    Raises:
        ModelFailure: MALFORMED if it is no chat completion, CONTENT_FILTERED if a filter stopped the output.
    """
    parsed = _json_object(body)
    choice = _first_choice(parsed)
    message = choice.get("message")
    if not isinstance(message, dict):
        raise malformed("the choice has no message")
    finish = choice.get("finish_reason")
    text = text_of(message.get("content"))
    usage = told_usage(parsed.get("usage")) or estimated_usage(request, text)
    if finish == "content_filter" or message.get("refusal"):
        raise filtered(usage)
    model = parsed.get("model")
    return ModelReply(
        text,
        model if isinstance(model, str) and model else request.model,
        finish == "length",
        usage.prompt_tokens,
        usage.output_tokens,
        latency_s,
        usage.estimated,
    )


def decode_models(body: bytes) -> tuple[str, ...]:
    """Read the body of a listing of models.

    Raises:
        ModelFailure: MALFORMED if it is no such listing.
    """
    data = _json_object(body).get("data")
    if not isinstance(data, list):
        raise malformed("the listing of models has no data")
    ids = [each.get("id") for each in data if isinstance(each, dict)]
    return tuple(each for each in ids if isinstance(each, str))


def malformed(why: str) -> ModelFailure:
    """Make the failure for an answer that cannot be understood; it may have been paid for."""
    return ModelFailure(
        FailureClass.MALFORMED,
        f"the model endpoint's answer is not a chat completion: {why}",
        fate=Fate.UNKNOWN,
        status=_SUCCESS,
    )


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # The parser's own words would quote the body.
        raise malformed("it is not JSON") from error
    if not isinstance(parsed, dict):
        raise malformed("it is not an object")
    return parsed


def _first_choice(parsed: dict[str, Any]) -> dict[str, Any]:
    choices = parsed.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise malformed("it carries an error" if parsed.get("error") else "it has no choices")
    return choices[0]


def text_of(content: Any) -> str:
    """Read the content of a message, or of a piece of one.

    Raises:
        ModelFailure: MALFORMED if it is no text.
    """
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(part for part in parts if isinstance(part, str))
    raise malformed("the content is not text")


def told_usage(usage: Any) -> TokenUsage | None:
    """Read what an answer says it took; None when it does not say."""
    if isinstance(usage, dict):
        prompt, output = usage.get("prompt_tokens"), usage.get("completion_tokens")
        if type(prompt) is int and type(output) is int and prompt >= 0 and output >= 0:
            return TokenUsage(prompt, output)
    return None


def estimated_usage(request: ModelRequest, text: str) -> TokenUsage:
    """Guess what an answer took from the lengths of the texts."""
    prompt = sum(_TEMPLATE_TOKENS_PER_MESSAGE + estimate_tokens(each.content) for each in request.messages)
    return TokenUsage(prompt, estimate_tokens(text), estimated=True)


def filtered(usage: TokenUsage) -> ModelFailure:
    """Make the failure for an output that a filter stopped or the model refused."""
    told = not usage.estimated
    return ModelFailure(
        FailureClass.CONTENT_FILTERED,
        "the model refused or its output was stopped by a content filter",
        fate=Fate.BILLED if told else Fate.UNKNOWN,
        status=_SUCCESS,
        usage=usage if told else None,
    )
