"""What writes do to documents, decided before anything is stored: conditions, merging, expiry, order.

Every backend stages its writes here, so all backends agree on what a write means. A `Staging` collects the
effect of several operations; each runs in an `Attempt` of its own, whose effect is kept whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from service_common.errors import ServiceError, aborted, already_exists, invalid_field, not_found
from service_common.frozen import dataclass
from service_common.storage.documents import (
    MAX_COMMIT_BYTES,
    Create,
    Decision,
    Delete,
    Document,
    Key,
    Set,
    T,
    Update,
    Write,
    check_write_count,
)
from service_common.storage.encoding import pack, unpack
from service_common.storage.indexing import Content, IndexPlan


@dataclass(frozen=True, slots=True)
class Row:
    """A stored document.

    Attributes:
        number: Its place in the backend; kept while the row exists.
        version: Counts all writes of the store.
        content: Its fields, sort keys and expiry.
    """

    number: int
    version: int
    content: Content

    def is_expired(self, now: int) -> bool:
        """Tell whether it is absent at this time, in microseconds since 1970."""
        return self.content.expires is not None and self.content.expires <= now

    def document(self, key: Key) -> Document:
        """Return it as its reader sees it."""
        return Document(key, unpack(self.content.packed), str(self.version))


@dataclass(frozen=True, slots=True)
class Prepared:
    """A write that was checked and copied, so the caller's later changes to its data do not matter."""

    write: Write
    content: Content | None = None
    fields: dict[str, Any] | None = None


def prepare(plan: IndexPlan, writes: Sequence[Write]) -> list[Prepared]:
    """Check and copy the writes of one commit.

    Raises:
        ServiceError: INVALID_ARGUMENT naming what is at fault.
    """
    check_write_count(writes)
    prepared = []
    size = 0
    for write in writes:
        match write:
            case Create() | Set():
                content = plan.content(write.key, write.data)
                size += len(content.packed)
                prepared.append(Prepared(write, content=content))
            case Update():
                plan.schema.check_key(write.key)
                packed = pack(write.fields)
                size += len(packed)
                prepared.append(Prepared(write, fields=unpack(packed)))
            case Delete():
                plan.schema.check_key(write.key)
                prepared.append(Prepared(write))
    if size > MAX_COMMIT_BYTES:
        raise invalid_field("writes", f"must encode to at most {MAX_COMMIT_BYTES} bytes together, got {size}")
    return prepared


class Staging:
    """The rows as they were stored, and as they will be.

    Args:
        plan: The schema's plan.
        counter: The highest version the store has given out.
        load: Returns the stored rows of those keys that have one.
    """

    __slots__ = ("_load", "before", "changed", "counter", "plan")

    def __init__(
        self, plan: IndexPlan, counter: int, load: Callable[[Iterable[Key]], Mapping[Key, Row]]
    ) -> None:
        self.plan = plan
        self.counter = counter
        self.before: dict[Key, Row | None] = {}
        self.changed: dict[Key, Row | None] = {}
        self._load = load

    def load(self, keys: Iterable[Key]) -> None:
        """Read the stored rows of these keys in one go, as far as they are not known yet."""
        unknown = {key for key in keys if key not in self.before}
        if unknown:
            rows = self._load(unknown)
            self.before.update((key, rows.get(key)) for key in unknown)

    def row(self, key: Key) -> Row | None:
        """Return the row of a loaded key with all kept attempts applied."""
        return self.changed[key] if key in self.changed else self.before[key]

    def commit(self, prepared: Sequence[Prepared], now: int) -> None:
        """Stage the writes, all or none."""
        self.load(each.write.key for each in prepared)
        attempt = Attempt(self, now)
        for each in prepared:
            attempt.apply(each)
        self.changed.update(attempt.changed)

    def transact(
        self, keys: Sequence[Key], decide: Callable[[Sequence[Document | None]], Decision[T]], now: int
    ) -> T:
        """Read, decide and stage the decision's writes, all or none."""
        self.load(keys)
        attempt = Attempt(self, now)
        decision = decide([attempt.document(key) for key in keys])
        self.commit(prepare(self.plan, decision.writes), now)
        return decision.result

    def remove_expired(self, keys: Sequence[Key], now: int) -> int:
        """Stage the removal of those that are expired now, and return how many."""
        self.load(keys)
        removed = 0
        for key in keys:
            row = self.row(key)
            if row is not None and row.is_expired(now):
                self.changed[key] = None
                removed += 1
        return removed


class Attempt:
    """One operation's view of a staging: its own changes on top."""

    __slots__ = ("_now", "_staging", "changed")

    def __init__(self, staging: Staging, now: int) -> None:
        self._staging = staging
        self._now = now
        self.changed: dict[Key, Row | None] = {}

    def document(self, key: Key) -> Document | None:
        """Return the document, None if absent or expired."""
        row = self._live(key)
        return None if row is None else row.document(key)

    def apply(self, prepared: Prepared) -> None:
        """Apply one write on top of those before.

        Raises:
            ServiceError: ALREADY_EXISTS, NOT_FOUND or ABORTED if its condition fails.
        """
        write = prepared.write
        current = self._live(write.key)
        _check_condition(write, current)
        if isinstance(write, Delete):
            self.changed[write.key] = None
            return
        content = prepared.content
        if content is None:
            assert current is not None  # an Update whose document is absent has failed its condition
            merged = {**unpack(current.content.packed), **(prepared.fields or {})}
            content = self._staging.plan.content(write.key, merged)
        self._put(write.key, content)

    def _put(self, key: Key, content: Content) -> None:
        self._staging.counter += 1
        version = self._staging.counter
        stored = self._row(key)
        self.changed[key] = Row(stored.number if stored else version, version, content)

    def _row(self, key: Key) -> Row | None:
        return self.changed[key] if key in self.changed else self._staging.row(key)

    def _live(self, key: Key) -> Row | None:
        row = self._row(key)
        return None if row is None or row.is_expired(self._now) else row


def _check_condition(write: Write, current: Row | None) -> None:
    if isinstance(write, Create):
        if current is not None:
            raise already_exists("DOCUMENT_EXISTS", _said(write.key, "already exists"))
        return
    if isinstance(write, Update) and current is None:
        raise not_found("DOCUMENT_NOT_FOUND", _said(write.key, "does not exist"))
    if write.if_version is not None and (current is None or str(current.version) != write.if_version):
        raise _changed(write.key)


def _changed(key: Key) -> ServiceError:
    return aborted("DOCUMENT_CHANGED", _said(key, "is not at the expected version"))


def _said(key: Key, what: str) -> str:
    return f"document {key.id!r} of {key.collection!r} {what}"
