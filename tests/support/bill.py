"""What the mock model endpoint would charge, by its own log and not by anything a service says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from tests.support.mock_endpoint import CLIENT_LEFT

PROMPT_MICROS_PER_MILLION = 3_000_000
OUTPUT_MICROS_PER_MILLION = 15_000_000


@dataclass(frozen=True, slots=True)
class Line:
    """One call to the endpoint.

    Attributes:
        model: The model asked for.
        digest: Equal messages, equal digest.
        status: The HTTP status; `CLIENT_LEFT` when the client went away before the answer; 0 for a
            connection that was reset.
        prompt_tokens: What it counted for the prompt.
        output_tokens: What it counted for the output.
    """

    model: str
    digest: str
    status: int
    prompt_tokens: int
    output_tokens: int

    @property
    def micros(self) -> int:
        """The price of the call, rounded up to a whole micro."""
        millionths = self.prompt_tokens * PROMPT_MICROS_PER_MILLION
        millionths += self.output_tokens * OUTPUT_MICROS_PER_MILLION
        return -(-millionths // 1_000_000)


def read_lines(log: Path) -> list[Line]:
    """Read the endpoint's log."""
    parsed = map(orjson.loads, log.read_bytes().splitlines())
    return [
        Line(each["model"], each["hash"], each["status"], each["prompt_tokens"], each["output_tokens"])
        for each in parsed
    ]


def completed(lines: Iterable[Line]) -> list[Line]:
    """Return the calls that were answered with a completion."""
    return [each for each in lines if each.status == 200]


def abandoned(lines: Iterable[Line]) -> list[Line]:
    """Return the calls whose client went away."""
    return [each for each in lines if each.status == CLIENT_LEFT]


def bill(lines: Iterable[Line]) -> int:
    """Return what calls cost together."""
    return sum(each.micros for each in lines)


def price_table(*models: str) -> Mapping[str, Mapping[str, int]]:
    """Return the processor's price table that says the same."""
    prices = {
        "prompt_micros_per_million": PROMPT_MICROS_PER_MILLION,
        "output_micros_per_million": OUTPUT_MICROS_PER_MILLION,
    }
    return dict.fromkeys(models, prices)
