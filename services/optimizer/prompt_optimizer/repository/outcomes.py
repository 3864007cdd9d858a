"""What came of versions: pages of quality records, and accounts in which each part is booked once.

A page and the accounts it goes into are written in one transaction. The accounts are read for it anyway, and
carry the marks of what was booked last: so nothing else is read to find a part another process has booked, or
a page whose commit had an unknown fate.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import chain

from service_common.storage import Decision, Document, DocumentStore, Query, Set, Write

from prompt_optimizer.outcomes.account import Account
from prompt_optimizer.outcomes.listing import StoredPage, Where
from prompt_optimizer.outcomes.page import Page, add_to
from prompt_optimizer.outcomes.record import Part
from prompt_optimizer.outcomes.statistics import Statistics
from prompt_optimizer.repository import records, schema
from prompt_optimizer.repository.record_fields import grade_name, page_fields, page_of
from prompt_optimizer.templates.template import VersionKey

_FIRST_READ = 2
_MOST_READ = 16

Accounts = dict[VersionKey, Account]


class OutcomeRepository:
    """Accounts and pages per tenant in a document store."""

    def __init__(self, store: DocumentStore, *, retention: timedelta) -> None:
        self._store = store
        self._retention = retention

    async def accounts(self, tenant: str, keys: Sequence[VersionKey]) -> list[Account]:
        """Return the accounts of these versions, in order."""
        found = await self._store.get_many([schema.statistics_key(tenant, each) for each in keys])
        return [records.account_of(each.data if each else None) for each in found]

    async def counted(self, tenant: str, marks: Sequence[bytes]) -> set[bytes]:
        """Return those of the marks whose parts are on a stored page."""
        found: set[bytes] = set()
        for mark in marks:
            query = Query(schema.RECORDS_OF_PART, tenant=tenant, contains=mark, limit=1)
            if (await self._store.query(query)).documents:
                found.add(mark)
        return found

    async def add(self, tenant: str, pages: Sequence[Page]) -> Accounts:
        """Store closed pages and book them, each part once; return the accounts as they are then."""
        versions = list(dict.fromkeys(chain.from_iterable(each.sums for each in pages)))

        def decide(found: Sequence[Document | None]) -> Decision[Accounts]:
            accounts = {
                version: records.account_of(each.data if each else None)
                for version, each in zip(versions, found, strict=True)
            }
            booked, fresh = _booked(accounts, pages)
            writes: list[Write] = [self._page(tenant, page, parts) for page, parts in fresh]
            writes += [
                Set(schema.statistics_key(tenant, version), records.account_fields(account))
                for version, account in booked.items()
                if account != accounts[version]
            ]
            return Decision(booked, writes)

        return await self._store.transact([schema.statistics_key(tenant, each) for each in versions], decide)

    def _page(self, tenant: str, page: Page, parts: Sequence[Part]) -> Write:
        time = page.create_time
        # Not a Create: sent again, it says the same, and a condition would cost a read.
        return Set(
            schema.records_key(tenant, page.page_id),
            page_fields(parts, create_time=time, expire_time=time + self._retention),
        )

    async def pages(
        self, tenant: str, where: Where, *, until: datetime | None
    ) -> AsyncGenerator[StoredPage, None]:
        """Yield the pages begun until then, newest first; what is not wanted any more is not read."""
        query = _query(tenant, where, until)
        while True:
            page = await self._store.query(query)
            for each in page.documents:
                yield page_of(each.key.id, each.data)
            if page.next_cursor is None:
                return
            query = replace(query, limit=min(2 * query.limit, _MOST_READ), cursor=page.next_cursor)


def _query(tenant: str, where: Where, until: datetime | None) -> Query:
    shape, element = schema.RECORDS_BY_TIME, None
    if where.version is not None:
        shape, element = schema.RECORDS_OF_VERSION, schema.version_name(where.version)
    elif where.grade is not None:
        shape, element = schema.RECORDS_OF_GRADE, grade_name(*where.grade)
    elif where.content_type:
        shape, element = schema.RECORDS_OF_CONTENT_TYPE, where.content_type
    return Query(shape, tenant=tenant, contains=element, upper=until, limit=_FIRST_READ)


def _booked(
    accounts: Mapping[VersionKey, Account], pages: Sequence[Page]
) -> tuple[Accounts, list[tuple[Page, list[Part]]]]:
    """Return the accounts with what is new in the pages, and the pages that are new with their new parts."""
    seen = set(chain.from_iterable(each.booked for each in accounts.values()))
    added: dict[VersionKey, Statistics] = {}
    marks: dict[VersionKey, list[bytes]] = {}
    fresh: list[tuple[Page, list[Part]]] = []
    for page in pages:
        parts = [] if page.mark in seen else [each for each in page.parts if each.mark not in seen]
        if not parts:
            continue
        fresh.append((page, parts))
        for part in parts:
            add_to(added, part.sums)
        for version in page.sums:
            own = [each.mark for each in parts if version in each.sums]
            marks.setdefault(version, []).extend((*own, page.mark))
    booked = {
        version: account.book(added.get(version, Statistics()), marks.get(version, ()))
        for version, account in accounts.items()
    }
    return booked, fresh
