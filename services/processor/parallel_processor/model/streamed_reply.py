"""A completion that comes in pieces: what has come so far, and the reply or the failure it ends in. Pure.

It reads the chunks of OpenAI's streamed chat completions as the many endpoints send them that speak it: usage
in a chunk of its own, with the last piece, with every piece or not at all; errors in mid-stream; a last
`[DONE]` that some leave out.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from parallel_processor.model.classify import classify
from parallel_processor.model.failures import FailureClass, Fate, ModelFailure
from parallel_processor.model.requests import ModelReply, ModelRequest, TokenUsage
from parallel_processor.model.wire import estimated_usage, filtered, malformed, text_of, told_usage

DONE = b"[DONE]"
_ERRORS = range(400, 600)
_SERVER_ERROR = 500
_REASONING = ("reasoning_content", "reasoning")


class StreamedReply:
    """One completion as it comes.

    Its mutable state: the texts so far, and what the chunks said beside them.

    Attributes:
        begun: Whether the model has begun to write, be it what is not shown.
        finished: Whether the text is whole.
        over: Whether the endpoint said that nothing more is to come.
    """

    def __init__(self, request: ModelRequest) -> None:
        self._request = request
        self._texts: list[str] = []
        self._model = ""
        self._finish_reason: str | None = None
        self._usage: TokenUsage | None = None
        self._usage_is_final = False
        self._refused = False
        self._understood = False
        self.begun = False
        self.finished = False
        self.over = False

    def take(self, event: bytes, *, now: datetime) -> str:
        """Read one event.

        Args:
            event: Its data.
            now: The time, for hints that name a date.

        Returns:
            The text it brings; often empty.

        Raises:
            ModelFailure: If it tells of an error, or is no chunk of a completion.
        """
        if event.strip() == DONE:
            self.over = True
            self.finished = self._understood
            return ""
        chunk = _object(event)
        if chunk.get("error"):
            raise self._error(chunk["error"], event, now=now)
        if isinstance(model := chunk.get("model"), str) and model:
            self._model = model
        choices = chunk.get("choices")
        self._take_usage(chunk.get("usage"), alone=not choices)
        if not isinstance(choices, list):
            if self._usage is None:
                raise malformed("a chunk has no choices")
            return ""
        self._understood = True
        return self._take_choice(choices[0]) if choices else ""

    def end(self, *, latency_s: float, first_token_s: float | None) -> ModelReply:
        """Return the reply of a stream that is over.

        Raises:
            ModelFailure: CONTENT_FILTERED if a filter stopped the output, NETWORK if it ended before its end,
                MALFORMED if it never was one of a completion.
        """
        if not self._understood:
            raise malformed("its stream brought none")
        if not self.finished:
            raise self.cut(FailureClass.NETWORK, "the model endpoint's stream ended before its end")
        text = "".join(self._texts)
        usage = self._usage or estimated_usage(self._request, text)
        if self._refused or self._finish_reason == "content_filter":
            raise filtered(usage)
        return ModelReply(
            text,
            self._model or self._request.model,
            self._finish_reason == "length",
            usage.prompt_tokens,
            usage.output_tokens,
            latency_s,
            usage.estimated,
            first_token_s,
        )

    def cut(self, kind: FailureClass, message: str) -> ModelFailure:
        """Return the failure of a stream that was cut off; only a final usage says what it cost."""
        usage = self._usage if self._usage_is_final else None
        fate = Fate.UNKNOWN if usage is None else Fate.BILLED
        return ModelFailure(kind, message, fate=fate, usage=usage)

    def _take_usage(self, told: Any, *, alone: bool) -> None:
        usage = told_usage(told)
        if usage is not None:
            self._usage, self._usage_is_final = usage, alone

    def _take_choice(self, choice: Any) -> str:
        if not isinstance(choice, dict):
            raise malformed("a chunk's choice is no object")
        delta = choice.get("delta")
        delta = delta if isinstance(delta, dict) else {}
        text = text_of(delta.get("content"))
        self._refused = self._refused or bool(delta.get("refusal"))
        self.begun = self.begun or bool(text) or any(delta.get(name) for name in _REASONING)
        if text:
            self._texts.append(text)
        if isinstance(reason := choice.get("finish_reason"), str) and reason:
            self._finish_reason = reason
            self.finished = True
        return text

    def _error(self, error: Any, event: bytes, *, now: datetime) -> ModelFailure:
        """Read an error in mid-stream: its status is in its code, if anywhere."""
        code = error.get("code") if isinstance(error, dict) else None
        status = int(code) if isinstance(code, int | str) and str(code).isdecimal() else 0
        known = status in _ERRORS
        found = classify(status if known else _SERVER_ERROR, _NO_HEADERS, event, now=now)
        # The stream had begun with a success: only a code and no text together prove that nothing was made.
        fate = found.fate if known and not self.begun else Fate.UNKNOWN
        return ModelFailure(
            found.failure_class,
            found.message,
            fate=fate,
            retry_after_s=found.retry_after_s,
            status=found.status,
        )


_NO_HEADERS: Mapping[str, str] = {}


def _object(event: bytes) -> dict[str, Any]:
    try:
        parsed = orjson.loads(event)
    except orjson.JSONDecodeError as error:
        # The parser's own words would quote the text.
        raise malformed("an event of its stream is not JSON") from error
    if not isinstance(parsed, dict):
        raise malformed("an event of its stream is not an object")
    return parsed
