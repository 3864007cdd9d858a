"""An output against its contract: the clean text, and in words what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from service_common.json_schema import compile_schema
from service_common.output_contract import Bounds, OutputContract

from parallel_processor.output.extraction import bare, json_in, json_problem, unfenced
from parallel_processor.output.headings import headings_of, missing

MAX_FINDINGS = 8
_LIST_ITEM = re.compile(r"^[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]+\S", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check came to.

    Attributes:
        content: The text without what was put around it: a fence, prose, white space. The text itself when
            JSON is wanted and it holds none.
        findings: What is wrong with it; empty when it fits.
    """

    content: str
    findings: tuple[str, ...] = ()


def check(text: str, contract: OutputContract, *, truncated: bool = False) -> Checked:
    """Check an output against its contract.

    Args:
        text: The output.
        contract: What it must be like; one that `problems` has nothing to say about.
        truncated: Whether it ended at max_tokens, which breaks every contract.
    """
    content, findings = text, list[str]()
    if truncated:
        findings.append("it was cut off at the limit of its length; it must be shorter")
    if contract.json_schema is not None:
        found = json_in(text)
        if found is None:
            return Checked(text, (*findings, f"it is not JSON: {json_problem(text)}"))
        content, value = found
        findings += compile_schema(contract.json_schema).findings(value, content, most=MAX_FINDINGS)
        findings += _counts(content, contract, items=len(value) if isinstance(value, list | dict) else 0)
    else:
        content = unfenced(text) if contract.markdown else bare(text)
        findings += _sections(content, contract) if contract.markdown else ()
        findings += _counts(content, contract, items=None)
    return Checked(content, tuple(findings[:MAX_FINDINGS]))


def _sections(content: str, contract: OutputContract) -> Iterator[str]:
    present = headings_of(content)
    for heading in missing(contract.headings, present):
        yield f"the heading {heading!r} is missing or not in its place"
    yield from _out_of_bounds("headings", len(present), contract.sections)


def _counts(content: str, contract: OutputContract, *, items: int | None) -> Iterator[str]:
    """Compare lengths; `items` is None when they are the lines of lists."""
    yield from _out_of_bounds("characters", len(content), contract.characters)
    if contract.words:
        yield from _out_of_bounds("words", len(content.split()), contract.words)
    if contract.items:
        count = len(_LIST_ITEM.findall(content)) if items is None else items
        yield from _out_of_bounds("items", count, contract.items)


def _out_of_bounds(what: str, count: int, bounds: Bounds) -> Iterator[str]:
    if not bounds.admits(count):
        yield f"it has {count} {what}; {_wanted(bounds)}"


def _wanted(bounds: Bounds) -> str:
    if bounds.min and bounds.max:
        return f"{bounds.min} to {bounds.max} are wanted"
    return f"at least {bounds.min} are wanted" if bounds.min else f"at most {bounds.max} are wanted"
