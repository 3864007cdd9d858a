"""Samples: a bounded part in which every entry has the same chance to be, asked for ever more rarely."""

from __future__ import annotations

from random import Random

from content_cache.compression.samples import FIRST_AT, MOST_SAMPLES, MOST_TENANTS, Samples
from content_cache.entry import Address


def test_every_entry_has_the_same_chance() -> None:
    """Of twenty thousand the first half and the second are sampled alike, and no more than the bound."""
    samples = Samples(Random(3).randrange)
    count = 20_000
    for number in range(count):
        samples.saw(Address("a", str(number)))
    taken = [int(address.key) for address in samples.take("a")]
    assert len(taken) == MOST_SAMPLES == len(set(taken))
    early = sum(number < count // 2 for number in taken)
    assert 0.42 < early / MOST_SAMPLES < 0.58


def test_trainings_become_rare() -> None:
    """After the first, each waits for four times as many entries as the one before."""
    samples = Samples(Random(1).randrange)
    due = []
    for number in range(FIRST_AT * 20):
        samples.saw(Address("a", str(number)))
        if samples.due() == ["a"]:
            due.append(number + 1)
            samples.take("a")
    assert due == [FIRST_AT, FIRST_AT * 4, FIRST_AT * 16]


def test_tenants_are_apart_and_bounded() -> None:
    """A tenant's samples are its own; beyond the bound of tenants nobody is followed until one is gone."""
    samples = Samples(Random(1).randrange)
    for number in range(MOST_TENANTS + 1):
        for key in range(FIRST_AT):
            samples.saw(Address(f"t{number}", str(key)))
    assert len(samples.due()) == MOST_TENANTS
    assert {address.tenant for address in samples.take("t3")} == {"t3"}
    samples.forget("t3")
    samples.saw(Address(f"t{MOST_TENANTS}", "k"))
    assert [address.key for address in samples.take(f"t{MOST_TENANTS}")] == ["k"]
