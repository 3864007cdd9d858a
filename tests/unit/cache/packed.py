"""A replica whose entries are packed, step by step, and entries in the form in which they are sent."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from random import Random
from typing import Any

from content_cache.compression.parts import Compression, put_together
from content_cache.compression.samples import FIRST_AT
from content_cache.durability.purging import Purging
from content_cache.entry import Address, Entry
from contentfactory.cache.v1 import cache_pb2
from service_common.clock import ManualClock
from service_common.storage.memory import MemoryStore

from tests.unit.cache.replica import Replica, put

_TEXT = (
    "bees collect nectar from every flower in the garden and carry it to the hive because the colony needs "
    "energy in winter when people store water and remember another important example of a season together"
)
_WORDS = _TEXT.split()


def text(number: int, words: int = 120) -> str:
    """Return one of many texts that have words in common and differ."""
    random = Random(number)
    return f"Piece {number}: " + " ".join(random.choice(_WORDS) for _ in range(words)) + "."


def sent(key: str, value: str, *, tags: tuple[str, ...] = ("content_type:faq",)) -> bytes:
    """Return an entry as the contract serialises it."""
    return cache_pb2.Entry(
        key=key,
        value=value.encode(),
        content_type="text/markdown; charset=utf-8",
        tags=tags,
        metadata={"model": "smollm2-135m-instruct", "quality": "0.9"},
        checksum=sha256(value.encode()).digest(),
    ).SerializeToString()


class PackingReplica:
    """A replica with compression, whose rounds the test makes."""

    def __init__(self, store: MemoryStore, clock: ManualClock, max_bytes: int = 10**9) -> None:
        self.replica = Replica(store, clock, max_bytes)
        self.cache = self.replica.cache
        self.turn = self.replica.turn
        self.clock = clock
        random = Random(1)
        self.packing_seconds: list[float] = []
        self.compression: Compression = put_together(
            self.cache,
            store,
            self.turn,
            clock=clock,
            observe=self.packing_seconds.append,
            below=random.randrange,
            threshold=64,
            level=3,
        )
        self.opening = self.compression.opening
        self.dictionaries = self.compression.dictionaries
        self.counts = self.compression.counts
        self.purging = Purging(
            self.replica.purges,
            self.turn,
            self.replica.stored,
            all_purged=self.compression.training.purge,
        )

    async def start(self) -> PackingReplica:
        """Load and open."""
        await self.compression.training.load(self.cache, 1)
        await self.replica.start()
        return self

    def entry(self, number: int, tenant: str = "a", *, ttl_s: float = 100, **facts: Any) -> Entry:
        """Return an entry made now."""
        now, key = self.clock.now(), f"k{number}"
        encoded = facts.pop("encoded", sent(key, text(number)))
        return Entry(
            Address(tenant, key),
            encoded,
            7,
            now,
            now + timedelta(seconds=ttl_s),
            era=self.cache.rules.era(tenant),
            **facts,
        )

    async def fill(self, numbers: range, tenant: str = "a", *, ttl_s: float = 100) -> None:
        """Store entries and pack them."""
        for number in numbers:
            entry = self.entry(number, tenant, ttl_s=ttl_s)
            put(self.replica, entry)
            self.compression.packing.note(entry.address)
        while len(self.compression.packing):
            await self.compression.packing.round()

    async def trained(self, tenant: str = "a", *, first: int = 0, ttl_s: float = 100) -> str:
        """Store enough entries, train a dictionary on them and return its id."""
        await self.fill(range(first, first + FIRST_AT), tenant, ttl_s=ttl_s)
        await self.compression.training.train(tenant)
        used = self.dictionaries.latest(tenant)
        assert used is not None
        return used.dictionary.id

    def get(self, number: int, tenant: str = "a") -> bytes | None:
        """Return an entry as a caller gets it."""
        with self.turn as cache:
            entry = cache.get(Address(tenant, f"k{number}"))
            return None if entry is None else self.opening.sent(cache, entry)

    def held(self, number: int, tenant: str = "a") -> Entry:
        """Return an entry as it is kept."""
        entry = self.cache.held(Address(tenant, f"k{number}"))
        assert entry is not None
        return entry

    def damage(self, number: int, place: int) -> None:
        """Flip a bit of an entry in memory."""
        entry = self.held(number)
        changed = bytearray(entry.encoded)
        changed[place % len(changed)] ^= 1
        with self.turn as cache:
            assert cache.repack(entry, replace(entry, encoded=bytes(changed)))
