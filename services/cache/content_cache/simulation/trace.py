"""Traces of requests, in the forms in which they are published; plain, gzip or xz."""

from __future__ import annotations

import csv
import gzip
import lzma
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from content_cache.entry import Address

BYTES_PER_TOKEN: Final = 4
"""What a token takes as text, about."""

PROMPT_MICROS_PER_MILLION: Final = 150_000
COMPLETION_MICROS_PER_MILLION: Final = 600_000
"""Prices where a trace has tokens but no cost: a small model's of 2024, 0.15 and 0.60 dollars."""

_MILLION: Final = 1_000_000


class TraceError(ValueError):
    """A trace cannot be read; says where and why."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        address: For what.
        size_bytes: What the answer takes.
        cost_micros: What it costs to make.
    """

    address: Address
    size_bytes: int
    cost_micros: int


def read_trace(path: Path) -> list[Request]:
    """Return a trace's requests in order.

    The form is told by the first line: `time id size [cost]`, separated by blanks, with the cost in micros of
    dollars, as the AdaptSize trace without costs; or CSV with the columns ContextTokens and GeneratedTokens
    and perhaps id, as the Azure LLM inference trace, in which every row is a request of its own unless it has
    an id.

    Raises:
        TraceError: If it cannot be read, naming the line.
    """
    try:
        with _opened(path) as lines:
            first = lines.readline()
            rest = _with_first(first, lines)
            return list(_tokens(rest) if "," in first else _sizes(rest))
    except (OSError, EOFError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise TraceError(f"{path}: {error}") from error
    except TraceError as error:
        raise TraceError(f"{path}: {error}") from error


def cost_of_tokens(prompt: int, completion: int) -> int:
    """Return micros of dollars, rounded up."""
    exact = prompt * PROMPT_MICROS_PER_MILLION + completion * COMPLETION_MICROS_PER_MILLION
    return -(-exact // _MILLION)


def _opened(path: Path) -> TextIO:
    if path.suffix == ".xz":
        return lzma.open(path, "rt", encoding="utf-8")
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")


def _with_first(first: str, rest: Iterable[str]) -> Iterator[str]:
    yield first
    yield from rest


def _sizes(lines: Iterable[str]) -> Iterator[Request]:
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) not in {3, 4}:
            raise TraceError(f"line {number}: expected `time id size [cost]`, got {line.strip()!r}")
        size = _natural(fields[2], "size", number)
        cost = _natural(fields[3], "cost", number) if len(fields) == 4 else 0  # noqa: PLR2004 - the optional one
        yield Request(Address("", fields[1]), size, cost)


def _tokens(lines: Iterable[str]) -> Iterator[Request]:
    for number, row in enumerate(csv.DictReader(lines), start=2):
        prompt = _natural(row.get("ContextTokens"), "ContextTokens", number)
        completion = _natural(row.get("GeneratedTokens"), "GeneratedTokens", number)
        address = Address("", row.get("id") or f"row {number}")
        yield Request(address, completion * BYTES_PER_TOKEN, cost_of_tokens(prompt, completion))


def _natural(text: str | None, field: str, line: int) -> int:
    if text is None or not text.isdecimal():
        raise TraceError(f"line {line}: {field} must be a whole number, is {text!r}")
    return int(text)
