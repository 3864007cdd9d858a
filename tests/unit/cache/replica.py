"""One start of one replica of the cache over a store, without a server around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import TypeVar

from content_cache.cache import ContentCache
from content_cache.durability.loading import Loader
from content_cache.durability.purging import Purging
from content_cache.durability.read_through import ReadThrough
from content_cache.durability.write_behind import WriteBehind
from content_cache.entry import Address, Entry
from content_cache.eviction import Lru
from content_cache.live import LiveCache
from content_cache.repository.entries import EntryRepository
from content_cache.repository.purges import PurgeRepository
from content_cache.repository.schema import SCHEMA
from service_common.clock import ManualClock
from service_common.errors import unavailable
from service_common.storage.documents import Decision, Document, Key, Write
from service_common.storage.memory import MemoryStore

T = TypeVar("T")
_WRITERS = count(1)


class Store(MemoryStore):
    """A store that is away while told to."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(SCHEMA, clock)
        self.away = False

    def _check(self) -> None:
        if self.away:
            raise unavailable("STORE_DOWN", "down")

    async def commit(self, writes: Sequence[Write]) -> None:
        """Commit, or refuse."""
        self._check()
        await super().commit(writes)

    async def transact(
        self, keys: Sequence[Key], decide: Callable[[Sequence[Document | None]], Decision[T]]
    ) -> T:
        """Transact, or refuse."""
        self._check()
        return await super().transact(keys, decide)


class Replica:
    """A cache over a store, from its start to its crash."""

    def __init__(self, store: MemoryStore, clock: ManualClock, max_bytes: int = 10**9) -> None:
        tokens = count()
        writer = next(_WRITERS)
        self.cache = ContentCache(
            max_bytes=max_bytes, policy=Lru(), clock=clock, new_token=lambda: f"{writer}-{next(tokens)}"
        )
        self.repository = EntryRepository(store, clock=clock, writer=writer, rules=self.cache.rules)
        self.writes = WriteBehind(self.repository, self.cache.held, interval_s=0, max_pending=1000)
        self.purges = PurgeRepository(store)
        self.loader = Loader(self.repository, self.cache, clock=clock, purges=self.purges)
        self.stored = ReadThrough(self.repository, clock=clock)
        self.live = LiveCache(self.cache, clock=clock, changed=self._changed)
        self.turn = self.live.operation(lambda _: None)
        self.purging = Purging(self.purges, self.turn, self.stored)

    async def start(self) -> Replica:
        """Load and open."""
        await self.loader.run(1)
        self.live.open()
        self.stored.open(self.loader.left_out, self.turn, remove=self.writes.remove)
        return self

    def _changed(self, address: Address, before: Entry | None) -> None:
        self.stored.forget(address)
        self.writes.note(address, before)


def put(replica: Replica, entry: Entry) -> None:
    """Store one entry in a turn."""
    with replica.turn as cache:
        cache.set(entry)
