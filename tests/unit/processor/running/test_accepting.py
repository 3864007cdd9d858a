"""Pieces held to contracts: asked for again once, every micro accounted for, only what is right is cached."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from parallel_processor.jobs.piece import CachePolicy, Piece, PieceError, Usage
from parallel_processor.model.failures import FailureClass
from parallel_processor.model.requests import ModelReply, ModelRequest
from parallel_processor.running.accepting import Acceptance, acceptable
from parallel_processor.running.entries import entry_of, is_own_work
from parallel_processor.running.order import Order
from service_common.output_contract import OutputContract

from tests.unit.processor.running.fakes import failure, settle
from tests.unit.processor.running.test_making import Bench, _Naps
from tests.unit.processor.samples import piece

CONTRACT = OutputContract(json_schema='{"type": "object", "required": ["a"]}')
GOOD, FENCED, BAD = '{"a": 1}', '```json\n{"a": 1}\n```', '{"b": 1}'


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A bench whose naps take no time."""
    each = Bench()
    monkeypatch.setattr("parallel_processor.running.making.asyncio", _Naps(each))
    return each


def held(bench: Bench) -> Order:
    """Return an order with a contract."""
    return replace(bench.order(), contract=CONTRACT)


async def make(bench: Bench, *, policy: CachePolicy = CachePolicy.USE) -> Piece | PieceError:
    """Make a piece by a contract; nothing is left held."""
    made = await bench.making.make(held(bench), bench.work(policy), bench.effort)
    await bench.content.flushed()
    assert (bench.slots.active, bench.slots.waiting, bench.cache.leases) == (0, 0, {})
    assert sum(bench.spent, Usage()) == bench.effort.usage
    return made


async def test_what_is_right_at_once_is_taken_at_once(bench: Bench) -> None:
    """A good output costs one call and is no repair."""
    bench.endpoint.script = [GOOD]
    made = await make(bench)
    assert isinstance(made, Piece)
    assert (made.content, bench.effort.attempts, bench.repairs) == (GOOD, 1, [])


async def test_what_is_around_the_content_is_taken_off_without_a_call(bench: Bench) -> None:
    """The clean content is the result and what is cached."""
    bench.endpoint.script = [FENCED]
    made = await make(bench)
    assert isinstance(made, Piece)
    assert (made.content, bench.effort.attempts, bench.repairs) == (GOOD, 1, ["extracted"])
    assert [each.entry.value for each in bench.cache.fills] == [GOOD]


async def test_a_malformed_output_is_asked_for_again(bench: Bench) -> None:
    """The second call says what was wrong; both are announced and paid; the key is the first request's."""
    bench.endpoint.script = [BAD, GOOD]
    made = await make(bench)
    assert isinstance(made, Piece)
    assert (made.content, made.cost_micros, made.cache_key) == (GOOD, 220, bench.order().key)
    assert bench.events == ["announce", "call", "withdraw", "announce", "call"]
    assert (bench.effort.attempts, bench.effort.usage) == (2, Usage(200, 20, 2, 220))
    first, second = bench.endpoint.asked
    assert second.messages[: len(first.messages)] == first.messages
    assert BAD in second.messages[-2].content
    assert '"a" is a required property' in second.messages[-1].content
    assert [(each.key, each.entry.value) for each in bench.cache.fills] == [(bench.order().key, GOOD)]
    assert bench.repairs == ["asked_again", "mended"]


async def test_an_entry_found_after_a_crash_accounts_for_the_last_call_alone(bench: Bench) -> None:
    """The first answer was accounted for when the second was announced; its cost must not count twice."""
    bench.endpoint.script = [BAD, GOOD]
    await make(bench)
    (fill,) = bench.cache.fills
    assert fill.entry.cost_micros == 110
    assert is_own_work(fill.entry, holder="job/0", item_id="a")


async def test_twice_malformed_is_the_end(bench: Bench) -> None:
    """A reason of its own names the findings; nothing is cached, and the optimizer is told."""
    bench.endpoint.script = [BAD, "prose", GOOD]
    made = await make(bench)
    assert isinstance(made, PieceError)
    assert made.reason == "MALFORMED_OUTPUT"
    assert "it is not JSON" in made.message
    assert (bench.effort.attempts, bench.cache.fills, bench.repairs) == (2, [], ["asked_again", "malformed"])
    await settle()
    ((_, (report,)),) = bench.optimizer.recorded
    assert (report.succeeded, report.output, report.cost_micros) == (False, "", 220)


async def test_a_failure_between_does_not_use_up_the_second_question(bench: Bench) -> None:
    """An overloaded endpoint is waited for, and then asked the second question, not the first."""
    bench.endpoint.script = [BAD, failure(FailureClass.OVERLOADED), GOOD]
    made = await make(bench)
    assert isinstance(made, Piece)
    assert len(bench.endpoint.asked) == 3
    assert bench.endpoint.asked[1] == bench.endpoint.asked[2] != bench.endpoint.asked[0]


async def test_the_slot_is_given_back_before_the_second_question(bench: Bench) -> None:
    """With one slot, a piece that stood in line meanwhile goes first."""
    gate = asyncio.Event()
    bench.endpoint.script = [gate, GOOD]
    one = asyncio.create_task(bench.making.make(held(bench), bench.work(), bench.effort))
    await settle()
    other = bench.order("k1-other")
    two = asyncio.create_task(bench.making.make(other, bench.work(), bench.effort))
    await settle()
    bench.endpoint.script = ["two's answer", GOOD]
    gate.set()
    await asyncio.gather(one, two)
    assert [len(each.messages) for each in bench.endpoint.asked] == [1, 1, 3]


async def test_a_cached_entry_that_breaks_the_contract_is_replaced(bench: Bench) -> None:
    """It was made for another contract or for none; one that meets it is taken, clean."""
    order = held(bench)
    bench.cache.entries[order.key] = entry_of(piece(BAD), holder="h", item_id="i")
    bench.endpoint.script = [GOOD]
    made = await make(bench)
    assert isinstance(made, Piece)
    assert (made.content, made.cached) == (GOOD, False)
    assert bench.cache.entries[order.key].value == GOOD
    bench.cache.entries[order.key] = entry_of(piece(FENCED), holder="h", item_id="i")
    again = await make(bench)
    assert isinstance(again, Piece)
    assert (again.content, again.cached) == (GOOD, True)


async def test_what_someone_else_made_is_checked_too(bench: Bench) -> None:
    """A piece that waited for a busy key and gets what breaks its contract makes its own."""
    order = held(bench)
    bench.cache.leases[order.key] = "elsewhere"
    bench.endpoint.script = [GOOD]
    making = asyncio.create_task(bench.making.make(order, bench.work(), bench.effort))
    await settle()
    del bench.cache.leases[order.key]
    bench.cache.news.put_nowait((order.key, entry_of(piece(BAD), holder="h", item_id="i")))
    made = await making
    assert isinstance(made, Piece)
    assert (made.content, made.cached) == (GOOD, False)


def test_a_truncated_entry_meets_no_contract() -> None:
    """What was cached cut off may be had without a contract, and not with one."""
    cut = replace(piece(GOOD), truncated=True)
    assert acceptable(cut, None) is cut
    assert acceptable(cut, CONTRACT) is None
    assert acceptable(piece(GOOD), CONTRACT) == piece(GOOD)


def test_a_truncated_reply_is_asked_for_again_and_then_malformed() -> None:
    """That the text would do as far as it goes is no excuse."""
    noted: list[str] = []
    judge = Acceptance(noted.append).judge
    reply = ModelReply(GOOD, "m", truncated=True, prompt_tokens=1, output_tokens=1, latency_s=0.0)
    request = ModelRequest("m", (), 9)
    assert isinstance(judge(reply, CONTRACT, request, asked_before=False), ModelRequest)
    last = judge(reply, CONTRACT, request, asked_before=True)
    assert isinstance(last, PieceError)
    assert "cut off" in last.message
    assert noted == ["asked_again", "malformed"]
