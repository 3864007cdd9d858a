"""Generate: one piece now, once per request_id, never above its cap, and every documented failure."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from contentfactory.processor.v1 import processor_pb2 as pb

from tests.integration.processor.conftest import (
    MODEL,
    Client,
    Factory,
    error_of,
    kind_and_reason,
    raw,
)


def unique(words: str = "write") -> str:
    """Return a prompt that nobody asked before."""
    return f"{words} {uuid4().hex}"


def from_template(template: str = "faq", **variables: str) -> pb.PieceSpec:
    """Return the spec of a template."""
    return pb.PieceSpec(template_id=template, variables=variables)


def calls(factory: Factory) -> int:
    """Return how many calls the endpoint has seen."""
    return int(factory.mock.counts()["requests"])


def test_a_piece_says_how_it_came_to_be(client: Client) -> None:
    """Content, model, tokens, cost and quality are those of the call; a raw prompt has no template."""
    spec = from_template(topic=unique("bees"))
    piece = client.Generate(pb.GenerateRequest(spec=spec)).piece
    assert (piece.template_id, piece.content_type, piece.model) == ("faq", "faq", MODEL)
    assert piece.content
    assert piece.template_version >= 1
    assert piece.cost_micros == piece.prompt_tokens + 2 * piece.output_tokens > 0
    assert (piece.cached, piece.cache_key[:3]) == (False, "k1-")
    assert 0 <= piece.quality <= 1
    assert piece.HasField("quality")
    plain = client.Generate(pb.GenerateRequest(spec=raw(unique()))).piece
    assert (plain.template_id, plain.template_version, plain.content_type) == ("", 0, "text")


def test_the_second_time_it_comes_from_the_cache(client: Client, factory: Factory) -> None:
    """An equal request costs nothing and gets the same content; even a cap of one micro lets it through."""
    request = pb.GenerateRequest(spec=raw(unique()))
    first = client.Generate(request).piece
    before = calls(factory)
    request.max_cost_micros = 1
    second = client.Generate(request).piece
    assert calls(factory) == before
    assert (second.content, second.cached, second.cost_micros) == (first.content, True, 0)
    assert second.prompt_tokens == first.prompt_tokens


def test_another_tenant_never_shares_an_entry(client: Client, factory: Factory) -> None:
    """The same prompt of another tenant has another key and is generated for itself."""
    request = pb.GenerateRequest(spec=raw(unique()))
    mine = client.Generate(request).piece
    theirs = factory.client("umbrella").Generate(request).piece
    assert not theirs.cached
    assert mine.cache_key != theirs.cache_key


def test_equal_requests_at_once_are_one_call(client: Client, factory: Factory) -> None:
    """Eight callers with one prompt pay for one call and all get its content."""
    request = pb.GenerateRequest(spec=raw(unique()))
    before = calls(factory)
    with ThreadPoolExecutor(8) as pool:
        pieces = list(pool.map(lambda _: client.Generate(request).piece, range(8)))
    assert calls(factory) == before + 1
    assert len({each.content for each in pieces}) == 1
    assert sorted(each.cached for each in pieces) == [False, *[True] * 7]


def test_a_repeat_of_a_request_gets_the_first_answer(client: Client, factory: Factory) -> None:
    """With a request_id even a piece that bypasses the cache is generated once; another body is refused."""
    spec = raw(unique(), cache_policy=pb.CACHE_POLICY_BYPASS)
    request = pb.GenerateRequest(spec=spec, request_id=uuid4().hex)
    first = client.Generate(request).piece
    before = calls(factory)
    assert client.Generate(request).piece == first
    assert calls(factory) == before
    request.spec.variation = 1
    assert kind_and_reason(error_of(client.Generate, request)) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")


def test_a_repeat_while_the_first_is_under_way_is_told_to_wait(client: Client, factory: Factory) -> None:
    """Nothing is generated twice: the repeat is UNAVAILABLE with a time to come back."""
    text = unique("slow")
    factory.mock.script({"fault": "slow", "contains": text, "latency_ms": 1500})
    request = pb.GenerateRequest(spec=raw(text, cache_policy=pb.CACHE_POLICY_BYPASS), request_id=uuid4().hex)
    answers: list[pb.Piece] = []
    before = calls(factory)
    first = threading.Thread(target=lambda: answers.append(client.Generate(request).piece))
    first.start()
    while calls(factory) == before:
        pass
    error = error_of(client.Generate, request)
    assert kind_and_reason(error) == ("UNAVAILABLE", "REQUEST_IN_PROGRESS")
    assert error.retry_after is not None
    first.join()
    assert client.Generate(request).piece == answers[0]
    assert calls(factory) == before + 1


def test_a_failed_request_may_be_repeated(client: Client, factory: Factory) -> None:
    """The request_id of a request that brought nothing is free for another try."""
    text = unique("flaky")
    factory.mock.script({"fault": "invalid", "contains": text, "times": 1})
    request = pb.GenerateRequest(spec=raw(text), request_id=uuid4().hex)
    assert error_of(client.Generate, request).reason == "MODEL_REFUSED"
    assert client.Generate(request).piece.content


def test_nothing_is_asked_that_might_cost_more_than_the_cap(client: Client, factory: Factory) -> None:
    """The worst case is counted before the call: a cap below it refuses without asking, one at it asks."""
    request = pb.GenerateRequest(spec=raw(unique()), max_cost_micros=5)
    before = calls(factory)
    error = error_of(client.Generate, request)
    assert kind_and_reason(error) == ("FAILED_PRECONDITION", "MAX_COST_EXCEEDED")
    assert calls(factory) == before
    request.max_cost_micros = int(error.metadata["worst_case_micros"])
    assert client.Generate(request).piece.cost_micros <= request.max_cost_micros


def test_tries_that_failed_count_against_the_cap(client: Client, factory: Factory) -> None:
    """A call of unknown fate counts at its worst case, so a cap for one call is a cap for one try."""
    text = unique("broken")
    factory.mock.script({"fault": "server_error", "contains": text})
    request = pb.GenerateRequest(spec=raw(text), max_cost_micros=1)
    request.max_cost_micros = int(error_of(client.Generate, request).metadata["worst_case_micros"])
    before = calls(factory)
    assert error_of(client.Generate, request).reason == "MAX_COST_EXCEEDED"
    assert calls(factory) == before + 1


FAILURES = {
    "invalid": ("FAILED_PRECONDITION", "MODEL_REFUSED"),
    "filtered_prompt": ("FAILED_PRECONDITION", "CONTENT_FILTERED"),
    "filtered_output": ("FAILED_PRECONDITION", "CONTENT_FILTERED"),
    "unauthenticated": ("FAILED_PRECONDITION", "MODEL_UNAUTHENTICATED"),
    "quota_exhausted": ("FAILED_PRECONDITION", "MODEL_QUOTA_EXHAUSTED"),
}


@pytest.mark.parametrize("fault", FAILURES)
def test_what_the_endpoint_will_not_do_is_said_at_once(client: Client, factory: Factory, fault: str) -> None:
    """A failure that waiting does not mend is the answer after one call."""
    text = unique(fault)
    factory.mock.script({"fault": fault, "contains": text})
    before = calls(factory)
    error = error_of(client.Generate, pb.GenerateRequest(spec=raw(text)))
    assert kind_and_reason(error) == FAILURES[fault]
    assert calls(factory) == before + 1
    assert text not in error.message


@pytest.mark.parametrize("fault", ["rate_limited", "overloaded", "reset", "malformed", "server_error"])
def test_what_passes_is_waited_out(client: Client, factory: Factory, fault: str) -> None:
    """A failure that may pass is tried again, and the piece comes."""
    text = unique(fault)
    factory.mock.script({"fault": fault, "contains": text, "times": 1})
    assert client.Generate(pb.GenerateRequest(spec=raw(text))).piece.content


def test_a_truncated_piece_says_so_and_is_not_kept(client: Client, factory: Factory) -> None:
    """An output that was cut at max_tokens is content, marked as such; the next one is generated anew."""
    request = pb.GenerateRequest(spec=raw(unique(), max_tokens=3))
    first, second = (client.Generate(request).piece for _ in range(2))
    assert (first.truncated, first.output_tokens, second.truncated, second.cached) == (True, 3, True, False)


BAD: dict[str, tuple[pb.GenerateRequest, tuple[str, str], str]] = {
    "no spec": (pb.GenerateRequest(), ("INVALID_ARGUMENT", "INVALID_FIELD"), "spec"),
    "no prompt": (
        pb.GenerateRequest(spec=pb.PieceSpec(model="m")),
        ("INVALID_ARGUMENT", "INVALID_FIELD"),
        "spec.prompt",
    ),
    "negative cap": (
        pb.GenerateRequest(spec=raw("x"), max_cost_micros=-1),
        ("INVALID_ARGUMENT", "INVALID_FIELD"),
        "max_cost_micros",
    ),
    "unknown variable": (
        pb.GenerateRequest(spec=from_template(topic="x", nothing="y")),
        ("INVALID_ARGUMENT", "INVALID_VARIABLE"),
        "spec.variables.nothing",
    ),
    "missing variable": (
        pb.GenerateRequest(spec=from_template()),
        ("INVALID_ARGUMENT", "INVALID_VARIABLE"),
        "spec.variables.topic",
    ),
    "unknown template": (
        pb.GenerateRequest(spec=from_template("no_such", topic="x")),
        ("NOT_FOUND", "TEMPLATE_NOT_FOUND"),
        "",
    ),
    "unknown version": (
        pb.GenerateRequest(
            spec=pb.PieceSpec(template_id="faq", template_version=99, variables={"topic": "x"})
        ),
        ("NOT_FOUND", "VERSION_NOT_FOUND"),
        "",
    ),
    "unknown price": (
        pb.GenerateRequest(spec=raw("x", model="never-heard-of")),
        ("FAILED_PRECONDITION", "PRICE_UNKNOWN"),
        "",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_requests_are_refused_before_any_call(client: Client, factory: Factory, case: str) -> None:
    """What cannot be made is refused with the field or the reason, and the model is not asked."""
    request, expected, field = BAD[case]
    before = calls(factory)
    error = error_of(client.Generate, request)
    assert kind_and_reason(error) == expected
    assert [field] * bool(field) == [each.field for each in error.violations]
    assert calls(factory) == before


def test_pieces_are_counted_as_spend(client: Client, factory: Factory, metric: Callable[..., float]) -> None:
    """What interactive pieces cost is in the metrics, to the token."""
    labels = {"model": MODEL, "content_type": "text"}
    spent = metric(factory, "model_spend_micros_total", **labels)
    tokens = metric(factory, "model_tokens_total", kind="output")
    piece = client.Generate(pb.GenerateRequest(spec=raw(unique()))).piece
    assert metric(factory, "model_spend_micros_total", **labels) - spent == piece.cost_micros
    assert metric(factory, "model_tokens_total", kind="output") - tokens == piece.output_tokens
