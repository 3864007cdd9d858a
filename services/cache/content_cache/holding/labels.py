"""Finds entries by what they are labelled with, at one place per entry however many labels it has.

Entries of a tenant with the very same labels form a group; a label knows its groups. Generated content has
few different sets of labels, so that an entry costs its place in its group and a group is paid once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import chain

from content_cache.entry import Address, Entry

GROUP_BYTES = 420
"""What a group with labels takes beside them; an entry's place in it is part of `ENTRY_OVERHEAD_BYTES`."""

TAG_BYTES = 200
"""What one label of a group takes beside its text. Both measured (tests/unit/cache/test_memory.py)."""

SPLIT_MEMBERS = 4096
"""Beyond so many members a group is kept in parts."""

Tags = tuple[str, ...]

_PARTS = 64

_TAGS_FIELD = 4
_VARINT, _BYTES = 0, 2
_MORE = 0x80


class _Group:
    """The entries of one tenant with the very same labels.

    A large one is kept in parts: to rebuild a dictionary of a million keys stops the loop for a tenth of a
    second.
    """

    __slots__ = ("parts", "tags")

    def __init__(self, tags: Tags) -> None:
        self.tags = tags
        self.parts: list[dict[Address, None]] = [{}]

    def add(self, address: Address) -> None:
        part = self.parts[hash(address) % len(self.parts)]
        part[address] = None
        if len(self.parts) == 1 and len(part) > SPLIT_MEMBERS:
            self.parts = [{} for _ in range(_PARTS)]
            for each in part:
                self.parts[hash(each) % _PARTS][each] = None

    def discard(self, address: Address) -> bool:
        """Take a member out; tell whether it was the last one."""
        part = self.parts[hash(address) % len(self.parts)]
        del part[address]
        return not part and not any(self.parts)


@lru_cache(maxsize=4096)
def group_bytes(tags: Tags) -> int:
    """Return what a group takes beside its entries; without labels it is its tenant's only one."""
    return GROUP_BYTES + sum(TAG_BYTES + len(tag) for tag in tags) if tags else 0


class LabelIndex:
    """Addresses by tenant and label, kept in step with the entries by its owner."""

    __slots__ = ("_by_tag", "_groups")

    def __init__(self) -> None:
        self._groups: dict[str, dict[Tags, _Group]] = {}
        self._by_tag: dict[tuple[str, str], dict[Tags, _Group]] = {}

    def shared(self, tenant: str, tags: Iterable[str]) -> Tags:
        """Return labels, each once, as the tuple that entries with the very same ones hold already."""
        wanted = tuple(dict.fromkeys(tags))
        if not wanted:
            return wanted
        group = self._groups.get(tenant, {}).get(wanted)
        return wanted if group is None else group.tags

    def cost(self, entry: Entry) -> int:
        """Return the bytes that adding an entry would take beside the entry itself."""
        return 0 if entry.tags in self._groups.get(entry.address.tenant, {}) else group_bytes(entry.tags)

    def add(self, entry: Entry) -> int:
        """Take note of an entry whose address is not known; return the bytes it takes beside the entry."""
        tenant = entry.address.tenant
        groups = self._groups.setdefault(tenant, {})
        group = groups.get(entry.tags)
        taken = 0
        if group is None:
            group = groups[entry.tags] = _Group(entry.tags)
            taken = group_bytes(entry.tags)
            for tag in entry.tags:
                self._by_tag.setdefault((tenant, tag), {})[entry.tags] = group
        group.add(entry.address)
        return taken

    def discard(self, entry: Entry) -> int:
        """Forget a known entry; return the bytes that gives back beside the entry."""
        tenant = entry.address.tenant
        group = self._groups[tenant][entry.tags]
        if not group.discard(entry.address):
            return 0
        del self._groups[tenant][entry.tags]
        if not self._groups[tenant]:
            del self._groups[tenant]
        for tag in entry.tags:
            others = self._by_tag[tenant, tag]
            del others[entry.tags]
            if not others:
                del self._by_tag[tenant, tag]
        return group_bytes(entry.tags)

    def tagged(self, tenant: str, tag: str) -> list[Address]:
        """Return the addresses of a tenant's entries with a label."""
        return _members(self._by_tag.get((tenant, tag), {}))

    def of_tenant(self, tenant: str) -> list[Address]:
        """Return the addresses of all a tenant's entries."""
        return _members(self._groups.get(tenant, {}))


def _members(groups: Mapping[Tags, _Group]) -> list[Address]:
    found: list[Address] = []
    for part in chain.from_iterable(each.parts for each in groups.values()):
        found.extend(part)  # a million take about 15 ms so, one by one 25
    return found


def tags_in(encoded: bytes) -> Tags:
    """Return the labels of an entry in the form in which it is sent: field 4 of the contract's Entry."""
    return tuple(
        dict.fromkeys(content.decode() for number, content in _fields(encoded) if number == _TAGS_FIELD)
    )


def _fields(encoded: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the fields of a message that are lengths and bytes; an entry has no other kinds but numbers."""
    place = 0
    while place < len(encoded):
        head, place = _varint(encoded, place)
        number, place = _varint(encoded, place)
        if head & 7 == _VARINT:
            continue
        if head & 7 != _BYTES:
            return
        yield head >> 3, encoded[place : place + number]
        place += number


def _varint(encoded: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = encoded[place]
        place += 1
        value |= (byte & ~_MORE) << shift
        if byte < _MORE:
            return value, place
        shift += 7
