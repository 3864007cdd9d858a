"""Who leaves when memory is full: one small interface, so that policies differ and nothing else must know."""

from content_cache.eviction.choice import POLICIES, make_policy
from content_cache.eviction.gdsf import Gdsf
from content_cache.eviction.lru import Lru
from content_cache.eviction.policy import EvictionPolicy
from content_cache.eviction.sieve import Sieve

__all__ = ["POLICIES", "EvictionPolicy", "Gdsf", "Lru", "Sieve", "make_policy"]
