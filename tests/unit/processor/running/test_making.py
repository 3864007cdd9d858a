"""Making a piece: every way a call can end, nothing scarce held while waiting, every micro accounted for."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field, replace

import pytest
from parallel_processor.jobs.job import Priority
from parallel_processor.jobs.piece import CachePolicy, Piece, PieceError, Usage
from parallel_processor.limits.lanes import Lanes
from parallel_processor.model.failures import FailureClass, Fate
from parallel_processor.model.prices import ModelPrice, PriceTable
from parallel_processor.queueing.slots import Rank
from parallel_processor.running.accepting import Acceptance
from parallel_processor.running.breakers import Breakers
from parallel_processor.running.calls import ModelCalls
from parallel_processor.running.content import Content
from parallel_processor.running.entries import entry_of, piece_of
from parallel_processor.running.making import Making
from parallel_processor.running.order import Order, Work
from parallel_processor.running.outcomes import Outcomes
from parallel_processor.running.similar import SimilarAnswers
from parallel_processor.running.treatment import Effort
from parallel_processor.running.workshop import order_of
from service_common.clock import ManualClock
from service_common.resilience.breaker import BreakerPolicy, CircuitBreaker

from tests.unit.processor.running.fakes import (
    FakeCache,
    FakeEndpoint,
    FakeOptimizer,
    FakeSimilar,
    failure,
    prompt,
    settle,
    until,
)
from tests.unit.processor.samples import NOW, OWNER, piece, raw_spec

MICRO_A_TOKEN = ModelPrice(1_000_000, 1_000_000)
USE, REFRESH, BYPASS = CachePolicy.USE, CachePolicy.REFRESH, CachePolicy.BYPASS
PASSING = [
    FailureClass.RATE_LIMITED,
    FailureClass.OVERLOADED,
    FailureClass.NETWORK,
    FailureClass.TIMEOUT,
    FailureClass.MALFORMED,
    FailureClass.SERVER_ERROR,
]
FINAL = {FailureClass.INVALID_REQUEST: "MODEL_REFUSED", FailureClass.CONTENT_FILTERED: "CONTENT_FILTERED"}
SPEAKS_AGAINST_IT = {
    FailureClass.TIMEOUT: "MODEL_TIMEOUT",
    FailureClass.MALFORMED: "MODEL_MALFORMED",
    FailureClass.SERVER_ERROR: "MODEL_ERROR",
}


@dataclass
class Bench:
    """Everything a piece is made with; sleeping is noted and takes no time."""

    endpoint: FakeEndpoint = field(default_factory=FakeEndpoint)
    cache: FakeCache = field(default_factory=FakeCache)
    tier: FakeSimilar = field(default_factory=FakeSimilar)
    optimizer: FakeOptimizer = field(default_factory=FakeOptimizer)
    clock: ManualClock = field(default_factory=ManualClock)
    effort: Effort = field(default_factory=Effort)
    slept: list[float] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    held_while_sleeping: list[tuple[int, int]] = field(default_factory=list)
    spent: list[Usage] = field(default_factory=list)
    repairs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        rng = random.Random(1)
        policy = BreakerPolicy(window_s=20.0, min_calls=1000, open_s=1.0, open_cap_s=15.0, half_open_calls=2)
        breakers = Breakers(lambda model: CircuitBreaker(model, policy, clock=self.clock, rng=rng))
        self.slots = Lanes(1, clock=self.clock, rng=rng)
        # Other lanes hear of failures: these would pause, and only this test's time passes.
        self.heard = Lanes(1, clock=self.clock, rng=rng)
        prices = PriceTable({"m": MICRO_A_TOKEN, "other": MICRO_A_TOKEN, "third": MICRO_A_TOKEN})
        self.calls = ModelCalls(self.endpoint, prices=prices, breakers=breakers, lanes=self.heard)
        self.breaker = breakers.of("m")
        self.content = Content(self.cache, similar=SimilarAnswers(self.tier, clock=self.clock))
        self.making = Making(
            content=self.content,
            calls=self.calls,
            outcomes=Outcomes(self.optimizer, score_wait_s=0.05),
            lanes=self.slots,
            clock=self.clock,
            rng=rng,
            max_attempts=3,
            on_spend=lambda _model, _content_type, usage: self.spent.append(usage),
            acceptance=Acceptance(self.repairs.append),
        )
        self.endpoint.during = lambda: self.events.append("call")

    async def sleep(self, seconds: float) -> None:
        """Stand in for asyncio.sleep."""
        self.slept.append(seconds)
        await self.content.flushed()
        self.held_while_sleeping.append((self.slots.active, len(self.cache.leases)))
        self.clock.advance(seconds)

    def announce(self, worst_case: int) -> asyncio.Future[None]:
        """Note an announcement, durable at once."""
        self.events.append("announce")
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        durable.set_result(None)
        return durable

    def order(self, key: str = "") -> Order:
        """Return what to make."""
        made = order_of(raw_spec(), prompt(), tenant="acme", default_model="m", max_output_tokens=None)
        return replace(made, key=key) if key else made

    def work(self, policy: CachePolicy = USE, *, persistent: bool = True, patience_s: float = 100.0) -> Work:
        """Return for whom to make it."""
        return Work(
            owner=OWNER,
            rank=Rank.of(Priority.NORMAL, NOW),
            holder="job/0",
            epoch=1,
            item_id="a",
            policy=policy,
            patience_s=patience_s,
            persistent=persistent,
            announce=self.announce,
            withdraw=lambda: self.events.append("withdraw"),
        )

    async def make(self, policy: CachePolicy = USE, *, persistent: bool = True) -> Piece | PieceError:
        """Make a piece, and check that it left nothing behind."""
        made = await self.making.make(self.order(), self.work(policy, persistent=persistent), self.effort)
        await self.content.flushed()
        assert (self.slots.active, self.slots.waiting) == (0, 0)
        assert self.cache.leases == {}
        assert [each.in_flight for each in self.heard.read()] == [0] * bool(self.endpoint.asked)
        assert sum(self.spent, Usage()) == self.effort.usage
        return made


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A bench whose naps take no time."""
    each = Bench()
    monkeypatch.setattr("parallel_processor.running.making.asyncio", _Naps(each))
    return each


class _Naps:
    """The asyncio module, but for sleep."""

    def __init__(self, bench: Bench) -> None:
        self.sleep = bench.sleep

    def __getattr__(self, name: str) -> object:
        return getattr(asyncio, name)


async def test_a_good_answer_is_scored_filled_and_paid(bench: Bench) -> None:
    """One call, announced before it is made; the entry holds the content with its quality and its maker."""
    made = await bench.make()
    assert isinstance(made, Piece)
    assert (made.content, made.cached, made.quality, made.cost_micros) == ("an answer", False, 0.5, 110)
    assert bench.events == ["announce", "call"]
    assert bench.effort.usage == Usage(100, 10, 1, 110)
    (fill,) = bench.cache.fills
    assert fill.lease_token
    assert fill.entry == entry_of(made, holder="job/0", item_id="a")


@pytest.mark.parametrize("policy", [USE, CachePolicy.REFRESH])
async def test_a_piece_is_done_when_it_is_in_the_cache(bench: Bench, policy: CachePolicy) -> None:
    """Whoever asks right after a piece was returned finds its entry."""
    order = bench.order()
    await bench.making.make(order, bench.work(policy), bench.effort)
    assert order.key in bench.cache.entries


@pytest.mark.parametrize("kind", PASSING)
async def test_what_passes_is_tried_again_holding_nothing_meanwhile(bench: Bench, kind: FailureClass) -> None:
    """Slot and lease are given back before the wait (law 3), and the announcement is taken back."""
    bench.endpoint.script = [failure(kind, retry_after_s=7.0)]
    made = await bench.make()
    assert isinstance(made, Piece)
    assert bench.held_while_sleeping == [(0, 0)]
    assert bench.slept[0] >= 7.0
    assert bench.events == ["announce", "call", "withdraw", "announce", "call"]
    assert bench.effort.attempts == 2


@pytest.mark.parametrize("kind", FINAL)
async def test_what_the_endpoint_will_never_do_ends_the_piece(bench: Bench, kind: FailureClass) -> None:
    """A refusal is the answer after one call; the lease is given back for whoever comes next."""
    bench.endpoint.script = [failure(kind)]
    made = await bench.make()
    assert isinstance(made, PieceError)
    assert made.reason == FINAL[kind]
    assert (len(bench.endpoint.asked), len(bench.cache.released)) == (1, 1)


@pytest.mark.parametrize("kind", SPEAKS_AGAINST_IT)
async def test_what_speaks_against_the_piece_ends_it_after_so_many_tries(
    bench: Bench, kind: FailureClass
) -> None:
    """Three faults are enough."""
    bench.endpoint.script = [failure(kind, Fate.UNKNOWN)] * 9
    made = await bench.make()
    assert isinstance(made, PieceError)
    assert (made.reason, len(bench.endpoint.asked)) == (SPEAKS_AGAINST_IT[kind], 3)


@pytest.mark.parametrize(
    "kind",
    [
        FailureClass.RATE_LIMITED,
        FailureClass.OVERLOADED,
        FailureClass.NETWORK,
        FailureClass.QUOTA_EXHAUSTED,
        FailureClass.UNAUTHENTICATED,
    ],
)
async def test_no_outage_fails_a_jobs_item(bench: Bench, kind: FailureClass) -> None:
    """However long the endpoint will not have us, an item waits and then succeeds."""
    bench.endpoint.script = [failure(kind)] * 30
    assert isinstance(await bench.make(), Piece)
    assert len(bench.endpoint.asked) == 31


@pytest.mark.parametrize("kind", [FailureClass.QUOTA_EXHAUSTED, FailureClass.UNAUTHENTICATED])
async def test_who_waits_interactively_hears_of_account_trouble_at_once(
    bench: Bench, kind: FailureClass
) -> None:
    """Without persistence there is one call."""
    bench.endpoint.script = [failure(kind)]
    assert isinstance(await bench.make(persistent=False), PieceError)
    assert len(bench.endpoint.asked) == 1


async def test_who_waits_interactively_is_not_kept_waiting_for_ever(bench: Bench) -> None:
    """Without persistence rate limits end the piece after so many tries."""
    bench.endpoint.script = [failure(FailureClass.RATE_LIMITED)] * 9
    made = await bench.make(persistent=False)
    assert isinstance(made, PieceError)
    assert (made.reason, len(bench.endpoint.asked)) == ("MODEL_UNAVAILABLE", 3)


@pytest.mark.parametrize(
    ("fate", "expected"),
    [
        (Fate.NOT_BILLED, Usage()),
        (Fate.BILLED, Usage(100, 3, 1, 103)),
        (Fate.UNKNOWN, Usage(uncertain_calls=1)),
    ],
)
async def test_money_is_refunded_only_with_proof(bench: Bench, fate: Fate, expected: Usage) -> None:
    """A refused call costs nothing, an answered one what it took, an unknown one its worst case (law 5)."""
    bench.endpoint.script = [failure(FailureClass.CONTENT_FILTERED, fate)]
    await bench.make()
    worst = bench.calls.worst_case_micros(bench.order().request)
    uncertain = worst if fate is Fate.UNKNOWN else 0
    assert bench.effort.usage == expected + Usage(uncertain_spend_micros=uncertain)
    assert worst > 103


async def test_an_empty_answer_is_paid_and_no_result(bench: Bench) -> None:
    """An answer without text is tried again and then fails; every try is paid for, nothing is cached."""
    bench.endpoint.script = [" \n"] * 9
    made = await bench.make()
    assert isinstance(made, PieceError)
    assert made.reason == "MODEL_EMPTY"
    assert bench.effort.usage.model_calls == 3
    assert bench.cache.fills == []


async def test_an_output_that_no_document_holds_ends_the_piece(bench: Bench) -> None:
    """It is paid for, refused with the reason, and not tried again."""
    bench.endpoint.script = ["x" * 700_000]
    made = await bench.make()
    assert isinstance(made, PieceError)
    assert (made.reason, bench.effort.usage.model_calls) == ("OUTPUT_TOO_LARGE", 1)


async def test_a_model_without_a_price_is_not_called(bench: Bench) -> None:
    """Nothing is spent that could not be counted."""
    order = replace(bench.order(), request=replace(bench.order().request, model="unheard-of"))
    made = await bench.making.make(order, bench.work(), bench.effort)
    assert isinstance(made, PieceError)
    await bench.content.flushed()
    assert (made.reason, bench.endpoint.asked, bench.cache.leases) == ("PRICE_UNKNOWN", [], {})


async def test_while_the_breaker_is_open_items_wait_and_interactive_callers_do_not(bench: Bench) -> None:
    """An open breaker makes no call: an interactive piece is refused, an item waits, holding nothing."""
    while (ticket := bench.breaker.admit()) is not None:
        bench.breaker.failed(ticket)
    refused = await bench.make(persistent=False)
    assert isinstance(refused, PieceError)
    assert (refused.reason, bench.endpoint.asked) == ("MODEL_UNAVAILABLE", [])
    assert isinstance(await bench.make(), Piece)
    assert set(bench.held_while_sleeping) == {(0, 0)}
    assert (bench.effort.attempts, len(bench.endpoint.asked)) == (1, 1)


async def test_a_busy_key_is_awaited_without_a_slot(bench: Bench) -> None:
    """Whoever finds its key busy gives the slot back, and takes the other's content when it comes."""
    order = bench.order("key")
    bench.cache.leases["key"] = "elsewhere"
    waiting = asyncio.create_task(bench.making.make(order, bench.work(), bench.effort))
    await until(lambda: bool(bench.cache.streams))
    assert (bench.slots.active, bench.endpoint.asked) == (0, [])
    entry = entry_of(piece("theirs"), holder="elsewhere", item_id="b")
    bench.cache.news.put_nowait(("key", entry))
    assert await waiting == piece_of(entry, order.prompt, "key")
    assert bench.effort.usage == Usage()


async def test_a_lost_lease_makes_the_waiter_generate(bench: Bench) -> None:
    """When whoever generated gives up, a waiter takes the lease and generates."""
    bench.cache.leases["key"] = "elsewhere"
    waiting = asyncio.create_task(bench.making.make(bench.order("key"), bench.work(), bench.effort))
    await until(lambda: bool(bench.cache.streams))
    del bench.cache.leases["key"]
    bench.cache.news.put_nowait(("key", None))
    made = await waiting
    assert isinstance(made, Piece)
    assert not made.cached


async def test_patience_ends_and_the_piece_is_made_without_a_lease(bench: Bench) -> None:
    """A holder that never fills does not hold others up for longer than their patience."""
    bench.cache.leases["key"] = "elsewhere"
    made = await bench.making.make(bench.order("key"), bench.work(patience_s=0.0), bench.effort)
    assert isinstance(made, Piece)
    await bench.content.flushed()
    assert [each.lease_token for each in bench.cache.fills] == [""]


async def test_without_the_cache_pieces_are_made_all_the_same(bench: Bench) -> None:
    """An outage of the cache costs nothing but what it would have saved."""
    bench.cache.away = True
    assert isinstance(await bench.make(), Piece)


@pytest.mark.parametrize(("policy", "stored"), [(USE, 1), (REFRESH, 1), (BYPASS, 0)])
async def test_policies(bench: Bench, policy: CachePolicy, stored: int) -> None:
    """USE and REFRESH store what was made, BYPASS does not; only USE takes a lease."""
    taken: list[str] = []
    bench.endpoint.during = lambda: taken.extend(bench.cache.leases)
    assert isinstance(await bench.make(policy), Piece)
    assert len(bench.cache.fills) == stored
    assert len(taken) == (policy is USE)


async def test_cancelling_a_call_counts_it_and_gives_everything_back(bench: Bench) -> None:
    """A call that is cut off is of unknown fate; slot and lease are free for others."""
    bench.endpoint.script = [asyncio.Event()]
    making = asyncio.create_task(bench.making.make(bench.order(), bench.work(), bench.effort))
    await settle()
    assert (bench.slots.active, len(bench.cache.leases), bench.effort.committed) == (1, 1, True)
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
    await settle()
    assert (bench.slots.active, bench.cache.leases) == (0, {})
    assert bench.effort.usage.uncertain_calls == 1


async def test_cancelling_while_scoring_keeps_what_was_paid(bench: Bench) -> None:
    """Content that was paid for reaches the cache, even when nobody waits for it any more."""
    bench.optimizer.gate = asyncio.Event().wait
    making = asyncio.create_task(bench.making.make(bench.order(), bench.work(), bench.effort))
    await settle()
    assert (bench.slots.active, bench.effort.committed) == (0, True)
    making.cancel()
    await asyncio.gather(making, return_exceptions=True)
    await settle()
    assert len(bench.cache.fills) == 1
    assert bench.effort.usage == Usage(100, 10, 1, 110)
