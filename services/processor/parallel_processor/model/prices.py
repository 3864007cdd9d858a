"""What model calls cost: a table of prices per million tokens, read from a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import orjson

_MILLION = 1_000_000
EVERY_OTHER = "*"
"""The entry of a price file that prices every model it does not name."""

_FIELDS = ("prompt_micros_per_million", "output_micros_per_million")


class PriceTableError(ValueError):
    """The price file cannot be used; the message names every bad entry."""


class PriceUnknownError(LookupError):
    """The table has no price for a model.

    Attributes:
        model: The model.
    """

    def __init__(self, model: str) -> None:
        super().__init__(f"the price table has no model {model!r}")
        self.model = model


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """Prices of one model, in micros of US dollars per million tokens.

    Attributes:
        prompt_micros_per_million: For tokens of prompts.
        output_micros_per_million: For tokens of outputs.
    """

    prompt_micros_per_million: int
    output_micros_per_million: int

    def cost_micros(self, prompt_tokens: int, output_tokens: int) -> int:
        """Price one call, rounded up to a whole micro."""
        millionths = (
            prompt_tokens * self.prompt_micros_per_million + output_tokens * self.output_micros_per_million
        )
        return -(-millionths // _MILLION)


class PriceTable:
    """Prices by model. A model that is not in it cannot be priced, unless it prices every other one."""

    __slots__ = ("_default", "_prices")

    def __init__(self, prices: Mapping[str, ModelPrice]) -> None:
        self._prices = {model: each for model, each in prices.items() if model != EVERY_OTHER}
        self._default = prices.get(EVERY_OTHER)

    @classmethod
    def free(cls) -> Self:
        """Return the table by which every model costs nothing, for endpoints of one's own."""
        return cls({EVERY_OTHER: ModelPrice(0, 0)})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a table: a JSON object from model, or `*` for every other one, to an object of the two prices.

        Raises:
            PriceTableError: If the file cannot be read, or any entry is bad; names all of them.
        """
        try:
            parsed: Any = orjson.loads(path.read_bytes())
        except OSError as error:
            raise PriceTableError(f"{path}: {error.strerror}") from error
        except orjson.JSONDecodeError as error:
            raise PriceTableError(f"{path}: not JSON: {error}") from error
        if not isinstance(parsed, dict):
            raise PriceTableError(f"{path}: must be an object from model to prices")
        problems = [problem for model, entry in parsed.items() for problem in _problems(model, entry)]
        if problems:
            raise PriceTableError(f"{path}: {'; '.join(problems)}")
        return cls({model: ModelPrice(**entry) for model, entry in parsed.items()})

    @property
    def models(self) -> tuple[str, ...]:
        """The models that have a price of their own."""
        return tuple(self._prices)

    def knows(self, model: str) -> bool:
        """Whether a model has a price."""
        return model in self._prices or self._default is not None

    def of(self, model: str) -> ModelPrice:
        """Return the prices of a model.

        Raises:
            PriceUnknownError: If the table does not have the model.
        """
        price = self._prices.get(model, self._default)
        if price is None:
            raise PriceUnknownError(model)
        return price

    def cost_micros(self, model: str, prompt_tokens: int, output_tokens: int) -> int:
        """Price one call, rounded up to a whole micro.

        Raises:
            PriceUnknownError: If the table does not have the model.
        """
        return self.of(model).cost_micros(prompt_tokens, output_tokens)

    def worst_case_micros(self, model: str, prompt_tokens_upper_bound: int, max_tokens: int) -> int:
        """Price the most one call can cost: the bound of its prompt, and every token it may generate.

        Raises:
            PriceUnknownError: If the table does not have the model.
        """
        return self.of(model).cost_micros(prompt_tokens_upper_bound, max_tokens)


def _problems(model: str, entry: Any) -> list[str]:
    if not model:
        return ["a model's name is empty"]
    if not isinstance(entry, dict):
        return [f"{model}: must be an object of {' and '.join(_FIELDS)}"]
    problems = [f"{model}.{name}: unknown field" for name in entry if name not in _FIELDS]
    for name in _FIELDS:
        value = entry.get(name)
        if type(value) is not int or value < 0:
            problems.append(f"{model}.{name}: must be a whole number, 0 or more")
    return problems
