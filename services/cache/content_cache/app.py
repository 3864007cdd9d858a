"""Composition root: settings → store → cache → servicer → server, opened so and closed in reverse."""

from __future__ import annotations

import random
import secrets
from dataclasses import dataclass
from datetime import timedelta

from contentfactory.cache.v1 import cache_pb2_grpc
from prometheus_client.registry import Collector
from service_common.clock import Clock, SystemClock
from service_common.lifecycle import Lifecycle
from service_common.rpc.server import RpcServer
from service_common.storage.opening import open_store
from service_common.storage.store import DocumentStore
from service_common.telemetry.metrics import REGISTRY
from service_common.telemetry.store_metrics import count_operations

from content_cache.answers import similar
from content_cache.cache import ContentCache
from content_cache.compression.opening import Opening
from content_cache.compression.parts import Compression, put_together
from content_cache.config import Settings
from content_cache.durability.heat_upkeep import keep_up, note_heat, remembering, save_heat
from content_cache.durability.loading import Loader
from content_cache.durability.purging import Purging
from content_cache.durability.read_through import ReadThrough
from content_cache.durability.sweeping import sweep_memory, sweep_store
from content_cache.durability.warming import Warmings
from content_cache.durability.write_behind import WriteBehind
from content_cache.entry import Address, Entry
from content_cache.eviction import EvictionPolicy, make_policy
from content_cache.eviction.quota import Quota
from content_cache.insight.diagnosis import COMPRESS
from content_cache.insight.insight import Insight, StoreHealth
from content_cache.insight.latencies import Latencies
from content_cache.learning.accesses import Accesses
from content_cache.leasing.early_refresh import EarlyRefresh
from content_cache.live import LiveCache
from content_cache.memory import garbage
from content_cache.memory.guard import MemoryGuard
from content_cache.memory.readings import ProcessMemory, return_free_memory
from content_cache.memory.watch import MemoryWatch
from content_cache.metrics import CacheCollector, CompressionCollector, SemanticCollector, observer
from content_cache.repository.entries import EntryRepository
from content_cache.repository.heat import HeatRepository
from content_cache.repository.purges import PurgeRepository
from content_cache.repository.schema import SCHEMA
from content_cache.repository.segments import PLACE_BYTES
from content_cache.semantic.port import Semantic
from content_cache.servicer import CacheServicer
from content_cache.slices import Slices

_TOKEN_BYTES = 16
_WRITER_BITS = 63
_FLUSH_TIMEOUT_S = 10.0
_WARMING_ID_BYTES = 8


async def serve(settings: Settings, lifecycle: Lifecycle) -> None:
    """Start the cache; returns when it is SERVING."""
    await start(settings, lifecycle, clock=SystemClock())


@dataclass(frozen=True, slots=True)
class _Base:
    """What every part is opened with."""

    settings: Settings
    lifecycle: Lifecycle
    clock: Clock
    latencies: Latencies

    @property
    def packs(self) -> bool:
        """Whether entries are compressed."""
        return self.settings.cache_compression != "off"


@dataclass(frozen=True, slots=True)
class _Durable:
    """What stands between memory and the store."""

    repository: EntryRepository
    heat: HeatRepository
    purges: PurgeRepository
    writes: WriteBehind
    reads: ReadThrough

    def health(self) -> StoreHealth:
        """Return how the store keeps up."""
        failures = self.writes.counts.failed_commits + self.reads.counts.failures
        return StoreHealth(len(self.writes), failures)


async def start(settings: Settings, lifecycle: Lifecycle, *, clock: Clock) -> RpcServer:
    """Open everything, load what was stored, and say SERVING.

    Args:
        settings: What to run with.
        lifecycle: Closes what is opened here.
        clock: Decides what is expired.
    """
    base = _Base(settings, lifecycle, clock, Latencies(also=observer))
    store = await open_store(settings.store_url, schema=SCHEMA, clock=clock, count=count_operations)
    lifecycle.push("store", store.close)
    cache, accesses, policy = _cache(settings, clock=clock)
    durable = _durable(base, store, cache)
    live, compression = _live(base, store, cache, durable)
    loader = Loader(
        durable.repository,
        cache,
        clock=clock,
        purges=durable.purges,
        heat=durable.heat,
        remember=remembering(accesses, cache, policy),
    )
    turn = live.operation(base.latencies.observer("purge"))
    purging = Purging(durable.purges, turn, durable.reads, all_purged=compression.training.purge)
    guard = MemoryGuard(settings.cache_max_bytes)
    counts = (loader.counts, durable.reads.counts)
    _show_metrics(CacheCollector(live, durable.writes, *counts, guard=guard, curve=accesses.curve), lifecycle)
    _show_metrics(CompressionCollector(compression.counts, compression.dictionaries), lifecycle)
    servicer = await _servicer(
        base, live, durable, purging=purging, compression=compression, accesses=accesses
    )
    server = await _listen(base, live, servicer)
    garbage.keep_collections_short()
    lifecycle.push("garbage", garbage.stop)
    await compression.training.load(cache, settings.cache_load_timeout_s)
    await loader.run(settings.cache_load_timeout_s)
    live.open()
    read_turn = live.operation(base.latencies.observer("read_through"))
    durable.reads.open(loader.left_out, read_turn, remove=durable.writes.remove)
    _compress(base, compression)
    lifecycle.spawn("follow_purges", purging.follow())
    _keep_up(base, live, durable, accesses, guard)
    await server.ready()
    return server


def _durable(base: _Base, store: DocumentStore, cache: ContentCache) -> _Durable:
    writer = secrets.randbits(_WRITER_BITS)
    repository = EntryRepository(
        store, clock=base.clock, writer=writer, rules=cache.rules, observe=base.latencies.observer
    )
    writes = WriteBehind(
        repository,
        cache.held,
        interval_s=base.settings.cache_flush_interval_s,
        max_pending=base.settings.cache_max_pending_writes,
    )
    base.lifecycle.push("write_behind", writes.flush, timeout_s=_FLUSH_TIMEOUT_S)
    base.lifecycle.spawn("write_behind", writes.run())
    heat = HeatRepository(store, clock=base.clock, writer=writer)
    return _Durable(
        repository, heat, PurgeRepository(store), writes, ReadThrough(repository, clock=base.clock)
    )


def _live(
    base: _Base, store: DocumentStore, cache: ContentCache, durable: _Durable
) -> tuple[LiveCache, Compression]:
    """Return the cache in turns, whose changes are followed by the store and by compression."""
    packs, reads, writes = base.packs, durable.reads, durable.writes

    def changed(address: Address, before: Entry | None) -> None:
        reads.forget(address)
        writes.note(address, before)
        if packs:
            compression.packing.note(address)

    live = LiveCache(cache, clock=base.clock, changed=changed)
    compression = put_together(
        cache,
        store,
        live.operation(base.latencies.observer("compression")),
        clock=base.clock,
        observe=base.latencies.observer(COMPRESS),
        below=random.randrange,
        threshold=base.settings.cache_compression_threshold_bytes,
        level=base.settings.cache_compression_level,
    )
    base.lifecycle.push("compression", compression.background.close)
    base.lifecycle.push("lease_alarm", live.close)
    return live, compression


async def _servicer(
    base: _Base,
    live: LiveCache,
    durable: _Durable,
    *,
    purging: Purging,
    compression: Compression,
    accesses: Accesses,
) -> CacheServicer:
    settings, latencies = base.settings, base.latencies
    semantic = await _semantic(base, live, compression.opening)
    warmings = Warmings(
        durable.reads,
        live.operation(latencies.observer("warming")),
        accesses.heat,
        clock=base.clock,
        new_id=lambda: secrets.token_hex(_WARMING_ID_BYTES),
    )
    base.lifecycle.on_drain("warmings", warmings.close)
    return CacheServicer(
        live,
        purging,
        durable.reads,
        compression=compression,
        warmings=warmings,
        insight=Insight(
            accesses, latencies, policy=settings.cache_policy, store=durable.health, packs=base.packs
        ),
        default_ttl=timedelta(seconds=settings.cache_default_ttl_s),
        max_message_bytes=settings.max_message_bytes,
        observer=latencies.observer,
        semantic=semantic,
    )


def _compress(base: _Base, compression: Compression) -> None:
    base.lifecycle.spawn("training", compression.training.run(train=base.packs))
    if base.packs:
        base.lifecycle.spawn("packing", compression.packing.run())


def _keep_up(base: _Base, live: LiveCache, durable: _Durable, accesses: Accesses, guard: MemoryGuard) -> None:
    """Sweep, mind the memory, and note what is in demand, from here on."""
    settings, lifecycle = base.settings, base.lifecycle
    sweep = Slices(live.operation(base.latencies.observer("sweep")), base.clock)
    lifecycle.spawn("sweep_memory", sweep_memory(sweep, settings.cache_sweep_interval_s))
    watch = MemoryWatch(
        live.cache,
        guard,
        slices=Slices(live.operation(observer("shrink")), base.clock),
        readings=ProcessMemory(settings.cache_memory_limit_bytes),
        clock=base.clock,
        thaw=garbage.thaw,
        give_back=return_free_memory,
    )
    lifecycle.spawn("memory_watch", watch.run(settings.cache_memory_check_interval_s))
    lifecycle.spawn("sweep_store", sweep_store(durable.repository))
    lifecycle.push("heat", lambda: note_heat(durable.heat, accesses))
    lifecycle.spawn("accesses", keep_up(accesses))
    lifecycle.spawn("heat", save_heat(durable.heat, accesses, settings.cache_heat_interval_s))


def _show_metrics(collector: Collector, lifecycle: Lifecycle) -> None:
    REGISTRY.register(collector)
    lifecycle.push("cache_metrics", lambda: REGISTRY.unregister(collector))


async def _semantic(base: _Base, live: LiveCache, opening: Opening) -> Semantic | None:
    settings, lifecycle = base.settings, base.lifecycle
    if settings.cache_semantic == "off":
        return None
    from content_cache.semantic.opening import open_reuse  # noqa: PLC0415 - of the extra, which most do not install

    turn = live.operation(observer("semantic"))
    reuse = await open_reuse(
        turn,
        error=settings.cache_semantic_error,
        max_prompts=settings.cache_semantic_max_prompts,
        same_output=settings.cache_semantic_same_output,
        clock=base.clock,
        value_of=similar.values_by(opening),
    )
    lifecycle.push("semantic", reuse.close)
    _show_metrics(SemanticCollector(reuse.counts), lifecycle)
    return reuse


def _cache(settings: Settings, *, clock: Clock) -> tuple[ContentCache, Accesses, EvictionPolicy]:
    """Return an empty cache, what listens to it, and its policy."""
    limit = settings.cache_tenant_max_bytes
    policy = make_policy(settings.cache_policy)
    quota = Quota(policy, max_bytes=limit) if limit else None

    def held(address: Address) -> Entry | None:
        return cache.held(address)

    accesses = Accesses(capacity=lambda: cache.max_bytes, held=held)
    cache = ContentCache(
        max_bytes=settings.cache_max_bytes,
        policy=quota or policy,
        clock=clock,
        new_token=lambda: secrets.token_urlsafe(_TOKEN_BYTES),
        early=EarlyRefresh(random.random),
        quota=quota,
        listener=accesses,
        extra_bytes=PLACE_BYTES,
    )
    return cache, accesses, quota or policy


async def _listen(base: _Base, live: LiveCache, servicer: CacheServicer) -> RpcServer:
    server = RpcServer(base.settings, base.lifecycle, clock=base.clock)
    server.add(cache_pb2_grpc.add_CacheServiceServicer_to_server, servicer)
    await server.start()
    base.lifecycle.on_drain("waiting", live.waiting.close)
    return server
