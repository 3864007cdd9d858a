"""Composition root: settings → store → cache → servicer → server, opened so and closed in reverse."""

from __future__ import annotations

import random
import secrets
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
from content_cache.repository.entries import SCHEMA, EntryRepository
from content_cache.repository.heat import HeatRepository
from content_cache.repository.purges import PurgeRepository
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


async def start(settings: Settings, lifecycle: Lifecycle, *, clock: Clock) -> RpcServer:
    """Open everything, load what was stored, and say SERVING.

    Args:
        settings: What to run with.
        lifecycle: Closes what is opened here.
        clock: Decides what is expired.
    """
    store = await open_store(settings.store_url, schema=SCHEMA, clock=clock, count=count_operations)
    lifecycle.push("store", store.close)
    latencies, writer = Latencies(also=observer), secrets.randbits(_WRITER_BITS)
    cache, accesses, policy = _cache(settings, clock=clock)
    repository = EntryRepository(
        store, clock=clock, writer=writer, rules=cache.rules, observe=latencies.observer
    )
    heat = HeatRepository(store, clock=clock, writer=writer)
    purges = PurgeRepository(store)
    writes = _write_behind(settings, lifecycle, repository, cache)
    stored = ReadThrough(repository, clock=clock)

    packs = settings.cache_compression != "off"

    def changed(address: Address, before: Entry | None) -> None:
        stored.forget(address)
        writes.note(address, before)
        if packs:
            compression.packing.note(address)

    live = LiveCache(cache, clock=clock, changed=changed)
    compression = _compression(settings, lifecycle, live, store, clock=clock, latencies=latencies)
    lifecycle.push("lease_alarm", live.close)
    remember = remembering(accesses, cache, policy)
    loader = Loader(repository, cache, clock=clock, purges=purges, heat=heat, remember=remember)
    turn = live.operation(latencies.observer("purge"))
    purging = Purging(purges, turn, stored, all_purged=compression.training.purge)
    guard = MemoryGuard(settings.cache_max_bytes)
    collector = CacheCollector(live, writes, loader.counts, stored.counts, guard=guard, curve=accesses.curve)
    _show_metrics(collector, lifecycle)
    _show_metrics(CompressionCollector(compression.counts, compression.dictionaries), lifecycle)
    semantic = await _semantic(settings, lifecycle, live, compression.opening, clock=clock)
    warmings = Warmings(
        stored,
        live.operation(latencies.observer("warming")),
        accesses.heat,
        clock=clock,
        new_id=lambda: secrets.token_hex(_WARMING_ID_BYTES),
    )
    lifecycle.on_drain("warmings", warmings.close)

    def health() -> StoreHealth:
        return StoreHealth(len(writes), writes.counts.failed_commits + stored.counts.failures)

    servicer = CacheServicer(
        live,
        purging,
        stored,
        compression=compression,
        warmings=warmings,
        insight=Insight(accesses, latencies, policy=settings.cache_policy, store=health, packs=packs),
        default_ttl=timedelta(seconds=settings.cache_default_ttl_s),
        max_message_bytes=settings.max_message_bytes,
        observer=latencies.observer,
        semantic=semantic,
    )
    server = await _listen(settings, lifecycle, live, servicer, clock=clock)
    garbage.keep_collections_short()
    lifecycle.push("garbage", garbage.stop)
    await compression.training.load(cache, settings.cache_load_timeout_s)
    await loader.run(settings.cache_load_timeout_s)
    live.open()
    _compress(lifecycle, compression, packs=packs)
    stored.open(loader.left_out, live.operation(latencies.observer("read_through")), remove=writes.remove)
    lifecycle.spawn("follow_purges", purging.follow())
    sweep = Slices(live.operation(latencies.observer("sweep")), clock)
    lifecycle.spawn("sweep_memory", sweep_memory(sweep, settings.cache_sweep_interval_s))
    watch = _watch(settings, live, guard, clock=clock)
    lifecycle.spawn("memory_watch", watch.run(settings.cache_memory_check_interval_s))
    lifecycle.spawn("sweep_store", sweep_store(repository))
    lifecycle.push("heat", lambda: note_heat(heat, accesses))
    lifecycle.spawn("accesses", keep_up(accesses))
    lifecycle.spawn("heat", save_heat(heat, accesses, settings.cache_heat_interval_s))
    await server.ready()
    return server


def _write_behind(
    settings: Settings, lifecycle: Lifecycle, repository: EntryRepository, cache: ContentCache
) -> WriteBehind:
    writes = WriteBehind(
        repository,
        cache.held,
        interval_s=settings.cache_flush_interval_s,
        max_pending=settings.cache_max_pending_writes,
    )
    lifecycle.push("write_behind", writes.flush, timeout_s=_FLUSH_TIMEOUT_S)
    lifecycle.spawn("write_behind", writes.run())
    return writes


def _compression(
    settings: Settings,
    lifecycle: Lifecycle,
    live: LiveCache,
    store: DocumentStore,
    *,
    clock: Clock,
    latencies: Latencies,
) -> Compression:
    compression = put_together(
        live.cache,
        store,
        live.operation(latencies.observer("compression")),
        clock=clock,
        observe=latencies.observer(COMPRESS),
        below=random.randrange,
        threshold=settings.cache_compression_threshold_bytes,
        level=settings.cache_compression_level,
    )
    lifecycle.push("compression", compression.background.close)
    return compression


def _compress(lifecycle: Lifecycle, compression: Compression, *, packs: bool) -> None:
    lifecycle.spawn("training", compression.training.run(train=packs))
    if packs:
        lifecycle.spawn("packing", compression.packing.run())


def _watch(settings: Settings, live: LiveCache, guard: MemoryGuard, *, clock: Clock) -> MemoryWatch:
    return MemoryWatch(
        live.cache,
        guard,
        slices=Slices(live.operation(observer("shrink")), clock),
        readings=ProcessMemory(settings.cache_memory_limit_bytes),
        clock=clock,
        thaw=garbage.thaw,
        give_back=return_free_memory,
    )


def _show_metrics(collector: Collector, lifecycle: Lifecycle) -> None:
    REGISTRY.register(collector)
    lifecycle.push("cache_metrics", lambda: REGISTRY.unregister(collector))


async def _semantic(
    settings: Settings, lifecycle: Lifecycle, live: LiveCache, opening: Opening, *, clock: Clock
) -> Semantic | None:
    if settings.cache_semantic == "off":
        return None
    from content_cache.semantic.opening import open_reuse  # noqa: PLC0415 - of the extra, which most do not install

    turn = live.operation(observer("semantic"))
    reuse = await open_reuse(
        turn,
        error=settings.cache_semantic_error,
        max_prompts=settings.cache_semantic_max_prompts,
        same_output=settings.cache_semantic_same_output,
        clock=clock,
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


async def _listen(
    settings: Settings, lifecycle: Lifecycle, live: LiveCache, servicer: CacheServicer, *, clock: Clock
) -> RpcServer:
    server = RpcServer(settings, lifecycle, clock=clock)
    server.add(cache_pb2_grpc.add_CacheServiceServicer_to_server, servicer)
    await server.start()
    lifecycle.on_drain("waiting", live.waiting.close)
    return server
