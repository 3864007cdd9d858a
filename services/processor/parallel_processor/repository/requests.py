"""Answers kept under request ids, so that a repeated request gets the first answer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from service_common.errors import already_exists
from service_common.storage import Decision, Document, DocumentStore, Key, Set, Value

from parallel_processor.repository import schema

RETENTION = timedelta(hours=24)
"""How long an answer is kept."""


class RequestRepository:
    """Stores answers under request ids."""

    def __init__(self, store: DocumentStore) -> None:
        self._store = store

    async def claim(
        self, tenant: str, name: str, *, body_hash: str, answer: Mapping[str, Any], now: datetime
    ) -> Mapping[str, Any]:
        """Return the answer kept under a name, or keep this one.

        Args:
            tenant: Whose request it is.
            name: The kind of request and its id.
            body_hash: Hash of the request's body.
            answer: What to keep when there is nothing yet.
            now: The time.

        Raises:
            ServiceError: ALREADY_EXISTS if the name was used with another body.
        """
        key = _key(tenant, name)
        fields: dict[str, Value] = {
            "body_hash": body_hash,
            "answer": dict(answer),
            "expire_time": now + RETENTION,
        }

        def decide(documents: Sequence[Document | None]) -> Decision[Mapping[str, Any]]:
            kept = documents[0]
            if kept is None:
                return Decision(answer, [Set(key, fields)])
            if kept.data["body_hash"] != body_hash:
                raise already_exists(
                    "REQUEST_ID_REUSED", "the request_id was used before with another body; choose a new one"
                )
            return Decision(kept.data["answer"])  # type: ignore[arg-type]  # a map, as written above

        return await self._store.transact([key], decide)

    async def replace(
        self, tenant: str, name: str, *, body_hash: str, answer: Mapping[str, Any], now: datetime
    ) -> None:
        """Keep another answer under a name."""
        fields: dict[str, Value] = {
            "body_hash": body_hash,
            "answer": dict(answer),
            "expire_time": now + RETENTION,
        }
        await self._store.commit([Set(_key(tenant, name), fields)])


def _key(tenant: str, name: str) -> Key:
    return Key(schema.REQUESTS, tenant, hashlib.sha256(name.encode()).hexdigest())
