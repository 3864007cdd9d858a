"""All documents of a schema, page by page in one order, and which of them are still alive."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import datetime

from service_common.storage.documents import Key
from service_common.storage.encoding import unpack
from service_common.storage.indexing import IndexPlan
from service_common.storage.migrating.patience import Patience
from service_common.storage.migrating.scan import FIRST_LIMIT, Scan, Stored, next_limit
from service_common.storage.migrating.tally import Tally
from service_common.storage.ordering import microseconds
from service_common.storage.shapes import Schema


class Living:
    """Tells which documents are not expired at one moment, whoever stores them.

    Args:
        schema: Says which fields are expiries.
        as_of: The moment.
    """

    def __init__(self, schema: Schema, as_of: datetime) -> None:
        self._plan = IndexPlan(schema)
        self._as_of = microseconds(as_of)
        self._expiring = {each.name for each in schema.collections if each.ttl_field}

    def has(self, stored: Stored) -> bool:
        """Tell whether a document is alive."""
        if stored.key.collection not in self._expiring:
            return True
        expires = self._plan.expires(stored.key, unpack(stored.packed))
        return expires is None or expires > self._as_of


def collections(schema: Schema) -> list[str]:
    """Return the collections in the order in which they are read."""
    return sorted(each.name for each in schema.collections)


async def pages(
    scan: Scan, schema: Schema, *, patience: Patience, after: Key | None = None
) -> AsyncIterator[list[Stored]]:
    """Yield everything behind a key, in an order that is the same every time."""
    for name in collections(schema):
        if after is not None and name < after.collection:
            continue
        limit = FIRST_LIMIT
        last = after if after is not None and after.collection == name else None
        while page := await _page(scan, name, last, limit, patience):
            yield page
            if len(page) < limit:
                break
            last, limit = page[-1].key, next_limit(page)


async def tally(
    scan: Scan, schema: Schema, living: Living, *, patience: Patience, seen: Callable[[int], None]
) -> dict[str, Tally]:
    """Return what every collection adds up to.

    Args:
        scan: What is read.
        schema: What is stored there.
        living: Which documents count.
        patience: Waits while the store is away.
        seen: Is told how many documents were read, page by page.
    """
    found = {name: Tally() for name in collections(schema)}
    async for page in pages(scan, schema, patience=patience):
        sum_up = found[page[0].key.collection]
        for each in page:
            if living.has(each):
                sum_up.add(each.key, each.packed)
            else:
                sum_up.expired += 1
        seen(len(page))
    return found


async def _page(scan: Scan, name: str, last: Key | None, limit: int, patience: Patience) -> list[Stored]:
    return await patience.until_done(lambda: scan.page(name, after=last, limit=limit))
