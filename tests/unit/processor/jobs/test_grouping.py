"""Dependencies are checked, and groups are packed into shards without ever being cut."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parallel_processor.jobs.grouping import (
    MAX_GROUP_ITEMS,
    SHARD_TARGET_ITEMS,
    ItemPlace,
    check_dependencies,
    pack_shards,
)
from service_common.errors import ErrorKind, ServiceError, already_exists

from tests.unit.processor.samples import item


def reasons(errors: dict[int, ServiceError]) -> dict[int, str]:
    """Return the reasons by position."""
    return {index: error.reason for index, error in errors.items()}


def place(item_id: str, *needs: str) -> ItemPlace:
    """Return where an item is; the chunk does not matter here."""
    return ItemPlace(item_id, 0, 0, needs)


def test_dependencies_within_the_batch_and_on_earlier_items_are_met() -> None:
    """An item may need items of its own batch, in any order, and items that are there already."""
    assert check_dependencies([item("a", "b"), item("b", "old")], {"old"}, {}) == {}


def test_an_unknown_dependency_refuses_whatever_leads_to_it() -> None:
    """An item whose need is not there is refused, and so is every item that needs a refused one."""
    batch = [item("a", "b"), item("b", "nowhere"), item("c")]
    errors = check_dependencies(batch, set(), {})
    assert reasons(errors) == {0: "UNKNOWN_DEPENDENCY", 1: "UNKNOWN_DEPENDENCY"}
    assert errors[1].violations[0].field == "items[1].depends_on[0].item_id"


def test_items_refused_for_other_reasons_count_as_absent() -> None:
    """An item that needs one that is refused for another reason is refused too."""
    batch = [item("a"), item("b", "a")]
    assert reasons(check_dependencies(batch, set(), {0: already_exists("X", "x")})) == {
        1: "UNKNOWN_DEPENDENCY"
    }


@pytest.mark.parametrize("size", [1, 2, 7])
def test_a_circle_of_any_size_is_refused_with_what_leads_to_it(size: int) -> None:
    """Items on a circle, and items that need them, are refused as INVALID_ARGUMENT; others are not."""
    circle = [item(f"c{n}", f"c{(n + 1) % size}") for n in range(size)]
    errors = check_dependencies([*circle, item("tail", "c0"), item("free")], set(), {})
    assert reasons(errors) == dict.fromkeys(range(size + 1), "DEPENDENCY_CYCLE")
    assert {each.kind for each in errors.values()} == {ErrorKind.INVALID_ARGUMENT}


@st.composite
def graphs(draw: st.DrawFn) -> list[tuple[str, tuple[str, ...]]]:
    """Draw items with needs among themselves, circles included."""
    size = draw(st.integers(1, 60))
    names = [f"i{n}" for n in range(size)]
    needs = st.lists(st.sampled_from(names), max_size=3, unique=True)
    return [(name, tuple(draw(needs))) for name in names]


@given(graphs())
def test_what_is_accepted_can_be_worked_on_to_the_end(graph: list[tuple[str, tuple[str, ...]]]) -> None:
    """Accepted items can be done one after the other, and no item that could be is refused."""
    batch = [item(name, *needs) for name, needs in graph]
    refused = check_dependencies(batch, set(), {})
    accepted = {name: set(needs) for index, (name, needs) in enumerate(graph) if index not in refused}
    everything = {name: set(needs) for name, needs in graph}
    assert doable(accepted) == set(accepted)
    assert doable(everything) == set(accepted)


def doable(needs: dict[str, set[str]]) -> set[str]:
    """Return what can be done, the slow and obvious way."""
    done: set[str] = set()
    while ready := {name for name, need in needs.items() if name not in done and need <= done}:
        done |= ready
    return done


@given(graphs())
def test_shards_hold_every_item_once_and_whole_groups(graph: list[tuple[str, tuple[str, ...]]]) -> None:
    """No item is lost or doubled, and what depends on each other is in one shard."""
    shards = pack_shards([place(name, *needs) for name, needs in graph])
    where = {each.item_id: number for number, shard in enumerate(shards) for each in shard}
    assert sum(map(len, shards)) == len(graph) == len(where)
    assert all(where[name] == where[need] for name, needs in graph for need in needs)


def families(count: int, size: int = 8) -> Sequence[ItemPlace]:
    """Return outlines, each followed by what is derived from it."""
    return [
        place(f"{family}/{n}", *([f"{family}/0"] if n else []))
        for family in range(count)
        for n in range(size)
    ]


def test_shards_are_about_as_large_as_the_target() -> None:
    """Small groups fill shards up to the target and never beyond it."""
    sizes = [len(each) for each in pack_shards(families(100))]
    assert max(sizes) <= SHARD_TARGET_ITEMS
    assert min(sizes[:-1]) > SHARD_TARGET_ITEMS - 8


def test_a_group_larger_than_a_shard_is_not_cut() -> None:
    """A group beyond the target gets a shard of its own."""
    small = [place("before"), *families(1, MAX_GROUP_ITEMS), place("after")]
    assert [len(each) for each in pack_shards(small)] == [1, MAX_GROUP_ITEMS, 1]


def test_a_group_that_no_shard_can_hold_is_refused() -> None:
    """Beyond the largest group a job cannot start, and the error says why."""
    with pytest.raises(ServiceError) as caught:
        pack_shards(families(1, MAX_GROUP_ITEMS + 1))
    assert (caught.value.kind, caught.value.reason) == (ErrorKind.FAILED_PRECONDITION, "GROUP_TOO_LARGE")


def test_a_long_chain_is_grouped_without_recursion() -> None:
    """A thousand items in a row, listed backwards, are one group."""
    chain = [place(f"i{n}", *([f"i{n - 1}"] if n else [])) for n in reversed(range(MAX_GROUP_ITEMS))]
    assert [len(each) for each in pack_shards(chain)] == [MAX_GROUP_ITEMS]
