"""The key of decision ids: made once per store, the same for every process on it and after every restart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from service_common.storage import Create, Decision, Document, DocumentStore

from prompt_optimizer.repository.schema import SECRET_KEY


async def decision_key(store: DocumentStore, fresh: bytes) -> bytes:
    """Return the stored key, or store the fresh one if there is none yet."""

    def decide(found: Sequence[Document | None]) -> Decision[bytes]:
        data: Mapping[str, Any] | None = found[0].data if found[0] else None
        if data is not None:
            return Decision(bytes(data["key"]))
        return Decision(fresh, (Create(SECRET_KEY, {"key": fresh}),))

    return await store.transact((SECRET_KEY,), decide)
