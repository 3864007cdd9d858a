"""What the cache reads from its environment."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import Field
from service_common.config import MIB, CommonSettings, Problem

from content_cache.semantic.parts import missing_parts

LEAST_MESSAGE_BYTES = 2 * MIB
"""An entry of the largest value with all its labels and facts must fit into one message."""


class Settings(CommonSettings):
    """The cache's settings."""

    port: int = Field(50051, ge=0, le=65535, description="RPC port; 0 takes any free one.")
    metrics_port: int = Field(
        9101, ge=0, le=65535, description="Port of the Prometheus endpoint; 0 takes any free one."
    )
    store_url: str = Field(
        "sqlite:///.factory/cache.db",
        pattern=r"^(sqlite|firestore|memory)://",
        description="Where documents live: sqlite:///PATH, firestore://PROJECT/DATABASE or memory://.",
    )
    cache_max_bytes: int = Field(
        256 * MIB,
        ge=64 * 1024,
        description="Most bytes of memory that entries take, overhead included; beyond it entries leave as "
        "CACHE_POLICY says.",
    )
    cache_policy: Literal["lru", "sieve", "gdsf"] = Field(
        "lru",
        description="Who leaves when memory is full: lru, sieve, or gdsf, which keeps what saves most.",
    )
    cache_memory_limit_bytes: int = Field(
        0,
        ge=0,
        description="Bytes the whole process may take: near them entries leave, also below CACHE_MAX_BYTES; "
        "0: the cgroup's limit, else the machine's memory.",
    )
    cache_memory_check_interval_s: float = Field(
        1,
        gt=0,
        le=60,
        description="Seconds between two looks at what the process takes.",
    )
    cache_tenant_max_bytes: int = Field(
        0,
        ge=0,
        description="Most of these bytes that one tenant's entries may take; beyond it its own least "
        "recently used leave. 0: no such limit.",
    )
    cache_default_ttl_s: float = Field(
        7 * 24 * 3600,
        gt=0,
        le=10 * 365 * 24 * 3600,
        description="Seconds an entry is served when its caller names no expiration.",
    )
    cache_sweep_interval_s: float = Field(
        5,
        gt=0,
        le=3600,
        description="Seconds between two rounds that free the memory of expired entries.",
    )
    cache_flush_interval_s: float = Field(
        1,
        ge=0,
        le=60,
        description="Seconds changes gather before they are written to the store: what a crash may lose.",
    )
    cache_max_pending_writes: int = Field(
        1_000_000,
        ge=1,
        description="Most changed keys waiting for the store; beyond it the oldest are given up and counted.",
    )
    cache_load_timeout_s: float = Field(
        60,
        gt=0,
        le=3600,
        description="Seconds the start may take to load stored entries; then it serves what came until then.",
    )
    cache_heat_interval_s: float = Field(
        60,
        gt=0,
        le=3600,
        description="Seconds between two notes in the store of what was used last: what a start loads first.",
    )

    cache_semantic: Literal["off", "on"] = Field(
        "off",
        description="on answers BatchFindSimilar: reuse between prompts that say the same. Needs the extra "
        "`semantic`.",
    )
    cache_semantic_error: float = Field(
        0.01,
        gt=0,
        lt=0.5,
        description="Greatest part of reused answers that may be wrong; less means more comparisons first.",
    )
    cache_semantic_max_prompts: int = Field(
        20_000,
        ge=1,
        description="Most prompts the semantic tier remembers, 2 to 4 KiB each; the longest unused leave.",
    )
    cache_semantic_same_output: float = Field(
        0.9,
        gt=0,
        le=1,
        description="Cosine similarity from which answers count as the same if their caller does not say.",
    )

    def problems(self) -> Iterable[Problem]:
        """Yield what is wrong between fields that are each right."""
        yield from super().problems()
        if self.max_message_bytes < LEAST_MESSAGE_BYTES:
            text = f"must be at least {LEAST_MESSAGE_BYTES}: values may have 1 MiB"
            yield Problem("MAX_MESSAGE_BYTES", text)
        if self.cache_semantic == "on" and (missing := missing_parts()):
            text = (
                f"on needs the extra: pip install 'contentfactory-cache[semantic]' (no {', '.join(missing)})"
            )
            yield Problem("CACHE_SEMANTIC", text)
