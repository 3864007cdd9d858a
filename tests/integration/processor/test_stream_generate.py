"""StreamGenerate: the text as it is written, from the model and from the cache, and every way it can end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from uuid import uuid4

import grpc
import pytest
from contentfactory.processor.v1 import processor_pb2 as pb

from tests.integration.processor.conftest import (
    FALLBACK,
    MODEL,
    Client,
    Factory,
    error_of,
    kind_and_reason,
    raw,
)
from tests.support.factory import eventually


def unique(words: str = "write") -> str:
    """Return a prompt that nobody asked before."""
    return f"{words} {uuid4().hex}"


def calls(factory: Factory) -> int:
    """Return how many calls the endpoint has seen."""
    return int(factory.mock.counts()["requests"])


@contextmanager
def scripted(factory: Factory, *rules: dict[str, object]) -> Iterator[None]:
    """Let the endpoint misbehave for a while."""
    factory.mock.script(*rules)
    try:
        yield
    finally:
        factory.mock.script()


def read(frames: Iterable[pb.StreamGenerateResponse]) -> tuple[str, pb.Piece, list[str]]:
    """Read a stream to its end: the text, the piece, and what each frame was."""
    text, kinds, piece = "", [], pb.Piece()
    for frame in frames:
        kind = frame.WhichOneof("frame")
        kinds.append(str(kind))
        if kind == "anew":
            text = frame.anew
        elif kind == "text":
            text += frame.text
        else:
            piece = frame.piece
    return text, piece, kinds


def test_the_text_comes_and_then_the_piece(client: Client) -> None:
    """The frames add up to the content that is cached, and the piece says what it cost and who wrote it."""
    spec = raw(unique())
    text, piece, kinds = read(client.StreamGenerate(pb.StreamGenerateRequest(spec=spec)))

    assert set(kinds[:-1]) == {"text"}
    assert kinds[-1] == "piece"
    assert (piece.content, piece.cached, piece.model) == ("", False, MODEL)
    assert piece.cost_micros == piece.prompt_tokens + 2 * piece.output_tokens > 0
    again = client.Generate(pb.GenerateRequest(spec=spec)).piece
    assert (again.content, again.cached, again.cache_key) == (text, True, piece.cache_key)


def test_a_hit_is_streamed(client: Client, factory: Factory) -> None:
    """What is in the cache comes in frames too, and costs nothing."""
    spec = pb.PieceSpec(template_id="faq", variables={"topic": unique()})
    content = client.Generate(pb.GenerateRequest(spec=spec)).piece.content
    before = calls(factory)

    text, piece, kinds = read(client.StreamGenerate(pb.StreamGenerateRequest(spec=spec, max_cost_micros=1)))

    assert (text, piece.cached, piece.cost_micros, kinds[-1]) == (content, True, 0, "piece")
    assert calls(factory) == before


def test_equal_streams_at_once_are_one_call(client: Client, factory: Factory) -> None:
    """Who finds the key taken waits, and then gets the content in frames."""
    text = unique("slow")
    request = pb.StreamGenerateRequest(spec=raw(text))
    before = calls(factory)
    with (
        scripted(factory, {"fault": "slow", "contains": text, "latency_ms": 300}),
        ThreadPoolExecutor(6) as pool,
    ):
        answers = list(pool.map(lambda _: read(client.StreamGenerate(request)), range(6)))

    assert calls(factory) == before + 1
    assert len({content for content, _, _ in answers}) == 1
    assert sorted(piece.cached for _, piece, _ in answers) == [False, *[True] * 5]


def test_a_cancel_reaches_the_endpoint(
    client: Client, factory: Factory, metric: Callable[..., float]
) -> None:
    """The caller goes within the text: so does the model call, at its worst case; nothing of it is cached."""
    text = unique("hang")
    gone = factory.mock.counts()["abandoned"]
    uncertain = metric(factory, "model_uncertain_spend_micros_total", model=MODEL)
    with scripted(factory, {"fault": "hang", "contains": text}):
        call = client.StreamGenerate(pb.StreamGenerateRequest(spec=raw(text)))
        assert next(call).text
        call.cancel()
        eventually(lambda: factory.mock.counts()["abandoned"], lambda count: count == gone + 1)

    eventually(
        lambda: metric(factory, "model_uncertain_spend_micros_total", model=MODEL),
        lambda now: now > uncertain,
    )
    assert not client.Generate(pb.GenerateRequest(spec=raw(text))).piece.cached


def test_a_deadline_reaches_the_endpoint(client: Client, factory: Factory) -> None:
    """When the caller's time is up, the model call ends too."""
    text = unique("hang")
    gone = factory.mock.counts()["abandoned"]
    with scripted(factory, {"fault": "hang", "contains": text}):
        call = client.StreamGenerate(pb.StreamGenerateRequest(spec=raw(text)), timeout=1)
        with pytest.raises(grpc.RpcError) as caught:
            list(call)
        eventually(lambda: factory.mock.counts()["abandoned"], lambda count: count == gone + 1)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_stream_that_breaks_off_begins_anew(client: Client, factory: Factory) -> None:
    """Half a text is void: the call is made again, and the frames say where the text begins."""
    text = unique("broken")
    with scripted(factory, {"fault": "reset", "contains": text, "times": 1}):
        content, piece, kinds = read(client.StreamGenerate(pb.StreamGenerateRequest(spec=raw(text))))

    assert kinds.count("anew") == 1
    assert kinds[0] == "text"
    assert client.Generate(pb.GenerateRequest(spec=raw(text))).piece.content == content
    assert not piece.cached


def test_a_repeat_of_a_request_streams_the_first_answer(client: Client, factory: Factory) -> None:
    """With a request_id a piece is generated once, also when it bypasses the cache."""
    spec = raw(unique(), cache_policy=pb.CACHE_POLICY_BYPASS)
    request = pb.StreamGenerateRequest(spec=spec, request_id=uuid4().hex)
    first = read(client.StreamGenerate(request))
    before = calls(factory)

    second = read(client.StreamGenerate(request))

    assert second[:2] == first[:2]
    assert calls(factory) == before
    request.spec.variation = 1
    assert error_of(client.StreamGenerate, request).reason == "REQUEST_ID_REUSED"


def test_refusals_are_errors(client: Client, factory: Factory) -> None:
    """What cannot be made, may not be paid or is refused by the endpoint ends the stream with its reason."""
    capped = pb.StreamGenerateRequest(spec=raw(unique()), max_cost_micros=5)
    assert error_of(client.StreamGenerate, capped).reason == "MAX_COST_EXCEEDED"
    bad = pb.StreamGenerateRequest(spec=raw("x", fallback_models=["", *["m"] * 8]))
    error = error_of(client.StreamGenerate, bad)
    assert [each.field for each in error.violations] == ["spec.fallback_models", "spec.fallback_models[0]"]
    text = unique("invalid")
    with scripted(factory, {"fault": "invalid", "contains": text}):
        error = error_of(client.StreamGenerate, pb.StreamGenerateRequest(spec=raw(text)))
    assert kind_and_reason(error) == ("FAILED_PRECONDITION", "MODEL_REFUSED")


def test_a_dearer_model_is_held_to_the_cap_too(client: Client, factory: Factory) -> None:
    """A cap that allows the first model and not its stand-in refuses before that one is asked."""
    text = unique()
    spec = raw(text, fallback_models=[FALLBACK])
    worst = int(
        error_of(client.Generate, pb.GenerateRequest(spec=spec, max_cost_micros=1)).metadata[
            "worst_case_micros"
        ]
    )
    with scripted(factory, {"fault": "unauthenticated", "model": MODEL, "contains": text}):
        before = calls(factory)
        request = pb.StreamGenerateRequest(spec=spec, max_cost_micros=worst)
        assert error_of(client.StreamGenerate, request).reason == "MAX_COST_EXCEEDED"
        assert calls(factory) == before + 1


@pytest.mark.parametrize(
    "rule",
    [
        {"fault": "status", "status": 404},
        {"fault": "overloaded"},
        {"fault": "reset"},
        {"fault": "unauthenticated"},
    ],
    ids=lambda rule: str(rule["fault"]),
)
def test_another_model_stands_in(client: Client, factory: Factory, rule: dict[str, object]) -> None:
    """A model that cannot be had is replaced by the next, under its own key and at its own price."""
    text = unique()
    spec = raw(text, fallback_models=[FALLBACK])
    with scripted(factory, {**rule, "model": MODEL, "contains": text}):
        content, piece, _ = read(client.StreamGenerate(pb.StreamGenerateRequest(spec=spec)))
        assert piece.model == FALLBACK
        assert piece.cost_micros == 3 * piece.prompt_tokens + 5 * piece.output_tokens
        # The answer is found under the other's key, without a call to it.
        before = factory.mock.counts()["models"][FALLBACK]["requests"]
        again = client.Generate(pb.GenerateRequest(spec=spec)).piece
        assert (again.model, again.cached, again.content) == (FALLBACK, True, content)
        assert factory.mock.counts()["models"][FALLBACK]["requests"] == before

    # Nothing of it is under the first one's key.
    own = client.Generate(pb.GenerateRequest(spec=spec)).piece
    assert (own.model, own.cached) == (MODEL, False)
    assert own.cache_key != piece.cache_key
