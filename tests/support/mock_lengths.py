"""How long the mock's outputs are when they vary: by kind of prompt, and from one to the next."""

from __future__ import annotations

import math
import random
from hashlib import blake2b

_KIND_CHARACTERS = 60
"""So many characters of the first message tell kinds of prompts apart: what a template always begins with."""

_KINDS_SPREAD = 1.1
_LEAST = 40


def characters(messages: list[dict[str, str]], digest: str, *, median: int, sigma: float) -> int:
    """Return an output's length: log-normal, around a median of its kind, the same for equal messages."""
    kind = blake2b(messages[0]["content"][:_KIND_CHARACTERS].encode(), digest_size=8).digest()
    of_kind = random.Random(kind).uniform(-_KINDS_SPREAD, _KINDS_SPREAD)
    return max(_LEAST, round(median * math.exp(of_kind + random.Random(digest).gauss(0.0, sigma))))
