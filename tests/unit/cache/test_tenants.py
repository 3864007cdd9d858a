"""A million probes of one tenant for what another has: none hits, and none changes anything."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import islice

import pytest
from content_cache.cache import ContentCache
from content_cache.entry import Address, Entry
from content_cache.eviction import Lru
from content_cache.holding.rules import Kind, Mode, Selector, TenantRules
from content_cache.leasing.leases import Lease
from content_cache.leasing.outcomes import FillOutcome
from service_common.clock import ManualClock

MakeEntry = Callable[..., Entry]
VICTIM = "acme"
OTHERS = ("acme ", "Acme", "acm", "acme/", "acme\0", "acme\0k", "\u0430cme", "acme\u200b", "ac\u00adme", "b")
_PROBES = 1_000_000
_KEYS = [sha256(f"request {number}".encode()).hexdigest() for number in range(500)]
_KEYS += [
    "caf\u00e9",
    "na\u00efve key",
    "\ufb01le",
    "\u212bngstr\u00f6m",
    "a/b",
    "k:1",
    "acme/k",
    "K",
    "stra\u00dfe",
]


def look_alikes(key: str, rng: random.Random) -> Iterator[str]:
    """Yield the key itself and what might be taken for it."""
    yield key
    yield from (unicodedata.normalize(form, key) for form in ("NFC", "NFD", "NFKC", "NFKD"))
    yield from (key.upper(), key.lower(), key.casefold(), key.swapcase())
    yield from (key + " ", " " + key, key + "\0", "\0" + key, f"{VICTIM}/{key}", f"{VICTIM}\0{key}")
    yield from (key[: rng.randrange(1, len(key) + 1)], key + rng.choice("0123456789abcdef"), key * 2)


def probes(rng: random.Random) -> Iterator[Address]:
    """Yield addresses of other tenants, for ever."""
    while True:
        for key in _KEYS:
            tenant = rng.choice(OTHERS)
            for each in look_alikes(key, rng):
                yield Address(tenant, each)


@pytest.fixture
def full(clock: ManualClock, make_entry: MakeEntry) -> ContentCache:
    """A cache with one tenant's entries."""
    cache = ContentCache(max_bytes=10**8, policy=Lru(), clock=clock, new_token=lambda: "guessed")
    for key in _KEYS:
        cache.set(make_entry(key, tenant=VICTIM, tags=("template:faq@1", f"tag:{key}")))
    return cache


def test_a_million_probes_hit_nothing(full: ContentCache) -> None:
    """Look-alike keys, normalised, folded, cut, joined with the tenant: no other tenant sees an entry."""
    hits = sum(full.get(address) is not None for address in islice(probes(random.Random(1)), _PROBES))
    assert hits == 0
    assert sum(full.counters(tenant).misses for tenant in OTHERS) == _PROBES
    assert full.counters(VICTIM).hits == 0


def test_a_key_is_its_bytes(full: ContentCache) -> None:
    """Within the tenant too, nothing but the very same text is the same key."""
    rng = random.Random(2)
    for key in _KEYS:
        for each in look_alikes(key, rng):
            found = full.peek(Address(VICTIM, each))
            assert (found is not None) is (each in _KEYS)
            assert found is None or found.address.key == each


@pytest.mark.parametrize("tenant", OTHERS)
def test_no_tenant_reaches_another_by_labels_leases_or_purges(
    full: ContentCache, make_entry: MakeEntry, tenant: str
) -> None:
    """Labels, tokens, fills, deletes and purges of a tenant end at its own entries."""
    held = {key: full.peek(Address(VICTIM, key)) for key in _KEYS}
    assert full.labels.tagged(tenant, "template:faq@1") == full.labels.of_tenant(tenant) == []
    full.rules.learn(tenant, TenantRules().purged(Selector(Kind.ALL), Mode.DELETE))
    assert not any(full.enforce(address) for address in full.labels.of_tenant(VICTIM))
    missing = Address(VICTIM, "missing")
    lease = full.acquire(missing, holder="h", epoch=0, ttl_s=30)
    assert isinstance(lease, Lease)
    strange = Address(tenant, missing.key)
    assert not full.release(strange, lease.token)
    entry = make_entry(missing.key, tenant=tenant, era=1)
    assert full.fill(entry, lease.token) is FillOutcome.STORED_WITHOUT_LEASE
    assert full.lease(missing) == lease
    assert full.peek(missing) is None
    assert not any(full.delete(Address(tenant, key)) for key in _KEYS)
    assert {key: full.peek(Address(VICTIM, key)) for key in _KEYS} == held
