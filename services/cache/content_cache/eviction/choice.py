"""Policies by the name under which they are chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from content_cache.eviction.gdsf import Gdsf
from content_cache.eviction.lru import Lru
from content_cache.eviction.policy import EvictionPolicy
from content_cache.eviction.sieve import Sieve

POLICIES: Final[Mapping[str, Callable[[], EvictionPolicy]]] = {"lru": Lru, "sieve": Sieve, "gdsf": Gdsf}
"""Each makes an empty policy."""


def make_policy(name: str) -> EvictionPolicy:
    """Return an empty policy.

    Raises:
        KeyError: If there is none of that name.
    """
    return POLICIES[name]()
