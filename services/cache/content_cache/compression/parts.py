"""Compression put together for one cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from service_common.clock import Clock
from service_common.storage.store import DocumentStore

from content_cache.cache import ContentCache
from content_cache.compression.background import Background
from content_cache.compression.counts import CompressionCounts
from content_cache.compression.dictionaries import Dictionaries
from content_cache.compression.opening import Opening
from content_cache.compression.packing import Packing
from content_cache.compression.repository import DictionaryRepository
from content_cache.compression.samples import Samples
from content_cache.compression.training import Training
from content_cache.insight.latencies import Observe
from content_cache.live import Turn

_SHARE: Final = 32
"""Of the cache's limit, what dictionaries may take: less than the memory guard always leaves it."""


@dataclass(frozen=True, slots=True)
class Compression:
    """What a cache packs and unpacks with.

    Attributes:
        opening: Unpacks what goes out.
        packing: Packs what was stored.
        training: Makes dictionaries.
        dictionaries: Those in memory.
        counts: What came of it.
        background: Where the work is done; to be closed.
    """

    opening: Opening
    packing: Packing
    training: Training
    dictionaries: Dictionaries
    counts: CompressionCounts
    background: Background


def put_together(
    cache: ContentCache,
    store: DocumentStore,
    turn: Turn,
    *,
    clock: Clock,
    observe: Observe,
    below: Callable[[int], int],
    threshold: int,
    level: int,
) -> Compression:
    """Make all of it; nothing runs yet.

    Args:
        cache: Whose entries.
        store: Where dictionaries are kept.
        turn: The turns it takes.
        clock: What time it is.
        observe: Is told the processor's seconds each entry's packing took.
        below: Returns a random whole number from 0 below its argument.
        threshold: Bytes from which an entry is packed.
        level: zstd's.
    """
    counts, samples, background = CompressionCounts(), Samples(below), Background()
    dictionaries = Dictionaries(cache.max_bytes // _SHARE)
    repository = DictionaryRepository(store)
    opening = Opening(dictionaries, counts)
    packing = Packing(
        cache.held,
        turn,
        dictionaries=dictionaries,
        repository=repository,
        samples=samples,
        background=background,
        counts=counts,
        rules=cache.rules,
        clock=clock,
        observe=observe,
        threshold=threshold,
        level=level,
    )
    training = Training(
        turn,
        dictionaries=dictionaries,
        repository=repository,
        samples=samples,
        opening=opening,
        background=background,
        counts=counts,
        clock=clock,
        level=level,
    )
    return Compression(opening, packing, training, dictionaries, counts, background)
