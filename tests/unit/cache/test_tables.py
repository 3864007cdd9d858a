"""The tables answer as dictionaries do, and no part of one ever takes long to be rebuilt."""

from __future__ import annotations

import random

import pytest
from content_cache.entry import Address, Entry
from content_cache.eviction.table import Table
from content_cache.holding import table as entry_table
from content_cache.holding.table import EntryTable
from content_cache.sampling import PARTS, PLACES, is_among, place_of
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.cache.conftest import MakeEntry

KEYS = st.integers(0, 200).map(lambda number: Address("a", str(number)))


@given(st.lists(st.tuples(st.booleans(), KEYS), max_size=200))
def test_a_table_is_a_dictionary(steps: list[tuple[bool, Address]]) -> None:
    """Whatever is put into it or taken out, it answers as a dictionary does."""
    table: Table[int] = Table()
    model: dict[Address, int] = {}
    for number, (is_put, address) in enumerate(steps):
        if is_put:
            table[address] = model[address] = number
        elif address in model:
            assert table.pop(address) == model.pop(address)
        else:
            for look in (table.pop, table.__getitem__):
                with pytest.raises(KeyError):
                    look(address)
    assert all(table[address] == value for address, value in model.items())
    assert sum(map(len, table.parts)) == len(model)


def test_no_part_of_a_table_grows_large() -> None:
    """Of a hundred thousand addresses no part has more than twice its share."""
    table: Table[None] = Table()
    for number in range(100_000):
        table[Address("a", f"{number:x}")] = None
    assert max(map(len, table.parts)) < 2 * 100_000 / PARTS


@pytest.mark.parametrize("split", [5, entry_table.SPLIT_ENTRIES])
def test_a_table_of_entries_is_a_dictionary(
    make_entry: MakeEntry, monkeypatch: pytest.MonkeyPatch, split: int
) -> None:
    """Before, while and after a tenant's entries are divided, all are found, each under its tenant alone."""
    monkeypatch.setattr(entry_table, "SPLIT_ENTRIES", split)
    chance = random.Random(7)
    table, model = EntryTable(), dict[Address, Entry]()
    for number in range(3_000):
        address = Address(chance.choice("abc"), str(chance.randrange(40)))
        if address in model and chance.random() < (0.9 if number > 2_500 else 0.4):
            del table[address], model[address]
        elif number <= 2_500:
            entry = make_entry(address.key, tenant=address.tenant, cost=number)
            table[address] = model[address] = entry
        assert (address in table) == (address in model)
        assert table.get(address) is model.get(address)
        assert len(table) == len(model)
        assert set(table.tenants) == {each.tenant for each in model}
    for address, entry in model.items():
        assert table[address] is entry
    for address in (Address("a", "none"), Address("none", "1")):
        assert table.get(address) is None
        with pytest.raises(KeyError):
            table[address]
        with pytest.raises(KeyError):
            del table[address]


def test_no_part_of_a_table_of_entries_grows_large(make_entry: MakeEntry) -> None:
    """One tenant's hundred thousand entries are divided evenly; a tenant of few has one dictionary."""
    table = EntryTable()
    entry = make_entry()
    for number in range(100_000):
        table[Address("a", f"{number:x}")] = entry
    table[Address("b", "k")] = entry
    assert max(map(len, table.tenants["a"])) < 2 * 100_000 / PARTS
    assert len({id(part) for part in table.tenants["b"]}) == 1
    assert len(table) == 100_001


def test_places_are_even_and_the_first_parts_are_the_lowest() -> None:
    """Every sixteenth of the places has its share of keys; to be in the first parts is to be below them."""
    places = [(address, place_of(address)) for address in (Address("a", f"{n:x}") for n in range(32_000))]
    shares = [0] * 16
    for address, place in places:
        shares[16 * place // PLACES] += 1
        for parts in (1, PARTS // 4, PARTS):
            assert is_among(address, parts) == (place < parts * PLACES // PARTS)
    assert all(abs(share - 2_000) < 300 for share in shares)
    assert len({place for _, place in places}) > 31_900
