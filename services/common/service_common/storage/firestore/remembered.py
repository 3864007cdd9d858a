"""What this process wrote last: a transaction begins from it, and so costs one commit and no read.

Nothing here is trusted. The commit requires every document to be at the version remembered, so a transaction
that began from a document somebody else has changed is refused and begins again from what is stored.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping

from service_common.storage.documents import Key
from service_common.storage.staging import Row

MAX_BYTES = 16 * 1024 * 1024
"""Of documents, beyond which those unused the longest are forgotten."""

MAX_DOCUMENT_BYTES = 256 * 1024
"""Larger ones are not kept: what is changed often is small."""


class Remembered:
    """Rows by key, the least recently used first."""

    __slots__ = ("_bytes", "_rows")

    def __init__(self) -> None:
        self._rows: OrderedDict[Key, Row] = OrderedDict()
        self._bytes = 0

    def of(self, keys: Iterable[Key]) -> dict[Key, Row]:
        """Return the rows of those keys that are remembered."""
        found = {key: self._rows[key] for key in keys if key in self._rows}
        for key in found:
            self._rows.move_to_end(key)
        return found

    def keep(self, rows: Mapping[Key, Row | None]) -> None:
        """Remember what was just stored; None for what was removed."""
        for key, row in rows.items():
            self.forget((key,))
            if row is not None and len(row.content.packed) <= MAX_DOCUMENT_BYTES:
                self._rows[key] = row
                self._bytes += len(row.content.packed)
        while self._bytes > MAX_BYTES:
            self.forget((next(iter(self._rows)),))

    def forget(self, keys: Iterable[Key]) -> None:
        """Know nothing of these any more."""
        for key in keys:
            row = self._rows.pop(key, None)
            if row is not None:
                self._bytes -= len(row.content.packed)
