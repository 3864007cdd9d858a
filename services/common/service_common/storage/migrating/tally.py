"""What a set of documents adds up to, whatever their order: count, bytes and checksum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from service_common.storage.documents import Key

_DIGEST_BYTES = 32
_MODULUS = 2 ** (8 * _DIGEST_BYTES)


@dataclass(slots=True)
class Tally:
    """A running sum.

    Attributes:
        documents: How many.
        size: Bytes of their fields, as stored.
        checksum: The sum of a BLAKE2b digest of each document's key and fields, modulo 2^256. It finds every
            loss and change that is an accident; it is not made against somebody who forges documents.
        expired: How many were left out because their time had passed.
    """

    documents: int = 0
    size: int = 0
    checksum: int = 0
    expired: int = 0

    def add(self, key: Key, packed: bytes) -> None:
        """Count a document."""
        path = key.path()
        digest = blake2b(len(path).to_bytes(4) + path, digest_size=_DIGEST_BYTES)
        digest.update(packed)
        self.documents += 1
        self.size += len(packed)
        self.checksum = (self.checksum + int.from_bytes(digest.digest())) % _MODULUS

    def equals(self, other: Tally) -> bool:
        """Tell whether both are sums of the same documents."""
        return (self.documents, self.checksum) == (other.documents, other.checksum)

    def shown(self) -> dict[str, Any]:
        """Return it as JSON shows it."""
        return {
            "documents": self.documents,
            "bytes": self.size,
            "expired": self.expired,
            "checksum": f"{self.checksum:064x}",
        }


def total(tallies: Mapping[str, Tally]) -> int:
    """Return how many documents there are in all collections."""
    return sum(each.documents for each in tallies.values())
