"""Pricing calls."""

from fractions import Fraction
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parallel_processor.model.prices import ModelPrice, PriceTable, PriceTableError, PriceUnknownError

TABLE = PriceTable({"small": ModelPrice(150_000, 600_000)})


@pytest.mark.parametrize(
    ("prompt", "output", "micros"),
    [(0, 0, 0), (1, 0, 1), (1_000_000, 0, 150_000), (100, 100, 75), (101, 100, 76)],
)
def test_each_call_is_rounded_up_once(prompt: int, output: int, micros: int) -> None:
    """A call costs the sum of both parts, rounded up to a whole micro."""
    assert TABLE.cost_micros("small", prompt, output) == micros


tokens = st.integers(0, 10**7)
prices = st.integers(0, 10**9)


@given(tokens, tokens, prices, prices)
def test_rounding_never_loses_nor_adds_a_micro(
    prompt: int, output: int, of_prompt: int, of_output: int
) -> None:
    """The price is at least the exact one, and less than one micro more."""
    exact = Fraction(prompt * of_prompt + output * of_output, 1_000_000)

    assert exact <= ModelPrice(of_prompt, of_output).cost_micros(prompt, output) < exact + 1


def test_the_worst_case_is_the_bound_and_all_output() -> None:
    """The worst case prices the prompt's bound and every token that may be generated."""
    assert TABLE.worst_case_micros("small", 2_000_000, 1_000_000) == 900_000


def test_an_unknown_model_has_no_price() -> None:
    """What has no price cannot be run by accident for free."""
    with pytest.raises(PriceUnknownError, match="'large'") as caught:
        TABLE.cost_micros("large", 1, 1)

    assert caught.value.model == "large"


def test_the_free_table_prices_everything_at_nothing() -> None:
    """Without a price file every model is free, as endpoints of one's own are."""
    free = PriceTable.free()

    assert (free.cost_micros("any", 10, 10), free.worst_case_micros("other", 10, 10)) == (0, 0)


def test_a_star_prices_every_other_model(tmp_path: Path) -> None:
    """What a file prices with * is every model it does not name; it is no model itself."""
    dear, free = (dict.fromkeys(_FIELDS, price) for price in (5_000_000, 0))
    table = _load(tmp_path, orjson.dumps({"m": dear, "*": free}))

    assert (table.cost_micros("m", 1, 1), table.cost_micros("other", 10**6, 10**6)) == (10, 0)
    assert (table.models, table.knows("other"), TABLE.knows("other")) == (("m",), True, False)


_FIELDS = ("prompt_micros_per_million", "output_micros_per_million")


def _load(folder: Path, content: bytes) -> PriceTable:
    path = folder / "prices.json"
    path.write_bytes(content)
    return PriceTable.load(path)


def test_a_file_is_read(tmp_path: Path) -> None:
    """A good file prices its models and no other."""
    entry = {"prompt_micros_per_million": 2_000_000, "output_micros_per_million": 8_000_000}

    table = _load(tmp_path, orjson.dumps({"m": entry}))

    assert table.models == ("m",)
    assert table.cost_micros("m", 1, 1) == 10


def test_every_bad_entry_is_named(tmp_path: Path) -> None:
    """One message names all that is wrong with a file, entry by entry."""
    bad = {
        "negative": {"prompt_micros_per_million": -1, "output_micros_per_million": 1},
        "fraction": {"prompt_micros_per_million": 1, "output_micros_per_million": 1.5},
        "boolean": {"prompt_micros_per_million": True, "output_micros_per_million": 1},
        "missing": {"prompt_micros_per_million": 1},
        "unknown": {"prompt_micros_per_million": 1, "output_micros_per_million": 1, "input": 3},
        "number": 3,
        "": {"prompt_micros_per_million": 1, "output_micros_per_million": 1},
    }

    with pytest.raises(PriceTableError) as caught:
        _load(tmp_path, orjson.dumps(bad))

    for place in (
        "negative.prompt_micros_per_million",
        "fraction.output_micros_per_million",
        "boolean.prompt_micros_per_million",
        "missing.output_micros_per_million",
        "unknown.input: unknown field",
        "number: must be an object",
        "a model's name is empty",
    ):
        assert place in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3"])
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, content: bytes) -> None:
    """What is no JSON object is refused with the file's name."""
    with pytest.raises(PriceTableError, match=r"prices\.json"):
        _load(tmp_path, content)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """A configured file must be there."""
    with pytest.raises(PriceTableError, match="No such file"):
        PriceTable.load(tmp_path / "none.json")
