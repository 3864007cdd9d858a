"""A job's estimate: each item counted for what it takes, large jobs sampled, what is unknown said."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from parallel_processor.estimating.measure import Kind, Measures, MeasureTally
from parallel_processor.estimating.sample import WHOLE_CHUNKS
from parallel_processor.estimator import Estimator
from parallel_processor.jobs.item import Dependency, Item
from parallel_processor.jobs.job import Job
from parallel_processor.jobs.piece import PieceSpec, Sampling
from parallel_processor.model.prices import ModelPrice, PriceTable
from parallel_processor.running.calls import ModelCalls
from parallel_processor.running.ports import Entry, Owner, Prompt
from parallel_processor.running.workshop import Workshop
from service_common.errors import ServiceError

from tests.unit.processor.running.fakes import AWAY, FakeEndpoint
from tests.unit.processor.samples import job

KIND = Kind("m", "faq", 1_000)


@dataclass
class Cache:
    """What is cached, by key; or nobody there."""

    entries: dict[str, Entry] = field(default_factory=dict)
    away: bool = False
    peeked: list[str] = field(default_factory=list)

    async def peek(self, owner: Owner, keys: Sequence[str]) -> list[Entry | None]:
        """Return what is there."""
        if self.away:
            raise AWAY
        self.peeked += keys
        return [self.entries.get(key) for key in keys]


class Prompts:
    """Renders every variable, and refuses what is called bad."""

    async def prepare(
        self, owner: Owner, specs: Sequence[PieceSpec], *, patient: bool = True
    ) -> list[Prompt | ServiceError]:
        """Return one prompt per spec."""
        return [_prompt(each) for each in specs]


def _prompt(spec: PieceSpec) -> Prompt | ServiceError:
    if spec.template_id == "away":
        return AWAY
    text = " ".join(f"{name}={value}" for name, value in spec.variables.items())
    return Prompt((("user", text),), Sampling(1_000), "m", spec.template_id or "", 1, "faq")


@dataclass
class Jobs:
    """A job in chunks."""

    chunks: list[list[Item]]

    async def get(self, tenant: str, job_id: str) -> Job:
        """Return the job."""
        count = sum(map(len, self.chunks))
        return replace(job(count), chunk_count=len(self.chunks))

    async def read_chunks(self, job: Job, numbers: Sequence[int]) -> list[list[Item]]:
        """Return some chunks."""
        return [self.chunks[number] for number in numbers]


class Known:
    """A hundred outputs of 180 to 220 tokens."""

    async def measures(self, tenant: str) -> Measures:
        """Return what is known."""
        tally = MeasureTally()
        for tokens in (180, 220) * 50:
            tally.add(
                prompt_characters=400,
                prompt_tokens=100,
                output_characters=4 * tokens,
                output_tokens=tokens,
                seconds=1.0,
            )
        return {KIND: tally.read()}


def estimator(chunks: list[list[Item]], cache: Cache) -> Estimator:
    """Return an estimator of one job."""
    prices = PriceTable({"m": ModelPrice(1_000_000, 2_000_000)})
    calls = ModelCalls(FakeEndpoint(), prices=prices, breakers=cast("Any", None), lanes=cast("Any", None))
    shop = SimpleNamespace(prompts=Prompts(), default_model="m", max_output_tokens=None)
    return Estimator(
        cast("Workshop", shop),
        jobs=Jobs(chunks),
        cache=cache,
        measures=Known(),
        calls=calls,
        rng=random.Random(2),
    )


def one(item_id: str, topic: str = "", *needs: str) -> Item:
    """Return an item; what it needs feeds its outline."""
    spec = PieceSpec(template_id="faq", variables={"topic": topic or item_id})
    return Item(item_id, spec, tuple(Dependency(each, "outline") for each in needs))


async def test_what_depends_on_a_cached_item_is_looked_up_with_its_content() -> None:
    """The content that is there goes into the prompts that read it, so that these are known and peeked at."""
    probe = Cache()
    await estimator([[one("o", "t")]], probe).estimate("acme", "job", at_once=8)
    cache = Cache({probe.peeked[0]: Entry("the outline", "faq", 5)})
    found = await estimator([[one("o", "t"), one("d", "t", "o")]], cache).estimate("acme", "job", at_once=8)
    assert (found.cached, found.calls) == (1, 1)
    text_key = cache.peeked[1]
    cache.entries[text_key] = Entry("derived", "faq", 5)
    again = await estimator([[one("o", "t"), one("d", "t", "o")]], cache).estimate("acme", "job", at_once=8)
    assert (again.cached, again.calls, again.forecast.cost.expected) == (2, 0, 0.0)


async def test_what_depends_on_equal_items_is_equal_too() -> None:
    """Two groups round one topic take the calls of one."""
    items = [one("o1", "t"), one("o2", "t"), one("d1", "t", "o1"), one("d2", "t", "o2")]
    found = await estimator([items], Cache()).estimate("acme", "job", at_once=8)
    assert (found.equal, found.calls) == (2, 2)


async def test_a_content_that_does_not_exist_yet_counts_at_its_expected_length() -> None:
    """A prompt that reads an output of about 200 tokens is about 200 tokens longer, and dearer by that."""
    alone = await estimator([[one("o"), one("d")]], Cache()).estimate("acme", "job", at_once=8)
    fed = await estimator([[one("o"), one("d", "d", "o")]], Cache()).estimate("acme", "job", at_once=8)
    assert 190 < fed.forecast.cost.expected - alone.forecast.cost.expected < 230


async def test_a_large_job_is_sampled_and_scaled() -> None:
    """Without prompts there is no estimate; without the cache there is one, and it says so."""
    chunks = [[one(f"{number}-{place}") for place in range(10)] for number in range(200)]
    found = await estimator(chunks, Cache()).estimate("acme", "job", at_once=8)
    whole = await estimator(chunks[:WHOLE_CHUNKS], Cache()).estimate("acme", "job", at_once=8)
    assert found.looked_at == 10 * WHOLE_CHUNKS
    ratio = found.forecast.cost.expected / whole.forecast.cost.expected
    assert ratio == pytest.approx(200 / WHOLE_CHUNKS, rel=0.02)
    assert found.worst_case_micros > found.forecast.cost.high > found.forecast.cost.low > 0


async def test_an_outage_is_an_answer_where_prompts_and_a_remark_where_the_cache_is_missing() -> None:
    """Without prompts there is no estimate; without the cache there is one that says so."""
    with pytest.raises(ServiceError) as caught:
        await estimator([[Item("a", PieceSpec(template_id="away"))]], Cache()).estimate(
            "acme", "job", at_once=8
        )
    assert caught.value.reason == "AWAY"
    found = await estimator([[one("a")]], Cache(away=True)).estimate("acme", "job", at_once=8)
    assert found.cache_unknown
    assert found.calls == 1
