"""Where purges are kept: one document per tenant with all that still matter, and one that signals changes.

Both are written in one transaction, so that numbers are given once however many replicas purge at a time. The
signal counts the changes of all tenants: who has seen one number asks for later ones, whatever clocks say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from service_common.storage.documents import Decision, Document, Key, Set
from service_common.storage.shapes import Collection, Direction, Order, Query, QueryShape
from service_common.storage.store import DocumentStore, Feed

from content_cache.holding.rules import Kind, Mode, Rule, Selector, TenantRules

PURGES = Collection("purges")
SIGNALS = Collection("purge_signals")
NEWEST_PURGES = QueryShape(
    "newest_purges",
    collection=PURGES.name,
    order=(Order("change", Direction.DESCENDING),),
    all_tenants=True,
)
SIGNAL_KEY = Key(SIGNALS.name, "all", "latest")

_PAGE_SIZE = 100
_RULES_ID = "rules"


class PurgeRepository:
    """The tenants' rules over a `DocumentStore`."""

    def __init__(self, store: DocumentStore) -> None:
        """Prepare; nothing is read.

        Args:
            store: Where rules are.
        """
        self._store = store
        self._seen = 0

    async def add(self, tenant: str, selector: Selector, mode: Mode) -> TenantRules:
        """Make a purge durable and return all the tenant's rules.

        Raises:
            ServiceError: As `DocumentStore.transact`.
        """
        key = Key(PURGES.name, tenant, _RULES_ID)

        def decide(found: Sequence[Document | None]) -> Decision[TenantRules]:
            document, signal = found
            before = TenantRules() if document is None else _rules(document.data)
            after = before.purged(selector, mode)
            change = 1 if signal is None else _change(signal) + 1
            return Decision(after, [Set(key, _fields(after, change)), Set(SIGNAL_KEY, {"change": change})])

        return await self._store.transact([key, SIGNAL_KEY], decide)

    async def changed(self) -> list[tuple[str, TenantRules]]:
        """Return the rules of the tenants that changed since the last call, at the first one of all.

        Raises:
            ServiceError: As `DocumentStore.query`; the next call returns what this one could not.
        """
        cursor: str | None = None
        found: list[Document] = []
        while True:
            query = Query(NEWEST_PURGES, lower=self._seen + 1, limit=_PAGE_SIZE, cursor=cursor)
            page = await self._store.query(query)
            found += page.documents
            cursor = page.next_cursor
            if cursor is None:
                # What changes between two pages has a later number, and comes with the next call.
                self._seen = max(map(_change, found), default=self._seen)
                return [(each.key.tenant, _rules(each.data)) for each in found]

    def watch(self) -> AbstractAsyncContextManager[Feed]:
        """Return a context in which a feed of all changes is kept going."""
        return self._store.watch(SIGNAL_KEY)


def _change(document: Document) -> int:
    number: Any = document.data["change"]
    return int(number)


def _fields(rules: TenantRules, change: int) -> dict[str, Any]:
    kept = [
        {
            "kind": each.selector.kind.value,
            "value": each.selector.value,
            "mode": each.mode.value,
            "era": each.era,
        }
        for each in rules.rules
    ]
    return {"change": change, "era": rules.era, "floor": rules.floor, "rules": kept}


def _rules(data: Mapping[str, Any]) -> TenantRules:
    kept = tuple(
        Rule(Selector(Kind(each["kind"]), each["value"]), Mode(each["mode"]), each["era"])
        for each in data["rules"]
    )
    return TenantRules(data["era"], data["floor"], kept)
