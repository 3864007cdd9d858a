"""The error answers of real endpoints, and what each must be taken for."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parallel_processor.model.classify import classify
from parallel_processor.model.failures import FailureClass, Fate, ModelFailure

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _classify(status: int, body: Any, **headers: str) -> ModelFailure:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return classify(status, named, raw, now=NOW)


def _openai(code: str | None, kind: str, message: str = "Something.") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


CASES: dict[str, tuple[int, Any, FailureClass, Fate]] = {
    "OpenAI: requests per minute": (
        429,
        _openai("rate_limit_exceeded", "requests", "Rate limit reached for gpt-4o in organization org-x"),
        FailureClass.RATE_LIMITED,
        Fate.NOT_BILLED,
    ),
    "OpenAI: no money": (
        429,
        _openai(
            "insufficient_quota", "insufficient_quota", "You exceeded your current quota, please check..."
        ),
        FailureClass.QUOTA_EXHAUSTED,
        Fate.NOT_BILLED,
    ),
    "OpenAI: billing limit of the organisation": (
        400,
        _openai("billing_hard_limit_reached", "invalid_request_error", "Billing hard limit has been reached"),
        FailureClass.QUOTA_EXHAUSTED,
        Fate.NOT_BILLED,
    ),
    "OpenAI: one request above the tokens per minute": (
        429,
        _openai("rate_limit_exceeded", "tokens", "Request too large for gpt-4 on tokens per min (TPM)"),
        FailureClass.INVALID_REQUEST,
        Fate.NOT_BILLED,
    ),
    "OpenAI: context length": (
        400,
        _openai("context_length_exceeded", "invalid_request_error", "maximum context length is 8192 tokens"),
        FailureClass.INVALID_REQUEST,
        Fate.NOT_BILLED,
    ),
    "OpenAI: bad key": (
        401,
        _openai("invalid_api_key", "invalid_request_error", "Incorrect API key provided: sk-abc***xyz"),
        FailureClass.UNAUTHENTICATED,
        Fate.NOT_BILLED,
    ),
    "OpenAI: no such model": (
        404,
        _openai("model_not_found", "invalid_request_error"),
        FailureClass.INVALID_REQUEST,
        Fate.NOT_BILLED,
    ),
    "OpenAI: failed inside": (500, _openai(None, "server_error"), FailureClass.SERVER_ERROR, Fate.UNKNOWN),
    "OpenAI: overloaded": (
        503,
        _openai(None, "server_error", "The engine is currently overloaded"),
        FailureClass.OVERLOADED,
        Fate.NOT_BILLED,
    ),
    "Azure: rate": (
        429,
        {
            "error": {
                "code": "429",
                "message": "Requests have exceeded call rate limit. Retry after 6 seconds.",
            }
        },
        FailureClass.RATE_LIMITED,
        Fate.NOT_BILLED,
    ),
    "Azure: content filter": (
        400,
        {
            "error": {
                "message": "The response was filtered",
                "code": "content_filter",
                "status": 400,
                "innererror": {"code": "ResponsibleAIPolicyViolation"},
            }
        },
        FailureClass.CONTENT_FILTERED,
        Fate.NOT_BILLED,
    ),
    "Azure: content filter, named inside only": (
        400,
        {
            "error": {
                "message": "x",
                "code": "BadRequest",
                "innererror": {"code": "ResponsibleAIPolicyViolation"},
            }
        },
        FailureClass.CONTENT_FILTERED,
        Fate.NOT_BILLED,
    ),
    "Azure: gateway timeout": (504, b"<html>Gateway Timeout</html>", FailureClass.TIMEOUT, Fate.UNKNOWN),
    "Azure: request timeout": (
        408,
        {"error": {"code": "Timeout", "message": "The operation was timeout."}},
        FailureClass.TIMEOUT,
        Fate.UNKNOWN,
    ),
    "vLLM: bad request, flat": (
        400,
        {"object": "error", "message": "top_p must be in (0, 1]", "type": "BadRequestError", "code": 400},
        FailureClass.INVALID_REQUEST,
        Fate.NOT_BILLED,
    ),
    "vLLM: no such model, flat": (
        404,
        {"object": "error", "message": "The model does not exist.", "type": "NotFoundError", "code": 404},
        FailureClass.INVALID_REQUEST,
        Fate.NOT_BILLED,
    ),
    "vLLM: key": (401, {"error": "Unauthorized"}, FailureClass.UNAUTHENTICATED, Fate.NOT_BILLED),
    "FastAPI: validation": (
        422,
        {"detail": [{"loc": ["body", "messages"], "msg": "field required"}]},
        FailureClass.INVALID_REQUEST,
        Fate.NOT_BILLED,
    ),
    "llama.cpp: loading": (
        503,
        {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}},
        FailureClass.OVERLOADED,
        Fate.NOT_BILLED,
    ),
    "llama.cpp: context": (
        400,
        {"error": {"code": 400, "message": "the request exceeds the available context size", "n_ctx": 4096}},
        FailureClass.INVALID_REQUEST,
        Fate.NOT_BILLED,
    ),
    "Anthropic: overloaded": (
        529,
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
        FailureClass.OVERLOADED,
        Fate.NOT_BILLED,
    ),
    "Anthropic: rate": (
        429,
        {
            "type": "error",
            "error": {"type": "rate_limit_error", "message": "Number of request tokens exceeded"},
        },
        FailureClass.RATE_LIMITED,
        Fate.NOT_BILLED,
    ),
    "Anthropic: no credit": (
        400,
        {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "Your credit balance is too low to access"},
        },
        FailureClass.QUOTA_EXHAUSTED,
        Fate.NOT_BILLED,
    ),
    "Gemini: per minute, though it says quota": (
        429,
        [
            {
                "error": {
                    "code": 429,
                    "status": "RESOURCE_EXHAUSTED",
                    "message": "You exceeded your current quota, please check your plan and billing details.",
                    "details": [{"@type": "google.rpc.RetryInfo", "retryDelay": "34s"}],
                }
            }
        ],
        FailureClass.RATE_LIMITED,
        Fate.NOT_BILLED,
    ),
    "gateway: payment required": (
        402,
        {"error": {"message": "x", "code": 402}},
        FailureClass.QUOTA_EXHAUSTED,
        Fate.NOT_BILLED,
    ),
    "gateway: bad gateway": (502, b"<html>", FailureClass.SERVER_ERROR, Fate.UNKNOWN),
    "gateway: redirect": (302, b"", FailureClass.INVALID_REQUEST, Fate.NOT_BILLED),
    "forbidden": (403, b"{}", FailureClass.UNAUTHENTICATED, Fate.NOT_BILLED),
    "conflict": (409, b"{}", FailureClass.OVERLOADED, Fate.NOT_BILLED),
    "a server's words about quota do not make it a refusal": (
        500,
        _openai("insufficient_quota", "insufficient_quota"),
        FailureClass.SERVER_ERROR,
        Fate.UNKNOWN,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_each_known_answer_has_its_class_and_fate(name: str) -> None:
    """The answers endpoints are known to give are told apart, and only proven refusals cost nothing."""
    status, body, kind, fate = CASES[name]

    failure = _classify(status, body)

    assert (failure.failure_class, failure.fate, failure.status) == (kind, fate, status)


def test_quota_is_not_retried_and_rate_is() -> None:
    """Exhausted quota is final, a rate limit passes, and neither speaks against the endpoint's health."""
    quota = _classify(429, _openai("insufficient_quota", "insufficient_quota"))
    rate = _classify(429, _openai("rate_limit_exceeded", "requests"))

    assert (quota.retryable, rate.retryable) == (False, True)
    assert (quota.endpoint_fault, rate.endpoint_fault) == (False, False)


@pytest.mark.parametrize(
    ("status", "counts"),
    [
        (400, "no"),
        (401, "no"),
        (402, "no"),
        (429, "no"),
        (500, "yes"),
        (503, "yes"),
        (504, "yes"),
        (529, "yes"),
    ],
)
def test_only_the_endpoints_own_failures_count_for_its_breaker(status: int, counts: str) -> None:
    """A bad request or key opens no breaker; a failing server does."""
    assert _classify(status, b"").endpoint_fault is (counts == "yes")


def test_the_wait_comes_from_headers_first_and_from_details_else() -> None:
    """Retry-After wins over RetryInfo in the body; without it the body's delay counts."""
    body = {"error": {"code": 429, "details": [{"retryDelay": "34s"}]}}

    assert _classify(429, body, Retry_After="7").retry_after_s == 7
    assert _classify(429, body).retry_after_s == 34


def test_messages_carry_the_code_but_none_of_the_endpoints_words() -> None:
    """An error's text may quote the prompt or the key: only its code is shown, if it is an identifier."""
    told = _classify(401, _openai("invalid_api_key", "x", "Incorrect API key provided: sk-secret"))
    odd = _classify(400, _openai("sk-123-secret", "the prompt was 'tell me'"))

    assert "invalid_api_key" in told.message
    assert "secret" not in told.message + odd.message
    assert "tell me" not in odd.message


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "code", "type", "message", "details", "innererror", "x"]),
            inner,
            max_size=4,
        )
    ),
)


@given(status=st.integers(300, 599), body=st.binary() | json_values.map(orjson.dumps))
def test_any_answer_is_classified(status: int, body: bytes) -> None:
    """No body, however odd, breaks the classification."""
    assert classify(status, {}, body, now=NOW).status == status
