"""Streamed completions as the many endpoints send them, and every way they can end."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from parallel_processor.model.failures import FailureClass, Fate, ModelFailure
from parallel_processor.model.requests import Message, ModelReply, ModelRequest, TokenUsage
from parallel_processor.model.text_stream import TextStream
from service_common.clock import ManualClock

REQUEST = ModelRequest("m", (Message("user", "Say hello."),), 50)
USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
DONE = b"data: [DONE]\n\n"


def _event(**fields: Any) -> bytes:
    return b"data: " + orjson.dumps(fields) + b"\n\n"


def _chunk(text: str | None = None, *, finish: str | None = None, usage: Any = None, **delta: Any) -> bytes:
    if text is not None:
        delta["content"] = text
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    return _event(model="m-2026", choices=choices, **({"usage": usage} if usage else {}))


ROLE = _chunk("", role="assistant")
HELLO = _chunk("Hel") + _chunk("lo.")
END = _chunk(finish="stop")
TOLD = _event(model="m-2026", choices=[], usage=USAGE)


def _read(*parts: bytes, texts: list[str] | None = None) -> ModelReply:
    """Read a stream to its end."""
    stream = TextStream(
        REQUEST, (texts if texts is not None else []).append, clock=ManualClock(), most_bytes=10_000
    )
    for part in parts:
        stream.feed(part)
    return stream.end()


def _failure(*parts: bytes) -> ModelFailure:
    with pytest.raises(ModelFailure) as caught:
        _read(*parts)
    return caught.value


def test_a_completion_comes_in_pieces() -> None:
    """The pieces are passed on as they are, and add up to the reply, which has the endpoint's count."""
    texts: list[str] = []

    reply = _read(ROLE, HELLO, END, TOLD, DONE, texts=texts)

    assert texts == ["Hel", "lo."]
    assert (reply.text, reply.model, reply.truncated) == ("Hello.", "m-2026", False)
    assert (reply.prompt_tokens, reply.output_tokens, reply.usage_estimated) == (9, 3, False)


@pytest.mark.parametrize(
    ("parts", "estimated"),
    [
        ((HELLO, END, DONE), True),
        ((HELLO, END), True),
        ((HELLO, DONE), True),
        ((HELLO, _chunk(finish="stop", usage=USAGE), DONE), False),
        ((HELLO, _chunk(finish="stop"), _event(usage=USAGE)), False),
        ((_chunk("Hello.", usage=USAGE), END), False),
        ((_event(choices=[], prompt_filter_results=[]), HELLO, END, DONE), True),
        ((_chunk([{"type": "text", "text": "Hello."}]), END, DONE), True),  # type: ignore[arg-type]  # as some do
    ],
    ids=["no usage", "no done", "only done", "with the last", "no choices", "with each", "preface", "parts"],
)
def test_endpoints_differ(parts: tuple[bytes, ...], *, estimated: bool) -> None:
    """Usage with a piece, alone or not at all, and ends without `[DONE]` or reason: the text is whole."""
    reply = _read(*parts)

    assert (reply.text, reply.usage_estimated) == ("Hello.", estimated)
    assert reply.output_tokens == (2 if estimated else 3)


def test_a_limit_that_is_reached_is_told() -> None:
    """A text that ended at max_tokens is truncated."""
    assert _read(HELLO, _chunk(finish="length"), DONE).truncated


@pytest.mark.parametrize(("told", "fate"), [(TOLD, Fate.BILLED), (b"", Fate.UNKNOWN)])
@pytest.mark.parametrize("stop", [_chunk(finish="content_filter"), _chunk(refusal="I must not.") + END])
def test_a_filter_in_mid_stream(stop: bytes, told: bytes, fate: Fate) -> None:
    """An output that a filter stopped, or a refusal, is no text; it cost what the endpoint says."""
    failure = _failure(HELLO, stop, told, DONE)

    assert (failure.failure_class, failure.fate) == (FailureClass.CONTENT_FILTERED, fate)
    assert failure.usage == (TokenUsage(9, 3) if told else None)


@pytest.mark.parametrize(
    ("error", "kind", "fresh"),
    [
        ({"code": 503, "message": "busy"}, FailureClass.OVERLOADED, Fate.NOT_BILLED),
        ({"code": "429", "message": "slow down"}, FailureClass.RATE_LIMITED, Fate.NOT_BILLED),
        ({"code": 502, "message": "bad"}, FailureClass.SERVER_ERROR, Fate.UNKNOWN),
        ({"code": "oops", "message": "bad"}, FailureClass.SERVER_ERROR, Fate.UNKNOWN),
        ({"code": 200}, FailureClass.SERVER_ERROR, Fate.UNKNOWN),
        ("all wrong", FailureClass.SERVER_ERROR, Fate.UNKNOWN),
    ],
)
def test_an_error_in_mid_stream(error: Any, kind: FailureClass, fresh: Fate) -> None:
    """Its class is that of the code it names; once the model wrote, its cost is unknown whatever it says."""
    at_once, late = _failure(_event(error=error)), _failure(ROLE, HELLO, _event(error=error))

    assert (at_once.failure_class, at_once.fate) == (kind, fresh)
    assert (late.failure_class, late.fate) == (kind, Fate.UNKNOWN)


@pytest.mark.parametrize(
    "bad",
    [
        b"data: {\n\n",
        b"data: []\n\n",
        b"data: 7\n\n",
        b'data: {"choices": 3}\n\n',
        b'data: {"choices": [3]}\n\n',
        b"data: {}\n\n",
        b'data: {"choices": [{"delta": {"content": 7}}]}\n\n',
        b'data: {"choices": [{"delta": {"content": "\xff"}}]}\n\n',
        b'data: {"choices": [{"delta": {"content": "\\ud83d"}}]}\n\n',
        b"data: " + b"[" * 5000 + b"\n\n",
        b": endless\n" * 2000,
    ],
)
def test_what_is_no_completion_is_malformed(bad: bytes) -> None:
    """Garbage ends the call as MALFORMED of unknown cost, and is not quoted."""
    failure = _failure(HELLO, bad)

    assert (failure.failure_class, failure.fate) == (FailureClass.MALFORMED, Fate.UNKNOWN)
    assert "Hel" not in failure.message


@pytest.mark.parametrize("nothing", [(), (DONE,), (b": ping\n\n", DONE)])
def test_a_stream_of_nothing_is_malformed(nothing: tuple[bytes, ...]) -> None:
    """A stream that never was a completion speaks against the endpoint."""
    assert _failure(*nothing).failure_class is FailureClass.MALFORMED


def test_a_stream_that_ends_too_early() -> None:
    """Without an end the text is not whole: a network failure, of known cost only if the final usage came."""
    cut, told = _failure(HELLO), _failure(HELLO, _event(choices=[], usage=USAGE))

    assert (cut.failure_class, cut.fate, cut.usage) == (FailureClass.NETWORK, Fate.UNKNOWN, None)
    assert (told.fate, told.usage) == (Fate.BILLED, TokenUsage(9, 3))
    assert _failure(_chunk("Hel", usage=USAGE)).fate is Fate.UNKNOWN


def test_a_connection_that_breaks_after_the_text_took_nothing() -> None:
    """Whoever has the whole text needs no more; before that the failure is that of the connection."""
    lost = ModelFailure(FailureClass.TIMEOUT, "late", fate=Fate.UNKNOWN)
    unsent = ModelFailure(FailureClass.NETWORK, "nobody there", fate=Fate.NOT_BILLED)
    stream = TextStream(REQUEST, lambda _text: None, clock=ManualClock(), most_bytes=10_000)
    assert stream.broken(unsent) is unsent
    stream.feed(HELLO)
    cut = stream.broken(lost)
    assert cut is not None
    assert (cut.failure_class, cut.fate) == (FailureClass.TIMEOUT, Fate.UNKNOWN)
    stream.feed(END)
    assert stream.broken(lost) is None
    assert stream.end().text == "Hello."


@pytest.mark.parametrize("first", [_chunk("Hel"), _chunk(reasoning_content="Hm."), _chunk(reasoning="Hm.")])
def test_the_first_token_is_timed(first: bytes) -> None:
    """The first token counts when it comes, shown or not; the role before it is none."""
    clock = ManualClock()
    stream = TextStream(REQUEST, lambda _text: None, clock=clock, most_bytes=10_000)
    for part in (ROLE, first, END):
        clock.advance(1.0)
        stream.feed(part)

    reply = stream.end()

    assert (reply.first_token_s, reply.latency_s) == (2.0, 3.0)
