"""The cache's README says what the code does: its RPCs, variables and metrics."""

from __future__ import annotations

import re
from pathlib import Path

from content_cache.cache import ContentCache
from content_cache.compression.counts import CompressionCounts
from content_cache.compression.dictionaries import Dictionaries
from content_cache.config import Settings
from content_cache.durability.loading import LoadCounts
from content_cache.durability.read_through import ReadCounts
from content_cache.durability.write_behind import WriteBehind
from content_cache.eviction import Lru
from content_cache.learning.miss_ratio_curve import MissRatioCurve
from content_cache.live import LiveCache
from content_cache.memory.guard import MemoryGuard
from content_cache.metrics import (
    OPERATION_SECONDS,
    CacheCollector,
    CompressionCollector,
    SemanticCollector,
)
from content_cache.repository.entries import EntryRepository
from content_cache.repository.schema import SCHEMA
from content_cache.semantic.port import Counts
from contentfactory.cache.v1 import cache_pb2
from service_common.clock import ManualClock
from service_common.config import variables
from service_common.storage.memory import MemoryStore

README = Path(__file__).parents[2] / "services/cache/README.md"


def table(heading: str) -> list[list[str]]:
    """Return the rows of the table under a heading."""
    section = README.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [
        re.split(r"\s*\|\s*", line.strip("| \n")) for line in section.splitlines() if line.startswith("| `")
    ]
    return [[cell.strip("`") for cell in row] for row in rows]


def test_rpcs() -> None:
    """The table lists the contract's RPCs in its order."""
    service = cache_pb2.DESCRIPTOR.services_by_name["CacheService"]
    assert {row[0] for row in table("RPCs")} == {method.name for method in service.methods}


def test_variables() -> None:
    """Every variable is listed with its default and description."""
    rows = {
        f"| `{each.name}` | {f'`{each.default}`' if each.default else ''} | {each.description} |"
        for each in variables(Settings)
    }
    lines = set(README.read_text().splitlines())
    assert rows <= lines
    assert len(table("Environment")) == len(rows)


def test_metrics() -> None:
    """Every metric is listed with its name as exposed and its type."""
    clock = ManualClock()
    cache = ContentCache(max_bytes=1, policy=Lru(), clock=clock, new_token=str)
    repository = EntryRepository(MemoryStore(SCHEMA, clock), clock=clock, writer=1)
    writes = WriteBehind(repository, cache.held, interval_s=1, max_pending=1)
    live = LiveCache(cache, clock=clock, changed=writes.note)
    collector = CacheCollector(
        live, writes, LoadCounts(), ReadCounts(), guard=MemoryGuard(1), curve=MissRatioCurve()
    )
    compression = CompressionCollector(CompressionCounts(), Dictionaries(0))
    semantic = SemanticCollector(Counts())
    emitted = [
        *collector.collect(),
        *compression.collect(),
        *semantic.collect(),
        *OPERATION_SECONDS.describe(),
    ]
    named = {(each.name + "_total" * (each.type == "counter"), each.type) for each in emitted}
    assert {(row[0], row[1]) for row in table("Metrics")} == named
