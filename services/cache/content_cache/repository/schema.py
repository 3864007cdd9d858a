"""Every collection and every query of the cache, declared once."""

from __future__ import annotations

from service_common.storage.shapes import Collection, Direction, Order, QueryShape, Schema

from content_cache.compression.repository import DICTIONARIES, NEWEST_DICTIONARIES, TENANT_DICTIONARIES
from content_cache.repository.heat import HEAT
from content_cache.repository.purges import NEWEST_PURGES, PURGES, SIGNALS

SEGMENTS = "segments"
PARTS = "segment_parts"
NEWEST = QueryShape(
    "newest_segments",
    collection=SEGMENTS,
    order=(Order("create_time", Direction.DESCENDING),),
    all_tenants=True,
)
SCHEMA = Schema(
    name="cache",
    collections=(
        Collection(SEGMENTS, ttl_field="expire_time"),
        Collection(PARTS, ttl_field="expire_time"),
        PURGES,
        SIGNALS,
        DICTIONARIES,
        HEAT,
    ),
    shapes=(NEWEST, NEWEST_PURGES, NEWEST_DICTIONARIES, TENANT_DICTIONARIES),
)
