"""Whatever happens to a packed cache, it serves what was stored last or nothing; its accounts are exact."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from content_cache.compression.samples import FIRST_AT
from content_cache.entry import Address
from content_cache.holding.rules import Kind, Mode, Selector
from content_cache.repository.schema import SCHEMA
from hypothesis import given, settings
from hypothesis import strategies as st
from service_common.clock import ManualClock
from service_common.storage.memory import MemoryStore

from tests.unit.cache.packed import PackingReplica, sent, text
from tests.unit.cache.replica import put

_TENANTS = st.sampled_from(["a", "a_b"])
_NUMBERS = st.integers(0, 5)
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), _TENANTS, _NUMBERS),
        st.tuples(st.just("delete"), _TENANTS, _NUMBERS),
        st.tuples(st.just("damage"), st.just("a"), _NUMBERS),
        st.tuples(st.sampled_from(["pack", "race", "train", "purge", "restart"]), _TENANTS, _NUMBERS),
    ),
    max_size=30,
)


@dataclass(slots=True)
class _Run:
    """A cache and what is known of it.

    Attributes:
        stored: The texts that must come back.
        doubtful: Those that may be missing, having been damaged.
    """

    replica: PackingReplica
    store: MemoryStore
    clock: ManualClock
    stored: dict[tuple[str, int], bytes] = field(default_factory=dict)
    doubtful: set[tuple[str, int]] = field(default_factory=set)
    serial: int = 0

    async def step(self, action: str, tenant: str, number: int) -> None:
        """Do one thing."""
        packing = self.replica.compression.packing
        if action == "set":
            self._set(tenant, number)
        elif action == "delete":
            self._gone(tenant, number)
            with self.replica.turn as cache:
                cache.delete(Address(tenant, f"k{number}"))
        elif action == "damage":
            if self.replica.cache.held(Address(tenant, f"k{number}")) is not None:
                packed = self.replica.held(number).packing
                if packed:
                    self.replica.damage(number, number * 31)
                    self.doubtful.add((tenant, number))
        elif action == "race":
            under_way = asyncio.create_task(packing.round())
            await asyncio.sleep(0)
            self._set(tenant, number)
            await under_way
        else:
            await self._housekeeping(action, tenant)

    async def _housekeeping(self, action: str, tenant: str) -> None:
        if action == "pack":
            while len(self.replica.compression.packing):
                await self.replica.compression.packing.round()
        elif action == "train":
            await self.replica.fill(range(100, 100 + FIRST_AT), tenant)
            await self.replica.compression.training.train(tenant)
        elif action == "purge":
            await self.replica.purging.purge(tenant, Selector(Kind.ALL), Mode.DELETE)
            for number in range(6):
                self._gone(tenant, number)
        elif action == "restart":
            await self.replica.replica.writes.flush()
            self.replica = await PackingReplica(self.store, self.clock).start()

    def _set(self, tenant: str, number: int) -> None:
        self.serial += 1
        encoded = sent(f"k{number}", text(self.serial))
        entry = self.replica.entry(number, tenant, encoded=encoded, ttl_s=10**6)
        put(self.replica.replica, entry)
        self.replica.compression.packing.note(entry.address)
        self.stored[tenant, number] = encoded
        self.doubtful.discard((tenant, number))

    def _gone(self, tenant: str, number: int) -> None:
        self.stored.pop((tenant, number), None)
        self.doubtful.discard((tenant, number))

    def check(self) -> None:
        """Compare what is served and accounted with what is known."""
        for tenant in ("a", "a_b"):
            for number in range(6):
                expected = self.stored.get((tenant, number))
                found = self.replica.get(number, tenant)
                assert found == expected or (found is None and (tenant, number) in self.doubtful)
        with self.replica.turn as cache:
            for tenant in ("a", "a_b"):
                for address in cache.labels.of_tenant(tenant):
                    cache.delete(address)
            assert len(cache) == 0
            assert cache.size_bytes == self.replica.dictionaries.size_bytes


@settings(max_examples=60, deadline=None)
@given(steps=_STEPS)
def test_a_packed_cache_is_a_dictionary_of_texts(steps: list[tuple[str, str, int]]) -> None:
    """Under random stores, removals, damage, packing, training, purges and restarts of two tenants."""

    async def run() -> None:
        clock = ManualClock()
        store = MemoryStore(SCHEMA, clock)
        world = _Run(await PackingReplica(store, clock).start(), store, clock)
        for action, tenant, number in steps:
            await world.step(action, tenant, number)
        world.check()

    asyncio.run(run())
