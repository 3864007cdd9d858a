"""What the tracker reads from its environment."""

from __future__ import annotations

from pydantic import Field
from service_common.config import CommonSettings


class Settings(CommonSettings):
    """The tracker's settings."""

    port: int = Field(50054, ge=0, le=65535, description="RPC port; 0 takes any free one.")
    metrics_port: int = Field(
        9104, ge=0, le=65535, description="Port of the Prometheus endpoint; 0 takes any free one."
    )
    store_url: str = Field(
        "sqlite:///.factory/tracker.db",
        pattern=r"^(sqlite|firestore|memory)://",
        description="Where documents live: sqlite:///PATH, firestore://PROJECT/DATABASE or memory://.",
    )
    tracker_retention_days: float = Field(
        30,
        gt=0,
        le=3650,
        description="Days an event is kept after it became durable, and a job after its last report.",
    )
    tracker_poll_interval_s: float = Field(
        1,
        ge=0.05,
        le=60,
        description="Seconds between two looks for what another tracker on the same store has committed: "
        "how much later its events reach watchers here.",
    )
    tracker_commit_interval_s: float | None = Field(
        None,
        ge=0,
        le=10,
        description="The least time between two commits of one job's reports; the reports wait for their "
        "answer. Unset: 0, on Firestore 1.25.",
    )
    tracker_write_timeout_s: float = Field(
        60,
        ge=0.1,
        le=3600,
        description="Seconds a watcher may leave no room for its next frame before its stream is ended.",
    )
    tracker_max_jobs_in_memory: int = Field(
        1000, ge=1, description="Jobs whose state is kept in memory between reports; others are read again."
    )
    tracker_max_items_in_memory: int = Field(
        1_000_000, ge=1, description="Items of those jobs altogether, about 150 bytes each."
    )
