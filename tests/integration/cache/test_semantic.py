"""The semantic tier over a real connection with the real model: opt-in, learned, never across a border."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc
import pytest
from content_cache.config import Settings
from contentfactory.cache.v1 import cache_pb2 as pb
from service_common.config import ConfigError, load
from service_common.errors import ServiceError
from service_common.rpc.status import from_rpc_error, from_status

Serve = Callable[..., Any]
ON = {"CACHE_SEMANTIC": "on", "CACHE_SEMANTIC_ERROR": "0.1"}
TOPICS = ("entropy", "gravity", "osmosis", "recursion", "federalism", "inflation", "stoicism", "haiku")
FOREIGN = (
    {"model": "n"},
    {"instructions": ""},
    {"parameters": "t=1"},
    {"model": "mB", "instructions": "e kind."},
)
TRAPS = (
    "Why is gravity not real?",
    "Explain 2 gravity.",
    "Who invented gravity?",
    "Explain no gravity",
)
PHRASES = ("Explain {}.", "What is {}?", "Can you describe {}?", "Tell me what {} is", "Define {}, please.")


def prompt(text: str, **fields: str) -> pb.SimilarPrompt:
    """Make a prompt."""
    return pb.SimilarPrompt(**({"model": "m", "instructions": "Be kind.", "text": text} | fields))


async def find(stub: Any, key: str, asked: pb.SimilarPrompt, **call: Any) -> Any:
    """Look one prompt up."""
    request = pb.BatchFindSimilarRequest.FindSimilarRequest(key=key, prompt=asked)
    (result,) = (await stub.BatchFindSimilar(pb.BatchFindSimilarRequest(requests=[request]), **call)).results
    assert result.WhichOneof("outcome") == "value", result
    return result.value


async def learn(stub: Any, ticket: str, said: Any = 0, **call: Any) -> int:
    """End one ticket."""
    request = pb.BatchLearnSimilarRequest.LearnSimilarRequest(ticket=ticket, equivalence=said)
    (result,) = (
        await stub.BatchLearnSimilar(pb.BatchLearnSimilarRequest(requests=[request]), **call)
    ).results
    return int(result.value)


async def store(stub: Any, key: str, value: str, **call: Any) -> None:
    """Store an answer."""
    content = pb.EntryContent(value=value.encode(), cost_micros=7)
    await stub.Set(pb.SetRequest(key=key, content=content), **call)


async def ask(stub: Any, text: str, answer: str, **call: Any) -> Any:
    """Do what a caller does: look up, and unless an answer is reused store one and end the ticket."""
    found = await find(stub, text, prompt(text), **call)
    if found.outcome != pb.SIMILAR_OUTCOME_REUSE:
        await store(stub, text, answer, **call)
        assert await learn(stub, found.ticket, **call) == pb.LEARN_SIMILAR_OUTCOME_LEARNED
    return found


async def teach(stub: Any, **call: Any) -> list[Any]:
    """Ask for eight topics in five ways, answers being equal per topic; returns what was found."""
    return [await ask(stub, each.format(topic), topic, **call) for topic in TOPICS for each in PHRASES]


async def test_it_is_off_unless_asked_for(running: Any) -> None:
    """Without the setting both calls say so, and no model is loaded."""
    for call in (
        running.stub.BatchFindSimilar(pb.BatchFindSimilarRequest()),
        running.stub.BatchLearnSimilar(pb.BatchLearnSimilarRequest()),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert from_rpc_error(caught.value).reason == "SEMANTIC_OFF"


def test_without_the_extra_the_setting_refuses_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the variable and what to install."""
    monkeypatch.setattr("content_cache.semantic.parts.find_spec", lambda name: None)
    load(Settings, {})
    with pytest.raises(ConfigError, match=r"CACHE_SEMANTIC.*contentfactory-cache\[semantic\]"):
        load(Settings, {"CACHE_SEMANTIC": "on"})


async def test_comparisons_lead_to_reuse_and_traps_still_miss(serve: Serve) -> None:
    """First verified, then reused with its source named, counted as a hit; polarity is never reused."""
    running = await serve(**ON)
    stub = running.stub
    outcomes = [each.outcome for each in await teach(stub)]
    assert outcomes[:2] == [pb.SIMILAR_OUTCOME_NONE, pb.SIMILAR_OUTCOME_COMPARE]
    assert pb.SIMILAR_OUTCOME_REUSE in outcomes
    before = await stub.GetStats(pb.GetStatsRequest())
    reused = await _reused(stub, "I'd like to understand gravity")
    assert (reused.entry.key, reused.entry.value) == ("Explain gravity.", b"gravity")
    assert 0.5 < reused.similarity <= 1
    assert not reused.ticket
    after = await stub.GetStats(pb.GetStatsRequest())
    assert (after.hits - before.hits, after.saved_micros - before.saved_micros) == (1, 7)
    for trap in (
        "Why is gravity not real?",
        "Explain 2 gravity.",
        "Who invented gravity?",
        "Explain inflation and gravity",
    ):
        for _ in range(5):
            assert (await find(stub, trap, prompt(trap))).outcome == pb.SIMILAR_OUTCOME_NONE
    assert _metric(running.metrics_port, 'content_cache_semantic_lookups_total{outcome="reuse"}') > 1


async def _reused(stub: Any, text: str) -> Any:
    """Look up until it is not one of the few that are verified again."""
    for _ in range(20):
        found = await find(stub, text, prompt(text))
        if found.outcome == pb.SIMILAR_OUTCOME_REUSE:
            return found
    raise AssertionError("never reused")


async def test_no_border_is_crossed(serve: Serve, tokens_file: Path) -> None:
    """Another tenant, model, system prompt or parameters finds nothing of it, nor its tickets."""
    stub = (await serve(AUTH_TOKENS_FILE=str(tokens_file), **ON)).stub
    own = {"metadata": [("authorization", "Bearer token-a")]}
    other = {"metadata": [("authorization", "Bearer token-a_b")]}
    await teach(stub, **own)
    text = "Explain entropy."
    for _ in range(10):
        for fields in (
            {"model": "n"},
            {"instructions": ""},
            {"parameters": "t=1"},
            {"model": "mB", "instructions": "e kind."},
        ):
            assert (await find(stub, "x", prompt(text, **fields), **own)).outcome == pb.SIMILAR_OUTCOME_NONE
        assert (await find(stub, "x", prompt(text), **other)).outcome == pb.SIMILAR_OUTCOME_NONE
    ticket = (await find(stub, "y", prompt("Explain yeast."), **own)).ticket
    await store(stub, "y", "yeast", **other)
    assert await learn(stub, ticket, **other) == pb.LEARN_SIMILAR_OUTCOME_TICKET_UNKNOWN
    assert await learn(stub, ticket, **own) == pb.LEARN_SIMILAR_OUTCOME_NOT_STORED
    await store(stub, "y", "yeast", **own)
    assert await learn(stub, ticket, **own) == pb.LEARN_SIMILAR_OUTCOME_LEARNED
    assert await learn(stub, ticket, **own) == pb.LEARN_SIMILAR_OUTCOME_TICKET_UNKNOWN


async def test_purged_and_deleted_answers_are_not_offered(serve: Serve) -> None:
    """What left the cache is gone for other prompts too, at once."""
    stub = (await serve(**ON)).stub
    await ask(stub, "Explain entropy.", "a")
    assert (await find(stub, "b", prompt("What is entropy?"))).outcome == pb.SIMILAR_OUTCOME_COMPARE
    await stub.Purge(pb.PurgeRequest(key_prefix="Explain"))
    assert (await find(stub, "b", prompt("What is entropy?"))).outcome == pb.SIMILAR_OUTCOME_NONE


async def test_a_callers_verdict_and_the_caches_own_are_learned(serve: Serve) -> None:
    """Comparisons count as what the caller says; unsaid, equal answers agree and different ones do not."""
    running = await serve(**ON)
    stub = running.stub
    await ask(stub, "Explain entropy.", "a measure of disorder")
    told = []
    for text, answer, said in (
        ("What is entropy?", "a measure of disorder", pb.ANSWER_EQUIVALENCE_UNSPECIFIED),
        ("Define entropy", "the number of goals in a season", pb.ANSWER_EQUIVALENCE_UNSPECIFIED),
        ("Describe entropy", "the number of goals in a season", pb.ANSWER_EQUIVALENCE_SAME),
        ("Tell me what entropy is", "a measure of disorder", pb.ANSWER_EQUIVALENCE_DIFFERENT),
    ):
        found = await find(stub, text, prompt(text))
        assert found.outcome == pb.SIMILAR_OUTCOME_COMPARE
        await store(stub, text, answer)
        assert await learn(stub, found.ticket, said) == pb.LEARN_SIMILAR_OUTCOME_LEARNED
        told.append(_compared(running.metrics_port))
    assert told == [(1, 0), (1, 1), (2, 1), (2, 2)]


def _compared(port: int) -> tuple[int, int]:
    name = "content_cache_semantic_comparisons_total"
    same, different = (_metric(port, f'{name}{{answers="{answers}"}}') for answers in ("same", "different"))
    return int(same), int(different)


def _metric(port: int, name: str) -> float:
    with urlopen(f"http://127.0.0.1:{port}/metrics") as page:
        lines = page.read().decode().splitlines()
    return float(next(line for line in lines if line.startswith(name)).split()[-1])


async def test_bad_requests_name_their_fields(serve: Serve) -> None:
    """Each bad prompt or ticket fails alone, with every bad field named; an empty batch fails as a whole."""
    stub = (await serve(**ON)).stub
    bad = pb.BatchFindSimilarRequest.FindSimilarRequest(key="", prompt=pb.SimilarPrompt(text="x" * 40_000))
    good = pb.BatchFindSimilarRequest.FindSimilarRequest(key="k", prompt=prompt("Explain entropy."))
    results = (await stub.BatchFindSimilar(pb.BatchFindSimilarRequest(requests=[bad, good]))).results
    fields = [each.field for each in from_status(results[0].error).violations]
    assert fields == ["requests[0].key", "requests[0].prompt.model", "requests[0].prompt.text"]
    assert results[1].value.outcome == pb.SIMILAR_OUTCOME_NONE
    long = await find(stub, "k", prompt("word " * 1000))
    assert (long.outcome, long.ticket) == (pb.SIMILAR_OUTCOME_NONE, "")
    empty = pb.BatchLearnSimilarRequest.LearnSimilarRequest()
    (refused,) = (await stub.BatchLearnSimilar(pb.BatchLearnSimilarRequest(requests=[empty]))).results
    assert from_status(refused.error).violations[0].field == "requests[0].ticket"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.BatchFindSimilar(pb.BatchFindSimilarRequest())
    error: ServiceError = from_rpc_error(caught.value)
    assert error.violations[0].field == "requests"


async def test_concurrent_ends_of_one_ticket_count_once(serve: Serve) -> None:
    """A ticket sent twice at once teaches once."""
    running = await serve(**ON)
    stub = running.stub
    await ask(stub, "Explain entropy.", "a")
    ticket = (await find(stub, "b", prompt("What is entropy?"))).ticket
    await store(stub, "b", "a")
    ends = await asyncio.gather(*(learn(stub, ticket) for _ in range(4)))
    assert sorted(ends) == [pb.LEARN_SIMILAR_OUTCOME_LEARNED, *[pb.LEARN_SIMILAR_OUTCOME_TICKET_UNKNOWN] * 3]
    assert _compared(running.metrics_port) == (1, 0)
