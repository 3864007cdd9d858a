"""Answers reused between prompts that say the same: a real cache, its real model, and only when asked for."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from contentfactory.processor.v1 import processor_pb2 as pb

from tests.integration.conftest import NewDatabase
from tests.integration.processor.conftest import Client, Factory, a_factory, raw, raw_item, scraped_from

TOPICS = ("entropy", "gravity", "osmosis", "recursion", "federalism", "inflation", "stoicism", "haiku")
LESSONS = ("Explain {}.", "What is {}?", "Can you describe {}?", "Tell me what {} is", "Define {}, please.")
SIMILAR, USE = pb.CACHE_POLICY_USE_SIMILAR, pb.CACHE_POLICY_USE
PATIENCE_S = 30


@pytest.fixture(scope="module")
def taught(new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    """A factory whose cache knows eight topics, each asked for in five ways, and has compared the answers."""
    semantic = {"CACHE_SEMANTIC": "on", "CACHE_SEMANTIC_ERROR": "0.1", "CACHE_SEMANTIC_SAME_OUTPUT": "0.01"}
    with a_factory(new_database(tmp_path_factory.mktemp("similar")), "cache", **semantic) as running:
        client = running.client()
        for lesson in LESSONS:
            run(client, lesson, SIMILAR)
            _until_learned(running)
        yield running


def _until_learned(factory: Factory) -> None:
    """Wait until no ticket is on its way: two looks at what is known, some time apart, show the same."""
    gives_up_at = time.monotonic() + PATIENCE_S
    before = -1.0
    while before != (known := _learned(factory)) or not known:
        assert time.monotonic() < gives_up_at, known
        before = known
        time.sleep(0.3)


def _learned(factory: Factory) -> float:
    names = ("content_cache_semantic_prompts", "content_cache_semantic_comparisons_total")
    return sum(scraped_from(factory.neighbours["cache"], name) for name in names)


def run(client: Client, phrase: str, policy: pb.CachePolicy.ValueType) -> dict[str, pb.Piece]:
    """Run a job of one phrase about each topic; returns what was made, by topic."""
    items = [raw_item(topic, phrase.format(topic)) for topic in TOPICS]
    job, results = client.run(items, cache_policy=policy)
    assert job.state == pb.JOB_STATE_SUCCEEDED
    return {topic: result.piece for topic, result in results.items()}


def test_a_job_takes_answers_to_prompts_that_say_the_same(taught: Factory) -> None:
    """Most topics in other words cost no call; each piece says whose answer it is and what that saved."""
    client = taught.client()
    before = taught.mock.counts()["requests"]
    items = [raw_item(topic, f"I'd like to understand {topic}") for topic in TOPICS]
    job, results = client.run(items, cache_policy=SIMILAR)
    reused = {topic: each.piece for topic, each in results.items() if each.piece.HasField("similarity")}
    calls = taught.mock.counts()["requests"] - before

    assert len(reused) >= len(TOPICS) / 2
    assert len(reused) + calls == len(TOPICS)
    assert (job.counts.cached, job.usage.model_calls) == (len(reused), calls)
    assert job.usage.saved_micros > 0
    for piece in reused.values():
        assert piece.cached
        assert 0.5 < piece.similarity <= 1
        assert piece.cost_micros == 0
    known = {each.cache_key: each for lesson in LESSONS for each in run(client, lesson, USE).values()}
    assert all(known[piece.cache_key].content == piece.content for piece in reused.values())


def test_nobody_gets_a_similar_answer_without_asking(taught: Factory) -> None:
    """Under USE the same words cost a call each, though a similar answer is there."""
    before = taught.mock.counts()["requests"]
    made = run(taught.client(), "I want to understand {}", USE)
    assert taught.mock.counts()["requests"] - before == len(TOPICS)
    assert not any(each.HasField("similarity") for each in made.values())


def test_what_is_denied_or_another_tenants_is_made(taught: Factory) -> None:
    """A prompt that denies, or counts, gets an answer of its own; and so does another tenant."""
    for client, phrase in (
        (taught.client(), "Why is {} not real?"),
        (taught.client(), "Explain 2 {}."),
        (taught.client("umbrella"), "I would like to understand {}"),
    ):
        assert not any(each.cached for each in run(client, phrase, SIMILAR).values())


def test_a_single_piece_takes_one_too(taught: Factory) -> None:
    """Generate reuses as jobs do; of several tries, for one in twenty is verified all the same."""
    client = taught.client()
    phrases = ("Please tell me what {} is", "Could you explain {}?", "I want to know what {} is")
    requests = [
        pb.GenerateRequest(spec=raw(phrase.format(topic), cache_policy=SIMILAR))
        for phrase in phrases
        for topic in TOPICS[:3]
    ]
    assert any(client.Generate(each).piece.HasField("similarity") for each in requests)


def test_with_the_tier_off_it_is_as_use(factory: Factory, client: Client) -> None:
    """The job is done, every prompt gets its own answer, and the log says once how to switch it on."""
    made = run(client, "Say what {} is.", SIMILAR)
    assert not any(each.HasField("similarity") for each in made.values())
    assert all(each.cached for each in run(client, "Say what {} is.", SIMILAR).values())
    assert factory.processor.log().count("similar_answers_are_off") == 1
