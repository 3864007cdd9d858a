"""One atomic commit to Firestore: what it writes, on which conditions, and whether it went through."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from random import Random
from secrets import token_bytes
from typing import Any

from google.api_core.exceptions import Aborted, GoogleAPICallError
from google.cloud.firestore_v1.types import firestore as rpc

from service_common.resilience.retry import full_jitter_s
from service_common.storage.documents import Create, Delete, Key
from service_common.storage.firestore.connection import Connection
from service_common.storage.firestore.errors import (
    as_service_error,
    commit_unknown,
    is_ambiguous,
    is_conflict,
)
from service_common.storage.firestore.layout import (
    NONCE_BYTES,
    Layout,
    nanoseconds,
    nonce_of,
    require,
    version_number,
)
from service_common.storage.firestore.reads import documents
from service_common.storage.indexing import Content
from service_common.storage.staging import Prepared, Row

ATTEMPTS = 4
"""How often a commit whose answer was lost is looked after."""

_BASE_S = 0.05
_CAP_S = 1.0

_CommitRequest: Any = rpc.CommitRequest.pb()

Versions = Mapping[Key, int]
"""By key, the versions that a commit gave to what it wrote."""


class Fate(Enum):
    """What became of a commit."""

    STORED = auto()
    OPEN = auto()


@dataclass(slots=True)
class Batch:
    """The writes of one commit, all with one nonce.

    Attributes:
        layout: Where documents live.
        nonce: Of this operation alone.
        writes: Firestore's write messages.
        changed: The keys it changes.
        guards: The versions that keys it changes must be at, None for absent. While one still is, the commit
            has not gone through.
        has_conditions: Whether a write may be refused for what is stored.
    """

    layout: Layout
    nonce: bytes
    writes: list[Any] = field(default_factory=list)
    changed: list[Key] = field(default_factory=list)
    guards: dict[Key, int | None] = field(default_factory=dict)
    has_conditions: bool = False

    def change(self, key: Key, content: Content | None) -> Any:
        """Add a write to a document, None to remove it."""
        write = self.layout.remove(key) if content is None else self.layout.put(key, content, self.nonce)
        self.writes.append(write)
        self.changed.append(key)
        return write

    def change_if(self, key: Key, content: Content | None, version: int | None) -> None:
        """Add a write that needs the document to be at a version; None for absent."""
        require(self.change(key, content), version)
        self.has_conditions = True
        if content is not None or version is not None:
            self.guards[key] = version

    def stage(self, before: Mapping[Key, Row | None], changed: Mapping[Key, Row | None]) -> None:
        """Add what a transaction changes of what it read, and verify the rest of it."""
        for key, row in before.items():
            version = None if row is None else row.version
            if key in changed:
                after = changed[key]
                self.change_if(key, None if after is None else after.content, version)
            else:
                self.writes.append(self.layout.verify(key, version))
                self.has_conditions = True

    def add_unread(self, each: Prepared) -> None:
        """Add a write to a document that was not read."""
        write = each.write
        if isinstance(write, Create):
            self.change_if(write.key, each.content, None)
        elif write.if_version is None:
            self.change(write.key, each.content)
        else:
            self.change_if(write.key, each.content, version_number(write.if_version))


def needs_reading(writes: Sequence[Prepared], layout: Layout) -> set[Key]:
    """Return the keys whose documents must be known to say what the writes do to them."""
    seen: set[Key] = set()
    found: set[Key] = set()
    for each in writes:
        write = each.write
        if write.key in seen or (each.content is None and not isinstance(write, Delete)):
            found.add(write.key)
        seen.add(write.key)
        if not is_conditional(each):
            continue
        # An expired document is absent by the clock and present for Firestore; no precondition says that.
        version = None if isinstance(write, Create) else write.if_version
        unknown = version is not None and version_number(version) is None
        if layout.has_expiry(write.key.collection) or unknown:
            found.add(write.key)
    return found


def is_conditional(each: Prepared) -> bool:
    """Tell whether a write depends on what is stored."""
    if isinstance(each.write, Create):
        return True
    return each.write.if_version is not None or (each.content is None and not isinstance(each.write, Delete))


class Committer:
    """Sends batches, and finds out what became of those whose answer was lost."""

    __slots__ = ("_connection", "_layout", "_rng")

    def __init__(self, connection: Connection, layout: Layout, rng: Random) -> None:
        self._connection = connection
        self._layout = layout
        self._rng = rng

    def batch(self) -> Batch:
        """Start a batch with a nonce of its own."""
        return Batch(self._layout, token_bytes(NONCE_BYTES))

    async def send(self, batch: Batch) -> Versions | None:
        """Send a batch until it is known to be stored or refused.

        Returns:
            The versions of what was written, none of them if the answer that told was lost; None if the
            batch's conditions did not hold.

        Raises:
            ServiceError: UNAVAILABLE with COMMIT_UNKNOWN if it cannot be told; else as Firestore refuses it.
        """
        request = _CommitRequest()
        request.database = self._layout.database
        request.writes.extend(batch.writes)
        was_lost = False
        for attempt in range(1, ATTEMPTS + 1):
            try:
                answer = await self._connection.commit(request)
            except GoogleAPICallError as error:
                if not is_ambiguous(error) and not was_lost:
                    self._check_refusal(batch, error)
                    return None
                was_lost = was_lost or is_ambiguous(error)
                fate = await self._fate(batch, error)
            else:
                return _versions(batch, answer)
            if fate is Fate.STORED:
                return {}
            await asyncio.sleep(full_jitter_s(attempt, base_s=_BASE_S, cap_s=_CAP_S, rng=self._rng))
        raise commit_unknown(self._layout.database)

    def _check_refusal(self, batch: Batch, error: GoogleAPICallError) -> None:
        """Raise unless the refusal says that what is stored has changed."""
        if not isinstance(error, Aborted) and not (is_conflict(error) and batch.has_conditions):
            raise as_service_error(error, self._layout.database) from error

    async def _fate(self, batch: Batch, error: GoogleAPICallError) -> Fate:
        """Return what became of a batch whose answer was lost; OPEN if it may be sent again."""
        try:
            stored = await documents(self._connection, self._layout, batch.changed)
        except GoogleAPICallError as second:
            raise commit_unknown(self._layout.database) from second
        if any(nonce_of(each) == batch.nonce for each in stored.values()):
            return Fate.STORED
        versions = {key: nanoseconds(each.update_time) for key, each in stored.items()}
        if batch.guards and all(versions.get(key) == version for key, version in batch.guards.items()):
            return Fate.OPEN
        raise commit_unknown(self._layout.database) from error


def _versions(batch: Batch, answer: Any) -> Versions:
    results = zip(batch.writes, answer.write_results, strict=True)
    return {
        batch.layout.key(write.update.name): nanoseconds(result.update_time)
        for write, result in results
        if write.update.fields
    }


def conditional_keys(writes: Iterable[Prepared]) -> set[Key]:
    """Return the keys of the writes that depend on what is stored."""
    return {each.write.key for each in writes if is_conditional(each)}
