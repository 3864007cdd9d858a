"""Where dictionaries are kept: a document each, of its tenant, until no entry can need it any more.

A dictionary is stored before the first entry is packed with it, and its `expire_time` is later than that of
every such entry: whoever packs an entry that stays longer moves it first. So nobody has to count who uses it,
on however many replicas.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from service_common.storage.documents import Delete, Document, Key, Set
from service_common.storage.shapes import Collection, Direction, Order, Query, QueryShape
from service_common.storage.store import DocumentStore

from content_cache.compression.dictionary import Dictionary, dictionary_id

DICTIONARIES = Collection("dictionaries", ttl_field="expire_time")
NEWEST_DICTIONARIES = QueryShape(
    "newest_dictionaries",
    collection=DICTIONARIES.name,
    order=(Order("create_time", Direction.DESCENDING),),
    all_tenants=True,
)
TENANT_DICTIONARIES = QueryShape(
    "tenant_dictionaries",
    collection=DICTIONARIES.name,
    order=(Order("create_time", Direction.DESCENDING),),
)
_PAGE_SIZE = 16

Stored = tuple[Dictionary, datetime]
"""A dictionary and until when it is kept."""


class DictionaryRepository:
    """All tenants' dictionaries over a `DocumentStore`."""

    def __init__(self, store: DocumentStore) -> None:
        """Prepare; nothing is read.

        Args:
            store: Where they are.
        """
        self._store = store

    async def put(self, dictionary: Dictionary, *, keep_until: datetime) -> None:
        """Store one, or keep it for longer.

        Raises:
            ServiceError: As `DocumentStore.commit`.
        """
        await self._store.commit(
            [Set(_key(dictionary.tenant, dictionary.id), _fields(dictionary, keep_until))]
        )

    async def get(self, tenant: str, name: str) -> Stored | None:
        """Return one; None if it is not there, or not what it was.

        Raises:
            ServiceError: As `DocumentStore.get`.
        """
        document = await self._store.get(_key(tenant, name))
        return None if document is None else _stored(document)

    async def newest(self, cursor: str | None) -> tuple[list[Stored], str | None]:
        """Return a page of all tenants' intact ones, the latest first, and where the next begins.

        Raises:
            ServiceError: As `DocumentStore.query`.
        """
        page = await self._store.query(Query(NEWEST_DICTIONARIES, limit=_PAGE_SIZE, cursor=cursor))
        return [each for each in map(_stored, page.documents) if each is not None], page.next_cursor

    async def purge(self, tenant: str, floor: int) -> None:
        """Remove a tenant's dictionaries of eras before `floor`.

        Raises:
            ServiceError: As `DocumentStore.query` and `DocumentStore.commit`; repeat it then.
        """
        cursor: str | None = None
        gone: list[Key] = []
        while True:
            query = Query(TENANT_DICTIONARIES, tenant=tenant, limit=_PAGE_SIZE, cursor=cursor)
            page = await self._store.query(query)
            gone += [each.key for each in page.documents if _era(each) < floor]
            cursor = page.next_cursor
            if cursor is None:
                break
        if gone:
            await self._store.commit([Delete(key) for key in gone])


def _key(tenant: str, name: str) -> Key:
    return Key(DICTIONARIES.name, tenant, name)


def _era(document: Document) -> int:
    era = document.data.get("era")
    return era if isinstance(era, int) else 0


def _fields(dictionary: Dictionary, keep_until: datetime) -> dict[str, Any]:
    return {
        "content": dictionary.content,
        "version": dictionary.version,
        "era": dictionary.era,
        "samples": dictionary.samples,
        "create_time": dictionary.create_time,
        "expire_time": keep_until,
    }


def _stored(document: Document) -> Stored | None:
    data: Any = document.data
    content = data.get("content")
    if not isinstance(content, bytes) or dictionary_id(content) != document.key.id:
        return None
    dictionary = Dictionary(
        document.key.tenant,
        content,
        version=int(data["version"]),
        era=_era(document),
        create_time=data["create_time"],
        samples=int(data["samples"]),
    )
    return dictionary, data["expire_time"]
