"""A trained dictionary: what a tenant's entries have in common, and only that tenant's.

It holds pieces of the entries it was trained on. So it belongs to one tenant, whose name is part of where it
is found, and it goes when all of that tenant is purged.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Final

from zstandard import ZstdCompressionDict, ZstdDecompressor

from content_cache.compression.counts import Packed
from content_cache.entry import Entry

PLAIN: Final = "zstd"
"""How `Entry.packing` says: by zstd, without a dictionary."""

_WITH: Final = "zstd:"
_ID_CHARS: Final = 24
_CONTEXT_BYTES: Final = 160 * 1024
_TIMES: Final = 14
"""What zstd prepares of a dictionary's content, as a multiple of it; the contexts beside it are constant.

Measured at level 6, as the growth of a process that packs and unpacks (test_dictionary_memory.py).
"""


@dataclass(frozen=True, slots=True)
class Dictionary:
    """What is stored of one; never changed.

    Attributes:
        tenant: Whose entries it was trained on, and the only one it is for.
        content: What zstd made of them.
        version: Which of its tenant's, counted from 1.
        era: How many purges of its tenant were known when the samples were taken.
        create_time: When it was trained.
        samples: On how many entries.
    """

    tenant: str
    content: bytes = field(repr=False)
    version: int
    era: int
    create_time: datetime
    samples: int

    @property
    def id(self) -> str:
        """Its name: by what it holds, so that what came back damaged is not taken for it."""
        return dictionary_id(self.content)

    @property
    def size_bytes(self) -> int:
        """Bytes of memory it takes while it is in use, what zstd prepares of it included."""
        return _TIMES * len(self.content) + _CONTEXT_BYTES


@dataclass(slots=True)
class InUse:
    """A dictionary in memory.

    Attributes:
        dictionary: What it is.
        packing: How `Entry.packing` says that an entry was packed with it.
        keep_until: Until when it is stored; entries it packs leave before that.
        decompressor: Unpacks what was packed with it; not for two threads at once.
        packed: What was packed with it since the start.
    """

    dictionary: Dictionary
    packing: str
    keep_until: datetime
    decompressor: ZstdDecompressor = field(repr=False)
    packed: Packed = field(default_factory=Packed)


def prepare(dictionary: Dictionary, keep_until: datetime) -> InUse:
    """Make ready to unpack with a dictionary."""
    prepared = ZstdCompressionDict(dictionary.content)
    return InUse(dictionary, packing_with(dictionary.id), keep_until, ZstdDecompressor(dict_data=prepared))


def dictionary_id(content: bytes) -> str:
    """Return the name of a dictionary that holds this."""
    return sha256(content).hexdigest()[:_ID_CHARS]


def packing_with(name: str) -> str:
    """Return how `Entry.packing` names a dictionary."""
    return _WITH + name


def dictionary_of(entry: Entry) -> str | None:
    """Return the name of the dictionary an entry was packed with; None if with none."""
    return entry.packing[len(_WITH) :] if entry.packing.startswith(_WITH) else None
