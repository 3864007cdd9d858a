"""Measures reach the store now and then, outlive the process, and take bounded space."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from parallel_processor.estimating.measure import Kind
from parallel_processor.recorder import Recorder
from parallel_processor.repository import SCHEMA, MeasureRepository
from parallel_processor.repository.measures import MAX_KINDS
from service_common.clock import ManualClock
from service_common.errors import unavailable
from service_common.storage import open_store


@pytest.fixture
async def store() -> AsyncIterator[MeasureRepository]:
    """An empty store of measures."""
    opened = await open_store("memory://", schema=SCHEMA, clock=ManualClock())
    yield MeasureRepository(opened)
    await opened.close()


def count(recorder: Recorder, content_type: str, tokens: int, *, tenant: str = "acme") -> None:
    """Count a call."""
    tally = recorder.tally(tenant, Kind("m", content_type, 100))
    assert tally is not None
    tally.add(
        prompt_characters=40, prompt_tokens=10, output_characters=tokens, output_tokens=tokens, seconds=1.0
    )


async def test_what_is_not_written_yet_counts_and_what_is_written_stays(store: MeasureRepository) -> None:
    """A process knows its own calls at once, another one after the next write, and each call once."""
    mine, other = Recorder(store, interval_s=5), Recorder(store, interval_s=5)
    count(mine, "faq", 10)
    kind = Kind("m", "faq", 100)
    assert (await mine.measures("acme"))[kind].output_tokens.count == 1
    assert kind not in await other.measures("acme")
    await mine.flush()
    count(other, "faq", 30)
    for each in (mine, other):
        await each.flush()
        found = (await each.measures("acme"))[kind].output_tokens
    assert (found.count, found.mean) == (2, 20)
    assert not await mine.measures("umbrella")


async def test_a_tenants_document_stays_small(store: MeasureRepository) -> None:
    """Of too many kinds those that were measured least leave."""
    recorder = Recorder(store, interval_s=5)
    for number in range(MAX_KINDS + 20):
        for _ in range(1 + (number < 10)):
            count(recorder, f"type_{number}", 10)
    await recorder.flush()
    kept = await store.read("acme")
    assert len(kept) == MAX_KINDS
    assert all(Kind("m", f"type_{number}", 100) in kept for number in range(10))


async def test_a_store_that_is_away_costs_measures_and_nothing_else() -> None:
    """What cannot be written is given up."""

    class Away:
        async def read(self, _tenant: str) -> dict[Kind, object]:
            return {}

        async def merge(self, _tenant: str, _measures: object) -> None:
            raise unavailable("STORE_UNAVAILABLE", "away")

    recorder = Recorder(Away(), interval_s=5)  # type: ignore[arg-type]  # it keeps nothing
    count(recorder, "faq", 10)
    await recorder.flush()
    assert not await recorder.measures("acme")
