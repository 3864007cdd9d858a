"""How far a migration has come, kept in the target beside what it has copied.

Gone when the target is emptied: kept beside the source it could claim documents that the target has lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from service_common.errors import ServiceError, failed_precondition
from service_common.storage.documents import Key, Set, Value
from service_common.storage.encoding import unpack
from service_common.storage.migrating.scan import Stored
from service_common.storage.shapes import Collection, Schema

COLLECTION = "migration"
"""Where the record is; no service may declare a collection of this name."""

RECORD_KEY = Key(COLLECTION, "_", "record")
EMPTY_THE_TARGET = "name an empty target, or remove what is there"


class State(Enum):
    """What is known of the target."""

    COPYING = "copying"
    DIFFERS = "differs"
    EQUAL = "equal"


class Course(Enum):
    """What a run of the migration has to do."""

    BEGIN = "begin"
    RESUME = "resume"
    AGAIN = "again"
    CHECK = "check"


@dataclass(frozen=True, slots=True)
class Record:
    """A migration as its target knows it.

    Attributes:
        source: The URL that is copied from.
        mark: Of the source when copying began.
        after: Everything up to this key, in the order of the scan, is stored.
        documents: How many those are, expired ones included.
        state: What is known.
    """

    source: str
    mark: str | None
    after: Key | None = None
    documents: int = 0
    state: State = State.COPYING

    def write(self) -> Set:
        """Return the write that keeps it."""
        after = None if self.after is None else self.after.path()
        fields: dict[str, Value] = {
            "source": self.source,
            "mark": self.mark,
            "after": after,
            "documents": self.documents,
            "state": self.state.value,
        }
        return Set(RECORD_KEY, fields)

    @staticmethod
    def read(found: Sequence[Stored]) -> Record | None:
        """Return the record that a target holds, None if there is none."""
        for each in found:
            fields: Mapping[str, Any] = unpack(each.packed)
            after = None if fields["after"] is None else Key.from_path(fields["after"])
            return Record(
                fields["source"], fields["mark"], after, fields["documents"], State(fields["state"])
            )
        return None


def with_record(schema: Schema) -> Schema:
    """Return the schema of a store that also holds the record.

    Raises:
        ValueError: If the schema has a collection of that name.
    """
    return replace(schema, collections=(*schema.collections, Collection(COLLECTION)))


def course(record: Record | None, *, source: str, mark: str | None, occupied: Sequence[str]) -> Course:
    """Decide what is to be done.

    Args:
        record: What the target knows.
        source: Where the documents come from.
        mark: The source's.
        occupied: The collections of which the target has documents.

    Raises:
        ServiceError: FAILED_PRECONDITION if the target holds what is not this migration's.
    """
    if record is None:
        if occupied:
            raise _occupied(f"already holds documents of {', '.join(occupied)}; {EMPTY_THE_TARGET}")
        return Course.BEGIN
    if record.source != source:
        raise _occupied(f"holds what was copied from {record.source}; {EMPTY_THE_TARGET}")
    if record.state is State.EQUAL:
        return Course.CHECK
    if record.state is State.DIFFERS or record.mark != mark:
        return Course.AGAIN
    return Course.RESUME


def _occupied(text: str) -> ServiceError:
    return failed_precondition("TARGET_OCCUPIED", f"the target {text}")
