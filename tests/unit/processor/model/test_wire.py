"""Requests as bytes, and bytes as replies."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parallel_processor.model.failures import FailureClass, Fate, ModelFailure
from parallel_processor.model.requests import Message, ModelReply, ModelRequest, TokenUsage
from parallel_processor.model.wire import decode_models, decode_reply, encode_request

REQUEST = ModelRequest("m", (Message("system", "Be brief."), Message("user", "Say hello.")), 50)


def _reply(body: Any) -> ModelReply:
    return decode_reply(orjson.dumps(body), REQUEST, latency_s=0.5)


def _completion(message: Any, finish: str = "stop", **more: Any) -> dict[str, Any]:
    return {"model": "m-2026", "choices": [{"message": message, "finish_reason": finish}], **more}


USAGE = {"prompt_tokens": 9, "completion_tokens": 3}


def test_a_request_leaves_out_what_is_not_set() -> None:
    """Defaults are the endpoint's: what is None or empty is not sent."""
    sent = orjson.loads(encode_request(REQUEST, max_tokens_field="max_tokens"))

    assert sent == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say hello."}],
        "max_tokens": 50,
    }


def test_a_request_sends_all_that_is_set() -> None:
    """Zero is a value; the limit goes under the endpoint's name for it."""
    request = ModelRequest("m", (), 5, temperature=0.0, top_p=0.9, seed=0, stop=("END",))

    sent = orjson.loads(encode_request(request, max_tokens_field="max_completion_tokens"))

    assert sent == {
        "model": "m",
        "messages": [],
        "max_completion_tokens": 5,
        "temperature": 0.0,
        "top_p": 0.9,
        "seed": 0,
        "stop": ["END"],
    }


def test_a_completion_is_read() -> None:
    """Text, model, usage and latency come from the answer."""
    reply = _reply(_completion({"content": "Hello."}, usage=USAGE))

    assert reply == ModelReply("Hello.", "m-2026", False, 9, 3, 0.5)


@pytest.mark.parametrize(
    ("content", "text"),
    [("", ""), (None, ""), ([{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}], "Hello")],
)
def test_content_in_its_other_shapes(content: Any, text: str) -> None:
    """Empty content is content, and parts are joined."""
    assert _reply(_completion({"content": content}, usage=USAGE)).text == text


def test_length_means_truncated() -> None:
    """An output that met max_tokens is marked."""
    assert _reply(_completion({"content": "Hel"}, "length", usage=USAGE)).truncated


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        {"prompt_tokens": 9},
        {"prompt_tokens": -1, "completion_tokens": 3},
        {"prompt_tokens": "9", "completion_tokens": 3},
        {"prompt_tokens": True, "completion_tokens": 3},
    ],
)
def test_missing_usage_is_estimated_and_marked(usage: Any) -> None:
    """Without believable usage the counts are guesses, and say so."""
    reply = _reply(_completion({"content": "Hello there."}, usage=usage))

    assert reply.usage_estimated
    assert (reply.prompt_tokens, reply.output_tokens) == (14, 3)


@pytest.mark.parametrize(
    "completion",
    [
        _completion({"content": ""}, "content_filter", usage=USAGE),
        _completion({"content": None, "refusal": "I cannot."}, usage=USAGE),
    ],
)
def test_a_filtered_output_is_a_failure_with_its_bill(completion: dict[str, Any]) -> None:
    """What a filter stopped is no content, and its known usage is told."""
    with pytest.raises(ModelFailure) as caught:
        _reply(completion)

    assert caught.value.failure_class is FailureClass.CONTENT_FILTERED
    assert (caught.value.fate, caught.value.usage) == (Fate.BILLED, TokenUsage(9, 3))


def test_a_filtered_output_without_usage_has_an_unknown_bill() -> None:
    """A guess is no bill."""
    with pytest.raises(ModelFailure) as caught:
        _reply(_completion({"content": ""}, "content_filter"))

    assert (caught.value.fate, caught.value.usage) == (Fate.UNKNOWN, None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"choices": []}',
        b'{"choices": [3]}',
        b'{"choices": [{}]}',
        b'{"choices": [{"message": {"content": 3}}]}',
        b'{"error": {"message": "secret words", "code": 502}}',
        b'{"choices": [{"message": {"content": "\\ud800"}}]}',
    ],
)
def test_what_is_no_completion_is_malformed_and_may_have_cost(body: bytes) -> None:
    """An answer of the wrong shape is a failure of unknown cost that quotes nothing."""
    with pytest.raises(ModelFailure) as caught:
        decode_reply(body, REQUEST, latency_s=0.1)

    assert (caught.value.failure_class, caught.value.fate) == (FailureClass.MALFORMED, Fate.UNKNOWN)
    assert "secret" not in caught.value.message


@given(st.binary())
def test_no_bytes_break_it(body: bytes) -> None:
    """Any bytes are a reply or a failure."""
    with pytest.raises(ModelFailure):
        decode_reply(body, REQUEST, latency_s=0.1)


def test_models_are_listed_by_id() -> None:
    """A listing yields the ids, and skips what has none."""
    body = orjson.dumps({"object": "list", "data": [{"id": "a"}, {"name": "x"}, 3, {"id": "b"}]})

    assert decode_models(body) == ("a", "b")
