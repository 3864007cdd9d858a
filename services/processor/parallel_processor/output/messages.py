"""A contract out of a message; the processor's and the optimizer's have the same fields."""

from __future__ import annotations

from typing import Any

from service_common.output_contract import Bounds, OutputContract


def contract_of_message(message: Any) -> OutputContract:
    """Read a contract from an OutputContract of either service."""
    return OutputContract(
        json_schema=message.json.schema if message.HasField("json") else None,
        markdown=message.HasField("markdown"),
        headings=tuple(message.markdown.headings),
        sections=_bounds(message.markdown.sections),
        characters=_bounds(message.characters),
        words=_bounds(message.words),
        items=_bounds(message.items),
    )


def _bounds(message: Any) -> Bounds:
    return Bounds(message.min, message.max)
