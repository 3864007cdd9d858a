"""What an output must be like to be taken: its form, its headings, how much of what.

Whatever passes `problems` can be checked against any text, soon.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from service_common.errors import FieldViolation
from service_common.json_schema import SchemaRefusedError, compile_schema

MAX_HEADINGS = 32
MAX_HEADING_BYTES = 256


@dataclass(frozen=True, slots=True)
class Bounds:
    """A range; 0 on either side leaves it open."""

    min: int = 0
    max: int = 0

    def __bool__(self) -> bool:
        """Whether it bounds anything."""
        return bool(self.min or self.max)

    def admits(self, count: int) -> bool:
        """Whether a count is within it."""
        return self.min <= count and not 0 < self.max < count


_OPEN = Bounds()


@dataclass(frozen=True, slots=True)
class OutputContract:
    """What an output must be like.

    Attributes:
        json_schema: The JSON Schema it must fit, as JSON; None when it need not be JSON.
        markdown: Whether it must be Markdown.
        headings: Headings that must be there, in this order.
        sections: How many headings there may be.
        characters: How many characters.
        words: How many words.
        items: How many elements of the JSON, or list items.
    """

    json_schema: str | None = None
    markdown: bool = False
    headings: tuple[str, ...] = ()
    sections: Bounds = field(default=_OPEN)
    characters: Bounds = field(default=_OPEN)
    words: Bounds = field(default=_OPEN)
    items: Bounds = field(default=_OPEN)


def contract_to_fields(contract: OutputContract) -> dict[str, Any]:
    """Write a contract as plain fields; what it does not demand is left out."""
    fields = {name: value for name, value in asdict(contract).items() if value not in (None, False, ())}
    for name in ("sections", "characters", "words", "items"):
        if not getattr(contract, name):
            del fields[name]
    return {**fields, "headings": [*contract.headings]} if contract.headings else fields


def contract_of(fields: Mapping[str, Any]) -> OutputContract:
    """Read a contract from plain fields."""
    known = dict(fields)
    for name in ("sections", "characters", "words", "items"):
        if name in known:
            known[name] = Bounds(**known[name])
    return OutputContract(**{**known, "headings": tuple(known.get("headings", ()))})


def problems(place: str, contract: OutputContract) -> Iterator[FieldViolation]:
    """Say what is wrong with a contract, by the field's path in the services' contracts."""
    if contract == OutputContract():
        yield FieldViolation(place, "must demand something")
    if contract.json_schema is not None:
        try:
            compile_schema(contract.json_schema)
        except SchemaRefusedError as error:
            yield FieldViolation(f"{place}.json.schema", str(error))
    if len(contract.headings) > MAX_HEADINGS:
        yield FieldViolation(f"{place}.markdown.headings", f"must be at most {MAX_HEADINGS}")
    for index, heading in enumerate(contract.headings[:MAX_HEADINGS]):
        if not (heading.strip() and "\n" not in heading and len(heading.encode()) <= MAX_HEADING_BYTES):
            yield FieldViolation(
                f"{place}.markdown.headings[{index}]", f"must be one line of 1 to {MAX_HEADING_BYTES} bytes"
            )
    for name in ("characters", "words", "items"):
        yield from _bounds_problems(f"{place}.{name}", getattr(contract, name))
    yield from _bounds_problems(f"{place}.markdown.sections", contract.sections)
    if 0 < contract.sections.max < len(contract.headings):
        yield FieldViolation(f"{place}.markdown.sections.max", "must not be less than there are headings")


def _bounds_problems(place: str, bounds: Bounds) -> Iterator[FieldViolation]:
    if bounds.min < 0:
        yield FieldViolation(f"{place}.min", "must not be negative")
    if bounds.max < 0:
        yield FieldViolation(f"{place}.max", "must not be negative")
    elif 0 < bounds.max < bounds.min:
        yield FieldViolation(f"{place}.max", "must not be less than min")
