"""The metric of what a service asks of its store, the same in all services."""

from __future__ import annotations

from functools import cache

from prometheus_client import Counter

from service_common.storage.metering import Operation
from service_common.telemetry.metrics import REGISTRY

STORE_OPERATIONS = Counter(
    "store_operations_total",
    "Documents read, written, deleted, index entries written at most, as a hosted database bills them.",
    ["collection", "operation"],
    registry=REGISTRY,
)


@cache
def _series(collection: str, operation: Operation) -> Counter:
    """Return one series, looked up once: there are as many as a service has collections and operations."""
    return STORE_OPERATIONS.labels(collection, operation.value)


def count_operations(collection: str, operation: Operation, count: int) -> None:
    """Count some operations on a collection."""
    if count:
        _series(collection, operation).inc(count)
