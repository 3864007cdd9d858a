"""What is injected into a running cache is named, and advice is worth what the simulator says."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from content_cache.cache import ContentCache
from content_cache.entry import Address, Entry
from content_cache.eviction import Lru
from content_cache.insight.advice import Kind, Observed, advise
from content_cache.insight.diagnosis import Cause
from content_cache.insight.insight import Insight, StoreHealth
from content_cache.insight.latencies import Latencies
from content_cache.learning.accesses import Accesses
from content_cache.learning.use_sample import TagUse
from content_cache.repository.entries import Change, EntryRepository
from content_cache.repository.schema import SCHEMA
from content_cache.sampling import PARTS
from service_common.clock import ManualClock
from service_common.storage.documents import Write
from service_common.storage.memory import MemoryStore

from tests.unit.cache.conftest import MakeEntry


class SlowStore(MemoryStore):
    """A store whose commits take half a second."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(SCHEMA, clock)
        self.clock = clock

    async def commit(self, writes: Sequence[Write]) -> None:
        """Commit, slowly."""
        self.clock.advance(0.5)
        await super().commit(writes)


class Watched:
    """A cache of 100 KB with all that listens to it, every key followed."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.latencies = Latencies()
        self.accesses = Accesses(capacity=lambda: 100_000, held=self.held, modelled_parts=PARTS)
        self.cache = ContentCache(
            max_bytes=100_000, policy=Lru(), clock=clock, new_token=str, listener=self.accesses
        )
        self.insight = Insight(self.accesses, self.latencies, policy="lru", store=lambda: StoreHealth(7, 0))

    def held(self, address: Address) -> Entry | None:
        """Return what the cache holds."""
        return self.cache.held(address)

    def causes(self, tenant: str = "a") -> set[Cause]:
        """Return what is named."""
        return {each.cause for each in self.insight.explain(self.cache, tenant).bottlenecks}

    def ask(self, keys: Sequence[str], make_entry: MakeEntry) -> None:
        """Look keys up, and store what is missing."""
        for key in keys:
            if self.cache.get(Address("a", key)) is None:
                self.cache.set(make_entry(key, cost=1000))
            self.cache.take_effects()
        self.clock.advance(60)
        self.cache.begin_turn()


@pytest.fixture
def watched(clock: ManualClock) -> Watched:
    """A cache that is well."""
    return Watched(clock)


async def test_a_slow_store_is_named(watched: Watched, clock: ManualClock, make_entry: MakeEntry) -> None:
    """Commits of half a second, as the repository itself measures them."""
    repository = EntryRepository(SlowStore(clock), clock=clock, writer=1, observe=watched.latencies.observer)
    assert watched.causes() == set()
    for number in range(4):
        entry = make_entry(f"k{number}")
        await repository.write([Change(entry.address, entry)])
    assert watched.causes() == {Cause.SLOW_STORE}


def test_compression_is_named(watched: Watched) -> None:
    """Compressing that takes most of a fill, as its observer is told."""
    fill, compress = map(watched.latencies.observer, ("batch_fill", "compress"))
    for _ in range(100):
        fill(0.010)
        compress(0.001)
    assert watched.causes() == set()
    for _ in range(100):
        compress(0.008)
    assert watched.causes() == {Cause.COMPRESSION}


def test_churn_is_named_with_what_more_memory_gives(watched: Watched, make_entry: MakeEntry) -> None:
    """A loop over keys that do not fit by half: LRU hits nothing, twice the limit would hit nearly all."""
    keys = [f"k{number}" for number in range(220)]
    watched.ask(keys * 10, make_entry)
    found = watched.insight.explain(watched.cache, "a")
    assert watched.cache.counters("a").hits == 0
    assert [each.cause for each in found.bottlenecks] == [Cause.EVICTION_CHURN]
    at = {each.capacity_bytes: each.hit_ratio for each in found.advice.limits}
    assert at[100_000] < 0.02
    assert at[200_000] == pytest.approx(0.9, abs=0.02)


def test_a_hot_key_is_named_to_its_tenant_only(watched: Watched, make_entry: MakeEntry) -> None:
    """One key among few others; another tenant hears nothing of it."""
    watched.ask([f"k{number % 50}" if number % 2 else "hot" for number in range(2000)], make_entry)
    assert watched.causes() == {Cause.HOT_KEY}
    assert watched.causes("b") == set()


def test_what_nobody_uses_is_named_by_its_label(watched: Watched, make_entry: MakeEntry) -> None:
    """A label with a third of the memory and no use is to be purged; a used one is not."""
    for number in range(60):
        watched.cache.set(make_entry(f"idle{number}", tags=("idle",)))
        watched.cache.set(make_entry(f"busy{number}", tags=("busy",)))
        watched.cache.get(Address("a", f"busy{number}"))
    (advice,) = watched.insight.explain(watched.cache, "a").advice.recommendations
    assert advice.kind is Kind.PURGE_TAG
    assert "factory cache purge --tag idle" in advice.text


def seen(**facts: object) -> Observed:
    """Return a full cache of a day with 10,000 lookups, half of them hits of a cent each."""
    usual: dict[str, object] = {
        "seconds": 86_400.0,
        "lookups": 10_000,
        "hits": 5_000,
        "saved_micros": 50_000_000,
        "capacity_bytes": 2**20,
        "size_bytes": 2**20,
        "curve": {2**18: 0.3, 2**19: 0.4, 2**20: 0.5, 2**21: 0.5, 2**22: 0.5},
        "policies": {"lru": (0.5, 1000), "gdsf": (0.4, 900), "sieve": (0.5, 1000)},
        "sampled_lookups": 1000,
        "policy": "lru",
    }
    return Observed(**{**usual, **facts})  # type: ignore[arg-type] # fields by name


@pytest.mark.parametrize(
    ("facts", "kind", "micros", "words"),
    [
        ({"curve": {2**20: 0.5, 2**21: 0.6, 2**22: 0.605}}, Kind.RAISE_LIMIT, 10_000_000, "2.0 MiB"),
        ({"curve": {2**18: 0.2, 2**19: 0.499, 2**20: 0.5}}, Kind.LOWER_LIMIT, 0, "0.5 MiB"),
        ({"policies": {"lru": (0.5, 1000), "gdsf": (0.4, 1200)}}, Kind.CHANGE_POLICY, 10_000_000, "gdsf"),
        ({"compressed_part": 0.5, "hit_ratio_compressed": 0.6}, Kind.COMPRESS, 10_000_000, "50%"),
        ({"tags": [TagUse("t", 50, 50, 2**19, 2**19)]}, Kind.PURGE_TAG, 0, "--tag t"),
    ],
)
def test_advice_is_in_dollars_a_day(facts: dict[str, object], kind: Kind, micros: int, words: str) -> None:
    """A tenth more hits at a cent each of 10,000 lookups is ten dollars a day."""
    (found,) = advise(seen(**facts)).recommendations
    assert found.kind is kind
    assert found.saved_micros_per_day == pytest.approx(micros, rel=1e-6)
    assert words in found.text


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"curve": {2**20: 0.5, 2**21: 0.9}, "size_bytes": 2**19},
        {"curve": {2**20: 0.5, 2**21: 0.9}, "lookups": 10},
        {"policies": {"lru": (0.1, 1), "gdsf": (0.9, 9)}, "sampled_lookups": 10},
        {"tags": [TagUse("t", 5, 50, 2**19, 2**19)]},
        {"tags": [TagUse("t", 50, 50, 2**19, 2**18)]},
        {"compressed_part": 0.9, "hit_ratio_compressed": 0.6},
    ],
)
def test_nothing_is_said_without_reason(facts: dict[str, object]) -> None:
    """A cache that is well, not full, or has not been watched for long enough gets no advice."""
    assert advise(seen(**facts)).recommendations == ()
