"""What two prompts must share before their words are looked at."""

from __future__ import annotations

from hashlib import sha256
from typing import NamedTuple


class Scope(NamedTuple):
    """Where prompts may meet.

    Attributes:
        tenant: Whose they are; kept apart from the rest, so that no choice of the rest reaches another
            tenant.
        digest: Of model, instructions and parameters.
    """

    tenant: str
    digest: bytes


def scope_of(tenant: str, model: str, *, instructions: str, parameters: str) -> Scope:
    """Return a prompt's scope; different parts never make the same one.

    Args:
        tenant: Whose prompt it is.
        model: The model that answers.
        instructions: The system prompt, and whatever else of the request is not the prompt.
        parameters: The sampling parameters, in any fixed form.
    """
    parts = (each.encode() for each in (model, instructions, parameters))
    return Scope(tenant, sha256(b"".join(len(each).to_bytes(8) + each for each in parts)).digest())
