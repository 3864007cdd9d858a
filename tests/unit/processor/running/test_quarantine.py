"""Suspected items are made one at a time, the guilty ones not at all."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parallel_processor.jobs.piece import Piece, PieceError
from parallel_processor.jobs.shard import Commit, Shard, claimed, committed, handed_back
from parallel_processor.running.quarantine import POISON_AFTER, SUSPECT_AFTER, Quarantine

from tests.unit.processor.running.fakes import settle
from tests.unit.processor.samples import LEASE, NOW, piece, shard


class Made:
    """Counts what is being made."""

    def __init__(self) -> None:
        self.under_way = 0
        self.most = 0
        self.gate = asyncio.Event()

    async def make(self) -> Piece | PieceError:
        """Take until the gate opens."""
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await self.gate.wait()
        self.under_way -= 1
        return piece()


@pytest.mark.parametrize(("deaths", "at_once"), [(0, 3), (SUSPECT_AFTER - 1, 3), (SUSPECT_AFTER, 1)])
async def test_the_suspected_are_alone(deaths: int, at_once: int) -> None:
    """Of three suspected items one is made at a time, of three others all; all of them come through."""
    made, quarantine = Made(), Quarantine()
    tasks = [asyncio.create_task(quarantine.make(deaths, made.make)) for _ in range(3)]
    await settle()
    assert made.under_way == at_once
    made.gate.set()
    assert [isinstance(each, Piece) for each in await asyncio.gather(*tasks)] == [True] * 3
    assert made.most == at_once


async def test_the_guilty_is_not_made() -> None:
    """It fails, says why, and no call is made for it."""
    made = Made()
    result = await Quarantine().make(POISON_AFTER, made.make)
    assert isinstance(result, PieceError)
    assert (result.reason, made.most) == ("POISON_ITEM", 0)


def announced(part: Shard, *indexes: int) -> Shard:
    """Return a shard with these calls out."""
    commit = Commit(part.epoch, part.commits + 1, NOW + LEASE, intents=dict.fromkeys(indexes, 100))
    return committed(part, commit)


def test_only_deaths_count() -> None:
    """A worker that hands its shard back is not lost, and what was not out is not suspected."""
    held = announced(claimed(shard(), owner="w", now=NOW, lease=LEASE), 0)
    after = claimed(handed_back(held, epoch=held.epoch, now=NOW), owner="v", now=NOW, lease=LEASE)
    assert after.crashes == {}
    lost = claimed(held, owner="v", now=NOW + LEASE, lease=LEASE)
    assert lost.crashes == {0: 1}
    again = claimed(lost, owner="w", now=NOW + 2 * LEASE, lease=LEASE)
    assert again.crashes == {0: 1}, "the worker that was lost had not made its call again"
    anew = claimed(announced(again, 0), owner="v", now=NOW + 4 * LEASE, lease=LEASE)
    assert anew.crashes == {0: 2}


@settings(deadline=None, max_examples=40)
@given(poison=st.integers(0, 9), order=st.permutations(range(10)))
def test_one_deadly_item_is_found_and_no_other(poison: int, order: list[int]) -> None:
    """Ten items start together; whenever the deadly one is out the worker dies. It alone ends as poison."""
    deaths = dict.fromkeys(range(10), 0)
    done: set[int] = set()
    for _ in range(POISON_AFTER + 1):
        crowd = [each for each in order if deaths[each] < SUSPECT_AFTER and each not in done]
        suspects = [
            each for each in order if SUSPECT_AFTER <= deaths[each] < POISON_AFTER and each not in done
        ]
        if poison in crowd:
            for each in [*crowd, *suspects[:1]]:
                deaths[each] += 1
            continue
        done |= set(crowd)
        for each in suspects:
            if each == poison:
                deaths[each] += 1
                break
            done.add(each)
    assert [each for each, times in deaths.items() if times >= POISON_AFTER] == [poison]
