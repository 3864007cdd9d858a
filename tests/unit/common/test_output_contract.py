"""Output contracts: kept as they are, and refused by field when they cannot be checked."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from service_common.output_contract import Bounds, OutputContract, contract_of, contract_to_fields, problems

BOUNDS = st.builds(Bounds, st.integers(0, 9), st.integers(0, 9))
CONTRACTS = st.builds(
    OutputContract,
    json_schema=st.none() | st.just('{"type": "object"}'),
    markdown=st.booleans(),
    headings=st.lists(st.text(min_size=1, max_size=5), max_size=3).map(tuple),
    sections=BOUNDS,
    characters=BOUNDS,
    words=BOUNDS,
    items=BOUNDS,
)


@given(CONTRACTS)
def test_a_contract_survives_being_stored(contract: OutputContract) -> None:
    """What is written is what is read, and what is open is not written at all."""
    fields = contract_to_fields(contract)
    assert contract_of(fields) == contract
    assert ("words" in fields) == (contract.words != Bounds())


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
def test_bounds_admit_what_is_between_them(least: int, most: int, count: int) -> None:
    """Both ends belong to the range, and 0 leaves an end open."""
    assert Bounds(least, most).admits(count) == (count >= least and (most == 0 or count <= most))


@pytest.mark.parametrize(
    ("contract", "field"),
    [
        (OutputContract(), "c"),
        (OutputContract(json_schema=""), "c.json.schema"),
        (OutputContract(json_schema='{"type": "texts"}'), "c.json.schema"),
        (OutputContract(markdown=True, headings=("a",) * 33), "c.markdown.headings"),
        (OutputContract(markdown=True, headings=("a", " ")), "c.markdown.headings[1]"),
        (OutputContract(markdown=True, headings=("a\nb",)), "c.markdown.headings[0]"),
        (OutputContract(markdown=True, headings=("ä" * 129,)), "c.markdown.headings[0]"),
        (
            OutputContract(markdown=True, headings=("a", "b"), sections=Bounds(0, 1)),
            "c.markdown.sections.max",
        ),
        (OutputContract(markdown=True, sections=Bounds(-1)), "c.markdown.sections.min"),
        (OutputContract(words=Bounds(3, 2)), "c.words.max"),
        (OutputContract(characters=Bounds(0, -2)), "c.characters.max"),
        (OutputContract(items=Bounds(-2, 0)), "c.items.min"),
    ],
)
def test_what_is_wrong_is_named_by_its_field(contract: OutputContract, field: str) -> None:
    """Each fault is found, and the violation names the field of the services' contracts."""
    assert [each.field for each in problems("c", contract)] == [field]


@pytest.mark.parametrize(
    "given_fields",
    [{"json_schema": "{}"}, {"markdown": True}, {"words": {"min": 5, "max": 0}}],
)
def test_one_demand_is_enough(given_fields: dict[str, Any]) -> None:
    """A contract may demand JSON, Markdown or a length alone."""
    assert list(problems("c", contract_of(given_fields))) == []
