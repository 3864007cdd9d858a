"""The one question after a malformed output: the conversation so far, what was wrong, and the whole again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from service_common.output_contract import OutputContract

from parallel_processor.model.requests import Message, ModelRequest

_MAX_QUOTED = 16_000
"""How much of the malformed output is quoted, in characters: enough to mend it, and a bound on the price."""


def asked_again(
    request: ModelRequest, output: str, *, findings: Sequence[str], contract: OutputContract
) -> ModelRequest:
    """Return the request that asks for an output again, with what was wrong with it."""
    quoted = output if len(output) <= _MAX_QUOTED else f"{output[:_MAX_QUOTED]} […]"
    rules = "\n".join(f"- {each}" for each in findings)
    words = [f"Your output broke these rules:\n{rules}"]
    if contract.json_schema is not None:
        words.append(f"It must be JSON that fits this schema:\n{contract.json_schema}")
    if contract.headings:
        names = "\n".join(f"- {each}" for each in contract.headings)
        words.append(f"It must have these headings, in this order:\n{names}")
    words.append("Write the whole output again so that it keeps every rule. Answer with the output alone.")
    more = (Message("assistant", quoted), Message("user", "\n\n".join(words)))
    return replace(request, messages=(*request.messages, *more))
