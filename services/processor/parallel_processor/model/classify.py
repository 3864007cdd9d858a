"""Where an HTTP answer that is not a completion becomes a `ModelFailure`.

It reads the error bodies of OpenAI, Azure OpenAI, Anthropic, Gemini, vLLM, llama.cpp and their gateways.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

import orjson

from parallel_processor.model.failures import FailureClass, Fate, ModelFailure
from parallel_processor.model.retry_hints import parse_duration, retry_after_s

_QUOTA_CODES = frozenset(
    {
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
        "billing_error",
        "insufficient_balance",
        "insufficient_credits",
        "access_terminated",
    }
)
_QUOTA_WORDS = re.compile(
    r"exceeded your current quota|credit balance is too low|insufficient (?:balance|credit|funds|quota)"
    r"|billing (?:hard )?limit|billing is not active|spend(?:ing)? limit|out of credits"
)
_FILTER_CODES = frozenset(
    {
        "content_filter",
        "content_policy_violation",
        "responsibleaipolicyviolation",
        "moderation_blocked",
        "data_inspection_failed",
    }
)
_LENGTH_CODES = frozenset({"context_length_exceeded", "exceed_context_size_error", "string_above_max_length"})
_LENGTH_WORDS = re.compile(r"context (?:length|size|window)|prompt is too long|request too large")
_MODEL_CODES = frozenset({"model_not_found", "deploymentnotfound", "notfounderror"})
_SAFE_CODE = re.compile(r"[A-Za-z][A-Za-z_]{1,63}")

_REDIRECTS = range(300, 400)
_CLIENT_ERRORS = range(400, 500)
_BY_STATUS = {
    401: FailureClass.UNAUTHENTICATED,
    402: FailureClass.QUOTA_EXHAUSTED,
    403: FailureClass.UNAUTHENTICATED,
    408: FailureClass.TIMEOUT,
    409: FailureClass.OVERLOADED,
    425: FailureClass.OVERLOADED,
    429: FailureClass.RATE_LIMITED,
    503: FailureClass.OVERLOADED,
    504: FailureClass.TIMEOUT,
    524: FailureClass.TIMEOUT,
    529: FailureClass.OVERLOADED,
}
# 408 is missing: gateways send it also when the model behind them took too long.
_REFUSED_BEFORE_WORK = frozenset({*_REDIRECTS, *_CLIENT_ERRORS, 503, 529}) - {HTTPStatus.REQUEST_TIMEOUT}
_WORDS = {
    FailureClass.RATE_LIMITED: "the model endpoint's rate limit is reached",
    FailureClass.QUOTA_EXHAUSTED: "the quota or credit of the model endpoint's account is used up",
    FailureClass.OVERLOADED: "the model endpoint is overloaded or starting",
    FailureClass.TIMEOUT: "the model endpoint gave up waiting for the model",
    FailureClass.INVALID_REQUEST: "the model endpoint refused the request",
    FailureClass.CONTENT_FILTERED: "the model endpoint's content filter refused the prompt",
    FailureClass.UNAUTHENTICATED: "the model endpoint does not accept the credential",
    FailureClass.SERVER_ERROR: "the model endpoint failed",
}


@dataclass(frozen=True, slots=True)
class _ErrorBody:
    """What an error body says, in lower case where it is compared."""

    codes: frozenset[str]
    text: str
    shown: str
    retry_delay_s: float | None


def classify(status: int, headers: Mapping[str, str], body: bytes, *, now: datetime) -> ModelFailure:
    """Say what an answer with an error status means.

    Args:
        status: HTTP status, not 2xx.
        headers: The answer's headers.
        body: The answer's body, or as much of it as was read.
        now: The time, for hints that name a date.

    Returns:
        The failure; its message quotes nothing but an error code of the body.
    """
    error = _read_error(body)
    wait = retry_after_s({name.lower(): value for name, value in headers.items()}, now=now)
    wait = error.retry_delay_s if wait is None else wait
    kind = _kind(status, error, hinted=wait is not None)
    return ModelFailure(
        kind, _message(kind, status, error), fate=_fate(status), retry_after_s=wait, status=status
    )


def _kind(status: int, error: _ErrorBody, *, hinted: bool) -> FailureClass:
    if status in _CLIENT_ERRORS:
        if error.codes & _FILTER_CODES:
            return FailureClass.CONTENT_FILTERED
        # Some say "quota" for a limit per minute too; who says when to come back does not mean money.
        if error.codes & _QUOTA_CODES or (_QUOTA_WORDS.search(error.text) and not hinted):
            return FailureClass.QUOTA_EXHAUSTED
        if status == HTTPStatus.TOO_MANY_REQUESTS and _too_long(error):
            return FailureClass.INVALID_REQUEST
    refused = status in _CLIENT_ERRORS or status in _REDIRECTS
    return _BY_STATUS.get(status, FailureClass.INVALID_REQUEST if refused else FailureClass.SERVER_ERROR)


def _fate(status: int) -> Fate:
    return Fate.NOT_BILLED if status in _REFUSED_BEFORE_WORK else Fate.UNKNOWN


def _message(kind: FailureClass, status: int, error: _ErrorBody) -> str:
    words = _WORDS[kind]
    if kind is FailureClass.INVALID_REQUEST:
        if status in _REDIRECTS:
            words = "the model endpoint redirects, which is not followed; is its URL right"
        elif _too_long(error):
            words = "prompt and max_tokens are more than the model's context or the account's limit holds"
        elif status == HTTPStatus.NOT_FOUND or error.codes & _MODEL_CODES:
            words = "the model endpoint knows no such model or path"
    return f"{words} (HTTP {status}{', ' + error.shown if error.shown else ''})"


def _too_long(error: _ErrorBody) -> bool:
    return bool(error.codes & _LENGTH_CODES or _LENGTH_WORDS.search(error.text))


def _read_error(body: bytes) -> _ErrorBody:
    try:
        parsed: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _ErrorBody(frozenset(), "", "", None)
    if isinstance(parsed, list) and parsed:
        parsed = parsed[0]
    if not isinstance(parsed, dict):
        return _ErrorBody(frozenset(), "", "", None)
    error = parsed.get("error", parsed)
    if isinstance(error, str):
        return _ErrorBody(frozenset(), error.lower(), "", None)
    if not isinstance(error, dict):
        return _ErrorBody(frozenset(), "", "", None)
    return _error_object(error)


def _error_object(error: dict[str, Any]) -> _ErrorBody:
    inner = error.get("innererror")
    named = [error.get("code"), error.get("type"), error.get("status")]
    named.append(inner.get("code") if isinstance(inner, dict) else None)
    codes = [name for name in named if isinstance(name, str)]
    text = error.get("message", error.get("detail", ""))
    return _ErrorBody(
        codes=frozenset(code.lower() for code in codes),
        text=text.lower() if isinstance(text, str) else "",
        shown=next((code for code in codes if _SAFE_CODE.fullmatch(code)), ""),
        retry_delay_s=_retry_delay_s(error.get("details")),
    )


def _retry_delay_s(details: Any) -> float | None:
    """Read google.rpc.RetryInfo out of an error's details."""
    for detail in details if isinstance(details, list) else []:
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None
        if isinstance(delay, str):
            return parse_duration(delay)
    return None
