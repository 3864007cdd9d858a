"""The metric of what a service asks of its store, the same in all services."""

from __future__ import annotations

from prometheus_client import Counter

from service_common.storage.metering import Operation
from service_common.telemetry.metrics import REGISTRY

STORE_OPERATIONS = Counter(
    "store_operations_total",
    "Documents read, written, deleted, index entries written at most, as a hosted database bills them.",
    ["collection", "operation"],
    registry=REGISTRY,
)


def count_operations(collection: str, operation: Operation, count: int) -> None:
    """Count some operations on a collection."""
    if count:
        STORE_OPERATIONS.labels(collection, operation.value).inc(count)
