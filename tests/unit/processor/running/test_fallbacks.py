"""Pieces that another model makes: its price, its key, its leases; and text that is heard as it comes."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from parallel_processor.jobs.piece import CachePolicy, Piece, PieceError
from parallel_processor.model.failures import FailureClass, Fate
from parallel_processor.running.entries import entry_of
from parallel_processor.running.order import Order
from parallel_processor.running.workshop import order_of

from tests.unit.processor.running.fakes import failure, prompt, settle
from tests.unit.processor.running.test_making import Bench, _Naps
from tests.unit.processor.samples import piece, raw_spec

OVERLOADED = FailureClass.OVERLOADED


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A bench whose naps take no time."""
    each = Bench()
    monkeypatch.setattr("parallel_processor.running.making.asyncio", _Naps(each))
    return each


def order(model: str = "m", *fallbacks: str) -> Order:
    """Return the order for a piece that may have other models."""
    spec = replace(raw_spec(), fallback_models=fallbacks)
    return order_of(spec, prompt(model=model), tenant="acme", default_model="m", max_output_tokens=None)


async def test_the_next_model_writes_what_the_first_does_not(bench: Bench) -> None:
    """After two failures the next is asked at once; the piece, its key and its cost are the next one's."""
    bench.endpoint.script = [failure(OVERLOADED), failure(OVERLOADED)]

    made = await bench.making.make(order("m", "other"), bench.work(), bench.effort)

    assert isinstance(made, Piece)
    assert [each.model for each in bench.endpoint.asked] == ["m", "m", "other"]
    assert (made.model, made.cache_key) == ("other", order("other").key)
    assert made.cache_key != order("m").key
    assert [fill.key for fill in bench.cache.fills] == [made.cache_key]
    assert bench.effort.usage.cost_micros == made.cost_micros == 110
    assert not bench.cache.leases
    assert order("m").key in bench.cache.released


async def test_no_announcement_outlives_the_model_it_was_for(bench: Bench) -> None:
    """Each call is announced for itself, and taken back before the next model's."""
    bench.endpoint.script = [failure(FailureClass.UNAUTHENTICATED)]

    await bench.making.make(order("m", "other"), bench.work(), bench.effort)

    assert bench.events == ["announce", "call", "withdraw", "announce", "call"]


async def test_what_the_next_model_has_written_before_is_found(bench: Bench) -> None:
    """The other's key is looked into before it is asked; nothing is found or stored under the first one's."""
    other = order("other")
    bench.cache.entries[other.key] = entry_of(piece("known"), holder="else", item_id="x")
    bench.endpoint.script = [failure(FailureClass.QUOTA_EXHAUSTED)]

    made = await bench.making.make(order("m", "other"), bench.work(), bench.effort)

    assert isinstance(made, Piece)
    assert (made.content, made.cached, made.cache_key) == ("known", True, other.key)
    assert [each.model for each in bench.endpoint.asked] == ["m"]
    assert not bench.cache.fills


async def test_what_stands_in_is_not_scored(bench: Bench) -> None:
    """The optimizer learns nothing about a prompt's version from a model it was not made for."""
    bench.endpoint.script = [failure(FailureClass.QUOTA_EXHAUSTED)]

    made = await bench.making.make(order("m", "other"), bench.work(), bench.effort)

    assert isinstance(made, Piece)
    assert made.quality is None
    assert not bench.optimizer.recorded


async def test_a_suspended_model_is_not_asked(bench: Bench) -> None:
    """With its breaker open the next is asked without a try, a slot or a sleep; without a next it waits."""
    for _ in range(1000):
        ticket = bench.breaker.admit()
        assert ticket is not None
        bench.breaker.failed(ticket)

    made = await bench.making.make(order("m", "other"), bench.work(), bench.effort)
    alone = await bench.making.make(order("m"), bench.work(persistent=False), bench.effort)

    assert isinstance(made, Piece)
    assert (made.model, bench.slept) == ("other", [])
    assert isinstance(alone, PieceError)
    assert "'m'" in alone.message


async def test_the_faults_of_one_model_do_not_count_at_the_next(bench: Bench) -> None:
    """Each has its tries: two of the first, and of the last as many as of one without a choice."""
    bench.endpoint.script = [failure(FailureClass.TIMEOUT, Fate.UNKNOWN)] * 9

    made = await bench.making.make(order("m", "other", "third"), bench.work(), bench.effort)

    assert made == PieceError("MODEL_TIMEOUT", "it failed")
    assert [each.model for each in bench.endpoint.asked] == ["m"] * 2 + ["other"] * 2 + ["third"] * 3
    assert bench.effort.usage.uncertain_calls == bench.effort.attempts == 7


async def test_each_call_has_a_hearer_of_its_own(bench: Bench) -> None:
    """Whoever listens is asked before each call, and hears only what that call writes."""
    heard: list[list[str]] = []

    def listen() -> object:
        heard.append([])
        return heard[-1].append

    bench.endpoint.script = [failure(OVERLOADED), "some good words"]
    work = replace(bench.work(CachePolicy.BYPASS), listen=listen)  # type: ignore[arg-type]  # append is one

    made = await bench.making.make(order(), work, bench.effort)

    assert isinstance(made, Piece)
    assert heard == [[], ["some", " good", " words"]]
    assert made.content == "some good words"


async def test_a_cancelled_call_is_told_as_uncertain_spend(bench: Bench) -> None:
    """What a call that was cut off may have cost is shown when it happens, to whoever counts spend."""
    bench.endpoint.script = [asyncio.Event()]
    making = asyncio.create_task(bench.making.make(order(), bench.work(), bench.effort))
    await settle()
    making.cancel()
    await asyncio.wait([making])
    assert [each.uncertain_calls for each in bench.spent] == [1]
    assert bench.spent[0] == bench.effort.usage
