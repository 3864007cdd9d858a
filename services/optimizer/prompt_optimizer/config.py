"""What the optimizer reads from its environment."""

from __future__ import annotations

from pydantic import Field
from service_common.config import CommonSettings


class OptimizerSettings(CommonSettings):
    """The optimizer's settings."""

    port: int = Field(50052, ge=0, le=65535, description="RPC port; 0 takes any free one.")
    metrics_port: int = Field(
        9102, ge=0, le=65535, description="Port of the Prometheus endpoint; 0 takes any free one."
    )
    store_url: str = Field(
        "sqlite:///.factory/optimizer.db",
        pattern=r"^(sqlite|firestore|memory)://",
        description="Where documents live: sqlite:///PATH, firestore://PROJECT/DATABASE or memory://.",
    )
    optimizer_poll_interval_s: float = Field(
        1.0,
        ge=0.05,
        le=60,
        description="Seconds between looks for changes by other optimizers, unless the store tells of them.",
    )
    optimizer_cached_versions: int = Field(
        2000,
        ge=1,
        le=1_000_000,
        description="Compiled versions kept in memory, besides the built-in ones.",
    )
    optimizer_flush_interval_s: float = Field(
        5.0,
        ge=0.05,
        le=60,
        description="Seconds that outcomes gather before they are stored; a crash loses those of the last.",
    )
    optimizer_max_unflushed: int = Field(
        20_000,
        ge=1000,
        le=1_000_000,
        description="Outcomes that may wait for the store; with more, BatchRecordOutcomes is UNAVAILABLE.",
    )
    optimizer_records_retention_d: float = Field(
        90.0,
        gt=0,
        le=3650,
        description="Days that quality records are kept.",
    )
