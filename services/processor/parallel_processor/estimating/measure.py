"""What calls took so far, by model, content type and limit of the output: what estimates rest on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple

from parallel_processor.estimating.moments import NOTHING, Moments, of_sums


class Kind(NamedTuple):
    """Calls that are alike."""

    model: str
    content_type: str
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Measure:
    """What calls of one kind took.

    Attributes:
        output_tokens: Of each output.
        output_characters: Per token of output.
        prompt_tokens: Per character of prompt.
        seconds: Of each call.
    """

    output_tokens: Moments = NOTHING
    output_characters: Moments = NOTHING
    prompt_tokens: Moments = NOTHING
    seconds: Moments = NOTHING

    def __add__(self, other: Measure) -> Measure:
        return Measure(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    def faded(self) -> Measure:
        """Return it with what is old weighing less."""
        return Measure(*(getattr(self, each.name).faded() for each in fields(self)))


NOT_MEASURED = Measure()
Measures = Mapping[Kind, Measure]


def merged(*all_measures: Measures) -> dict[Kind, Measure]:
    """Put measures together, what is old weighing less."""
    found: dict[Kind, Measure] = {}
    for each in all_measures:
        for kind, measure in each.items():
            found[kind] = (found.get(kind, Measure()) + measure).faded()
    return found


def of_kinds(measures: Measures, kinds: Iterable[Kind]) -> Measure:
    """Return what calls of several kinds took together."""
    total = Measure()
    for each in kinds:
        total += measures[each]
    return total


class MeasureTally:
    """A measure in the making: sums and sums of squares, since every call passes here.

    Its mutable state: these sums.
    """

    __slots__ = ("_characters", "_output", "_prompt", "_seconds")

    def __init__(self) -> None:
        self._output, self._characters, self._prompt, self._seconds = ([0, 0.0, 0.0] for _ in range(4))

    def add(
        self,
        *,
        prompt_characters: int,
        prompt_tokens: int,
        output_characters: int,
        output_tokens: int,
        seconds: float,
    ) -> None:
        """Take in a call that was answered."""
        _add(self._output, output_tokens)
        _add(self._seconds, seconds)
        if output_tokens:
            _add(self._characters, output_characters / output_tokens)
        if prompt_characters:
            _add(self._prompt, prompt_tokens / prompt_characters)

    def read(self) -> Measure:
        """Return the measure so far."""
        sums = self._output, self._characters, self._prompt, self._seconds
        return Measure(*(of_sums(*each) for each in sums))


def _add(sums: list[float], value: float) -> None:
    sums[0] += 1
    sums[1] += value
    sums[2] += value * value
