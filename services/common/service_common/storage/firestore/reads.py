"""Documents by key, as many as asked for, all of one moment."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.cloud.firestore_v1.types import firestore as rpc

from service_common.storage.documents import Key
from service_common.storage.firestore.connection import Connection
from service_common.storage.firestore.layout import Layout

KEYS_PER_CALL = 500

_BatchGet: Any = rpc.BatchGetDocumentsRequest.pb()


async def documents(connection: Connection, layout: Layout, keys: Iterable[Key]) -> dict[Key, Any]:
    """Return the stored documents of those keys that have one, as Firestore's own messages.

    Several are read in one read-only transaction, which takes no locks and needs no end.
    """
    names = [layout.name(key) for key in dict.fromkeys(keys)]
    transaction = b""
    found: dict[Key, Any] = {}
    for start in range(0, len(names), KEYS_PER_CALL):
        request = _BatchGet()
        request.database = layout.database
        request.documents.extend(names[start : start + KEYS_PER_CALL])
        if transaction:
            request.transaction = transaction
        elif len(names) > 1:
            request.new_transaction.read_only.SetInParent()
        for answer in await connection.batch_get(request):
            transaction = transaction or bytes(answer.transaction)
            if answer.HasField("found"):
                found[layout.key(answer.found.name)] = answer.found
    return found
