"""The port through which everything that is stored can be read, whatever queries were declared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from service_common.storage.documents import Key

_PAGE_BYTES = 4 * 1024 * 1024
_MOST = 500
FIRST_LIMIT = 16
"""Documents of a first page, when nobody knows how large they are."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A document as it is stored.

    Attributes:
        key: Where it lives.
        packed: Its fields, as `encoding.pack` made them.
    """

    key: Key
    packed: bytes


class Scan(Protocol):
    """Reads all that is stored, expired or not.

    Errors: ServiceError. UNAVAILABLE when the store cannot be reached; it works again when that passes.
    """

    async def page(self, collection: str, *, after: Key | None, limit: int) -> list[Stored]:
        """Return up to `limit` documents of all tenants, behind a key; fewer only at the collection's end.

        The order is the same every time, whether or not there is a document at the key. Following it from the
        last key of each page yields every document that is there all the while exactly once.
        """
        ...

    async def find(self, keys: Iterable[Key]) -> list[Stored]:
        """Return those of the keys' documents that are stored, in any order."""
        ...

    async def mark(self) -> str | None:
        """Return a text that is the same again only if nothing was written; None where that is not known."""
        ...

    async def close(self) -> None:
        """Release everything. Idempotent."""
        ...


def next_limit(page: Sequence[Stored]) -> int:
    """Return how many documents, if they are as large as these, make the next page of about 4 MiB."""
    size = sum(len(each.packed) for each in page)
    return max(1, min(_MOST, _PAGE_BYTES * len(page) // max(1, size)))
