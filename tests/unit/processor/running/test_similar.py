"""Answers to similar prompts: which prompts may share one, and that a piece takes it or ends its ticket."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from parallel_processor.jobs.piece import CachePolicy, Piece, PieceSpec, RawPrompt, Sampling
from parallel_processor.model.failures import FailureClass
from parallel_processor.running.order import Order
from parallel_processor.running.ports import Entry, Owner, Question, Similar, Source
from parallel_processor.running.similar import question_of
from parallel_processor.running.workshop import order_of
from service_common.errors import failed_precondition
from service_common.output_contract import OutputContract

from tests.unit.processor.running.fakes import AWAY, failure, prompt, settle
from tests.unit.processor.running.test_making import Bench, _Naps
from tests.unit.processor.samples import OWNER

USE, SIMILAR = CachePolicy.USE, CachePolicy.USE_SIMILAR
OTHER = Entry("the other's answer", "text/markdown", 9)
REUSE = Similar(OTHER, Source("k1-other", 0.93))
TEXT = "text"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A bench whose naps take no time."""
    each = Bench()
    monkeypatch.setattr("parallel_processor.running.making.asyncio", _Naps(each))
    return each


def order(spec: PieceSpec, **request: object) -> Order:
    """Return the order for a spec, with something else in its request."""
    messages = spec.raw.messages if spec.raw else (("user", "rendered"),)
    made = replace(prompt(), messages=messages, template_id=spec.template_id or "", template_version=3)
    ordered = order_of(spec, made, tenant="acme", default_model="m", max_output_tokens=None)
    return replace(ordered, request=replace(ordered.request, **request))  # type: ignore[arg-type]  # its fields


def of_template(**variables: str) -> PieceSpec:
    """Return a spec of a template."""
    return PieceSpec(template_id="faq", variables=variables)


def of_messages(*messages: tuple[str, str]) -> PieceSpec:
    """Return a spec of a raw prompt."""
    return PieceSpec(raw=RawPrompt(messages, Sampling(50)))


def scope(asked: Order) -> tuple[str, str, str]:
    """Return what must be equal for two prompts to share an answer."""
    question = question_of(asked)
    assert question is not None
    return question.model, question.instructions, question.parameters


def test_only_the_text_may_differ() -> None:
    """Template, version, messages before the last, model, sampling and variation keep prompts apart."""
    topic = of_template(topic="Tides")
    asked = order(topic)
    assert scope(asked) == scope(order(of_template(topic="The tides")))
    pinned = replace(asked, prompt=replace(asked.prompt, template_version=4))
    assert scope(asked) != scope(pinned)
    others = (
        order(topic, model="n"),
        order(topic, temperature=0.1),
        order(topic, seed=1),
        order(topic, max_tokens=7),
        order(topic, stop=("x",)),
        order(replace(topic, variation=1)),
        order(replace(topic, template_id="outline")),
        order(of_messages(("user", "Tides"))),
        order(of_messages(("system", "Be kind."), ("user", "Tides"))),
        order(of_messages(("system", "Be brief."), ("user", "Tides"))),
        order(of_messages(("system", "Be brief."), ("assistant", "Tides"))),
    )
    assert len({scope(asked), *map(scope, others)}) == 1 + len(others)


def test_words_do_not_move_from_one_variable_to_the_next() -> None:
    """The text tells which words are whose, so that their order differs when they move."""
    one, other = (question_of(order(of_template(a=a, b=b))) for a, b in (("x y", "z"), ("x", "y z")))
    assert one is not None
    assert other is not None
    assert one.text.split() != other.text.split()


@pytest.mark.parametrize(
    "spec",
    [
        of_messages(("user", "  ")),
        of_messages(("user", "x" * 33_000)),
        of_messages(("system", "x" * 300_000), ("user", "x")),
        of_template(outline="ä" * 17_000),
    ],
)
def test_what_cannot_be_compared_is_not_asked(spec: PieceSpec) -> None:
    """Nothing, or more than the cache takes, is no question."""
    assert question_of(order(spec)) is None


async def test_a_similar_prompts_answer_is_the_piece(bench: Bench) -> None:
    """No call, no announcement; the lease is given back, and the piece says whose answer it is."""
    bench.tier.answers[TEXT] = REUSE
    made = await bench.make(SIMILAR)
    assert isinstance(made, Piece)
    assert (made.content, made.cached, made.cache_key, made.similarity) == (
        OTHER.value,
        True,
        "k1-other",
        0.93,
    )
    assert (bench.events, bench.cache.fills, bench.tier.learned) == ([], [], [])
    assert bench.cache.released == [bench.order().key]


async def test_a_piece_of_its_own_ends_its_ticket_once_it_is_stored(bench: Bench) -> None:
    """It is told after the fill, so that the cache finds the answer."""
    stored_when_told: list[bool] = []
    key = bench.order().key
    learn = bench.tier.learn

    async def noting(owner: Owner, tickets: Sequence[tuple[str, str]]) -> None:
        stored_when_told.append(key in bench.cache.entries)
        await learn(owner, tickets)

    bench.tier.learn = noting  # type: ignore[method-assign]  # what the fake does, and a look beside it
    made = await bench.make(SIMILAR)
    assert isinstance(made, Piece)
    assert (made.cached, made.similarity) == (False, None)
    assert bench.tier.learned == [(key, f"ticket of {key}")]
    assert stored_when_told == [True]


@pytest.mark.parametrize("policy", [USE, CachePolicy.REFRESH, CachePolicy.BYPASS])
async def test_nobody_is_asked_who_did_not_want_it(bench: Bench, policy: CachePolicy) -> None:
    """It is opt-in by policy: any other never takes another prompt's answer."""
    bench.tier.answers[TEXT] = REUSE
    made = await bench.make(policy)
    assert isinstance(made, Piece)
    assert (made.content, bench.tier.asked) == ("an answer", [])


async def test_its_own_entry_goes_before_a_similar_one(bench: Bench) -> None:
    """What is stored for the very prompt is taken without a question."""
    bench.tier.answers[TEXT] = REUSE
    bench.cache.entries[bench.order().key] = Entry("its own", "text/markdown", 3)
    made = await bench.make(SIMILAR)
    assert isinstance(made, Piece)
    assert (made.content, made.similarity, bench.tier.asked) == ("its own", None, [])


async def test_an_answer_that_breaks_the_contract_is_not_reused(bench: Bench) -> None:
    """The piece is made as if there were none, and stored under its own key."""
    bench.tier.answers[TEXT] = REUSE
    bench.endpoint.script = ['{"a": 1}']
    wanted = replace(bench.order(), contract=OutputContract(json_schema="{}"))
    made = await bench.making.make(wanted, bench.work(SIMILAR), bench.effort)
    await bench.content.flushed()
    assert isinstance(made, Piece)
    assert (made.cached, made.cache_key, bench.cache.leases) == (False, wanted.key, {})


@pytest.mark.parametrize("error", [AWAY, failed_precondition("SEMANTIC_OFF", "off")])
async def test_without_the_tier_the_piece_is_made(bench: Bench, error: Exception) -> None:
    """A cache that does not answer, or has it off, costs nothing but the question."""
    bench.tier.failing = error  # type: ignore[assignment]  # both are service errors
    made = await bench.make(SIMILAR)
    assert isinstance(made, Piece)
    assert (made.cached, len(bench.tier.asked)) == (False, 1)


async def test_a_tier_that_is_off_is_asked_again_after_a_minute(bench: Bench) -> None:
    """Until then nobody loses time on it."""
    bench.tier.failing = failed_precondition("SEMANTIC_OFF", "off")
    for number, seconds, asked in ((1, 0.0, 1), (2, 59.0, 1), (3, 2.0, 2)):
        bench.clock.advance(seconds)
        made = await bench.making.make(bench.order(f"k1-{number}"), bench.work(SIMILAR), bench.effort)
        assert isinstance(made, Piece)
        assert len(bench.tier.asked) == asked


async def test_many_long_questions_go_in_several_requests(bench: Bench) -> None:
    """Together they would be larger than the cache's largest message."""
    similar = bench.content.similar
    assert similar is not None
    long = ("system", "x" * 200_000)
    orders = [order(of_messages(long, ("user", f"question {number}"))) for number in range(25)]
    sizes: list[int] = []
    find = bench.tier.find

    async def noting(owner: Owner, questions: Sequence[Question]) -> list[Similar | Exception]:
        sizes.append(sum(len(each.instructions) for each in questions))
        return await find(owner, questions)

    bench.tier.find = noting  # type: ignore[method-assign]  # what the fake does, and a look beside it
    found = await asyncio.gather(*(similar.find(OWNER, each) for each in orders))
    assert [each.ticket for each in found] == [f"ticket of {each.key}" for each in orders]
    assert max(sizes) < 2_100_000
    assert 3 <= len(sizes) <= 6


async def test_a_try_that_failed_asks_anew(bench: Bench) -> None:
    """Somebody else may have stored an answer meanwhile, and only the ticket of the last try is ended."""
    bench.endpoint.script = [failure(FailureClass.RATE_LIMITED)]
    made = await bench.make(SIMILAR)
    assert isinstance(made, Piece)
    assert (len(bench.tier.asked), len(bench.tier.learned)) == (2, 1)


async def test_whoever_is_cancelled_while_asking_gives_the_lease_back(bench: Bench) -> None:
    """Nobody waits for its lease to expire."""
    asked = asyncio.Event()

    async def never() -> None:
        asked.set()
        await asyncio.Event().wait()

    bench.tier.gate = never
    making = asyncio.create_task(bench.making.make(bench.order(), bench.work(SIMILAR), bench.effort))
    await asked.wait()
    making.cancel()
    await asyncio.gather(making, return_exceptions=True)
    await settle()
    assert (bench.cache.leases, bench.cache.released) == ({}, [bench.order().key])


def test_equal_items_share_an_answer_only_when_they_use_the_cache_alike() -> None:
    """Who did not opt in never gets another prompt's answer by way of an equal item."""
    spec = of_template(topic="Tides")
    assert order(replace(spec, cache_policy=USE)).want == order(spec).want
    assert order(replace(spec, cache_policy=SIMILAR)).want != order(spec).want
