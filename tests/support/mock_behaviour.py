"""What the mock endpoint answers: distinct text for distinct messages, or a scripted fault.

A fault is a function from the call, the rule and the good answer to the answer that is given instead; a new
one is one function and one line in `FAULTS`.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import Enum
from hashlib import blake2b
from typing import Any

import orjson

from tests.support.mock_lengths import characters

_WORDS = (
    "lesson",
    "topic",
    "student",
    "example",
    "question",
    "answer",
    "outline",
    "concept",
    "method",
    "evidence",
)
_FILLER_CHARACTERS = 1 << 16
_FILLER = " ".join(random.Random(7).choices(_WORDS, k=_FILLER_CHARACTERS // 4))
CHARACTERS_PER_TOKEN = 4
_TOKENS_PER_MESSAGE = 4


class Delivery(Enum):
    """What happens to the connection."""

    SEND = "SEND"
    RESET = "RESET"
    HANG = "HANG"


def digest_of(messages: list[dict[str, str]]) -> str:
    """Return the hash by which the endpoint's log names messages."""
    return blake2b(orjson.dumps(messages), digest_size=12).hexdigest()


@dataclass(frozen=True, slots=True)
class Call:
    """One request for a completion, as it came.

    Attributes:
        number: 1 for the first that arrived.
        model: The model asked for.
        messages: The messages, as JSON values.
        max_tokens: The most tokens to generate.
        digest: Hash of the messages; equal messages, equal digest.
        stream: Whether the completion is to come token by token.
        include_usage: Whether a stream is to end with its usage.
        arrived: When it came, in Unix seconds.
    """

    number: int
    model: str
    messages: list[dict[str, str]]
    max_tokens: int
    digest: str
    stream: bool = False
    include_usage: bool = False
    arrived: float = 0.0

    @classmethod
    def read(cls, number: int, body: bytes) -> Call:
        """Read a request's body."""
        parsed: dict[str, Any] = orjson.loads(body)
        messages = parsed["messages"]
        digest = digest_of(messages)
        limit = parsed.get("max_tokens") or parsed.get("max_completion_tokens") or 1 << 30
        stream = bool(parsed.get("stream"))
        include_usage = stream and bool((parsed.get("stream_options") or {}).get("include_usage"))
        return cls(number, parsed["model"], messages, limit, digest, stream, include_usage, time.time())


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer.

    Attributes:
        status: HTTP status.
        body: HTTP body.
        headers: Further header lines.
        delivery: What happens to the connection.
        prompt_tokens: What it bills for the prompt.
        output_tokens: What it bills for the output.
    """

    status: int
    body: bytes
    headers: tuple[str, ...] = ()
    delivery: Delivery = Delivery.SEND
    prompt_tokens: int = 0
    output_tokens: int = 0


@dataclass(slots=True)
class Rule:
    """When a fault strikes. All conditions given must hold; the first rule that strikes decides.

    Attributes:
        fault: Its name in `FAULTS`.
        contains: Only calls with this text in a message.
        model: Only calls for this model.
        first: Only from this call number on.
        last: Only up to this call number.
        every: Only each n-th of the calls that meet the conditions above.
        times: At most so often.
        retry_after: The Retry-After header of the refusals; none when empty.
        status: The status of the fault `status`.
        latency_ms: How long it takes; None: as long as a good answer.
        text: What the fault `says` answers.
    """

    fault: str
    contains: str = ""
    model: str = ""
    first: int = 1
    last: int | None = None
    every: int = 1
    times: int | None = None
    retry_after: str = ""
    status: int = 500
    latency_ms: float | None = None
    text: str = ""
    _met: int = 0
    _struck: int = 0

    def __post_init__(self) -> None:
        if self.fault not in FAULTS:
            raise ValueError(f"no fault {self.fault!r}; there are {', '.join(sorted(FAULTS))}")

    def strikes(self, call: Call) -> bool:
        """Decide for one call, and count it."""
        if not self._meets(call):
            return False
        self._met += 1
        if self._met % self.every or self._struck == self.times:
            return False
        self._struck += 1
        return True

    def _meets(self, call: Call) -> bool:
        return (
            call.number >= self.first
            and (self.last is None or call.number <= self.last)
            and (not self.model or call.model == self.model)
            and (not self.contains or any(self.contains in each["content"] for each in call.messages))
        )


class Behaviour:
    """Answers calls by its rules, each after its latency.

    Args:
        rules: The faults; none answers every call well.
        text_characters: Length of the text of a good answer.
        text_sigma: Spread of that length, which is then the median over kinds of prompts; 0 for a fixed one.
        latency_ms: Median latency of a good answer.
        latency_sigma: Spread of a lognormal latency; 0 for a fixed one.
        token_ms: Further time per token of the output, streamed or not.
        seed: Seed of the latencies.
    """

    def __init__(
        self,
        rules: Iterable[Rule] = (),
        *,
        text_characters: int = 400,
        text_sigma: float = 0.0,
        latency_ms: float = 0.0,
        latency_sigma: float = 0.0,
        token_ms: float = 0.0,
        seed: int = 1,
    ) -> None:
        self.rules = list(rules)
        self._text_characters = text_characters
        self._text_sigma = text_sigma
        self._latency_s = latency_ms / 1_000
        self._sigma = latency_sigma
        self.token_s = token_ms / 1_000
        self._dice = random.Random(seed)

    def answer(self, call: Call) -> tuple[Answer, float]:
        """Return the answer to a call, and after how many seconds it is given."""
        delay_s = self._latency_s
        if self._sigma:
            delay_s *= math.exp(self._dice.gauss(0.0, self._sigma))
        good = completion(call, _text(call.digest, self._characters(call)))
        for rule in self.rules:
            if rule.strikes(call):
                if rule.latency_ms is not None:
                    delay_s = rule.latency_ms / 1_000
                return FAULTS[rule.fault](call, rule, good), delay_s
        return good, delay_s

    def _characters(self, call: Call) -> int:
        if not self._text_sigma:
            return self._text_characters
        median, sigma = self._text_characters, self._text_sigma
        return characters(call.messages, call.digest, median=median, sigma=sigma)


def completion(call: Call, text: str, *, finish_reason: str = "stop") -> Answer:
    """Make an answer with content, cut to the call's max_tokens."""
    prompt_tokens = sum(_TOKENS_PER_MESSAGE + _tokens(each["content"]) for each in call.messages)
    output_tokens = _tokens(text)
    if output_tokens > call.max_tokens:
        text, output_tokens = text[: call.max_tokens * CHARACTERS_PER_TOKEN], call.max_tokens
        finish_reason = "length"
    body = {
        "id": f"chatcmpl-{call.number}",
        "object": "chat.completion",
        "created": 0,
        "model": call.model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": finish_reason,
            }
        ],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": output_tokens,
            "total_tokens": prompt_tokens + output_tokens,
        },
    }
    return Answer(200, orjson.dumps(body), prompt_tokens=prompt_tokens, output_tokens=output_tokens)


def _tokens(text: str) -> int:
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def _text(digest: str, characters: int) -> str:
    start = int(digest[:8], 16) % (_FILLER_CHARACTERS // 2)
    return f"{digest} {_FILLER[start : start + characters - len(digest) - 1]}"


def _refusal(status: int, rule: Rule, *, code: str, message: str) -> Answer:
    headers = (f"Retry-After: {rule.retry_after}",) if rule.retry_after else ()
    body = {"error": {"message": message, "type": code, "param": None, "code": code}}
    return Answer(status, orjson.dumps(body), headers)


def _truncated(call: Call, _rule: Rule, _good: Answer) -> Answer:
    return completion(call, _text(call.digest, 80), finish_reason="length")


def _filtered_output(call: Call, _rule: Rule, _good: Answer) -> Answer:
    return completion(call, "", finish_reason="content_filter")


def _without_usage(_call: Call, _rule: Rule, good: Answer) -> Answer:
    body = orjson.loads(good.body)
    del body["usage"]
    return replace(good, body=orjson.dumps(body))


Fault = Callable[[Call, Rule, Answer], Answer]

FAULTS: dict[str, Fault] = {
    "slow": lambda _call, _rule, good: good,
    "says": lambda call, rule, _good: completion(call, rule.text),
    "truncated": _truncated,
    "empty": lambda call, _rule, _good: completion(call, ""),
    "filtered_output": _filtered_output,
    "without_usage": _without_usage,
    "malformed": lambda _call, _rule, good: replace(good, body=good.body[: len(good.body) // 2]),
    "huge": lambda _call, _rule, good: replace(good, body=good.body + b" " * (16 << 20)),
    "reset": lambda _call, _rule, good: replace(good, delivery=Delivery.RESET),
    "hang": lambda _call, _rule, good: replace(good, delivery=Delivery.HANG),
    "rate_limited": lambda _call, rule, _good: _refusal(
        429, rule, code="rate_limit_exceeded", message="Rate limit reached for requests"
    ),
    "quota_exhausted": lambda _call, rule, _good: _refusal(
        429, rule, code="insufficient_quota", message="You exceeded your current quota"
    ),
    "filtered_prompt": lambda _call, rule, _good: _refusal(
        400, rule, code="content_filter", message="The prompt triggered the content policy"
    ),
    "unauthenticated": lambda _call, rule, _good: _refusal(
        401, rule, code="invalid_api_key", message="Incorrect API key provided"
    ),
    "invalid": lambda _call, rule, _good: _refusal(
        400, rule, code="context_length_exceeded", message="Too long"
    ),
    "overloaded": lambda _call, rule, _good: _refusal(
        503, rule, code="overloaded_error", message="Overloaded"
    ),
    "server_error": lambda _call, rule, _good: _refusal(500, rule, code="server_error", message="Oops"),
    "status": lambda _call, rule, _good: _refusal(rule.status, rule, code="scripted", message="Scripted"),
}
