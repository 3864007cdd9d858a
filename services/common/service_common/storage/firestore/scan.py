"""All that a Firestore database holds of one schema, collection by collection, by the names of the documents.

A query over all tenants ordered by name alone is answered from the documents themselves: it needs no index,
neither a composite one nor one of a single field.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.api_core.exceptions import GoogleAPICallError
from google.cloud.firestore_v1.types import firestore as rpc

from service_common.storage.documents import Key
from service_common.storage.firestore.connection import Connection, connect
from service_common.storage.firestore.errors import as_service_error
from service_common.storage.firestore.layout import Layout
from service_common.storage.firestore.reads import documents
from service_common.storage.migrating.scan import Stored
from service_common.storage.shapes import Schema

PAGE_TIMEOUT_S = 60.0
"""Longest a page may take; one of large documents is several MiB."""

_RunQuery: Any = rpc.RunQueryRequest.pb()


class FirestoreScan:
    """A `Scan` of one schema's documents.

    Args:
        schema: What is stored.
        database: `projects/{project}/databases/{database}`.
        connection: The wire; the scan closes it.
    """

    def __init__(self, schema: Schema, database: str, connection: Connection) -> None:
        self._layout = Layout(schema, database)
        self._connection = connection

    @classmethod
    async def open(cls, project: str, database: str, *, schema: Schema) -> FirestoreScan:
        """Open a database without waiting for it.

        Raises:
            ServiceError: FAILED_PRECONDITION if no credentials are found.
        """
        connection = await connect(timeout_s=PAGE_TIMEOUT_S)
        return cls(schema, f"projects/{project}/databases/{database}", connection)

    async def page(self, collection: str, *, after: Key | None, limit: int) -> list[Stored]:
        """Return the next documents, ordered by tenant and id."""
        request = self._request(collection, after, limit)
        try:
            answers = await self._connection.run_query(request)
        except GoogleAPICallError as error:
            raise as_service_error(error, self._layout.database) from error
        return [self._stored(each.document) for each in answers if each.HasField("document")]

    async def find(self, keys: Iterable[Key]) -> list[Stored]:
        """Return those of the keys' documents that are stored."""
        try:
            found = await documents(self._connection, self._layout, keys)
        except GoogleAPICallError as error:
            raise as_service_error(error, self._layout.database) from error
        return [self._stored(each) for each in found.values()]

    async def mark(self) -> str | None:
        """Return None: a database does not say whether it was written."""
        return None

    async def close(self) -> None:
        """Release the channel."""
        await self._connection.close()

    def _request(self, collection: str, after: Key | None, limit: int) -> Any:
        request = _RunQuery()
        request.parent = self._layout.root
        query = request.structured_query
        source = query.from_.add()
        source.collection_id = self._layout.collection_id(collection)
        source.all_descendants = True
        query.order_by.add().field.field_path = "__name__"
        query.limit.value = limit
        if after is not None:
            query.start_at.before = False
            query.start_at.values.add().reference_value = self._layout.name(after)
        return request

    def _stored(self, document: Any) -> Stored:
        key, row = self._layout.row(document)
        return Stored(key, row.content.packed)
