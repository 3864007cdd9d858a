"""What has been purged, as numbered rules: what was begun before a rule and fits it is not there any more.

A tenant's purges are numbered; the number of purges known when the making of an entry began is its *era*. So
a purge needs no list of what it removed: it also covers entries that are stored and not in memory, and
content that was under way and arrives later. Pure: `TenantRules` is what is stored, `PurgeRules` answers for
all tenants.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from content_cache.entry import Entry

MAX_RULES: Final = 1000
"""Rules of one tenant that are kept apart; beyond it the oldest one widens to all that is older than it."""


class Kind(Enum):
    """What a selector looks at."""

    TAG = "TAG"
    PREFIX = "PREFIX"
    ALL = "ALL"


class Mode(Enum):
    """What becomes of the selected entries."""

    DELETE = "DELETE"
    LEAVE_FIRST = "LEAVE_FIRST"


@dataclass(frozen=True, slots=True)
class Selector:
    """Which entries of a tenant.

    Attributes:
        kind: What it looks at.
        value: The label or prefix; empty for all.
    """

    kind: Kind
    value: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """One purge.

    Attributes:
        selector: Which entries it covers, of those made in an earlier era.
        mode: What becomes of them.
        era: Its number; the era that begins with it.
    """

    selector: Selector
    mode: Mode
    era: int


@dataclass(frozen=True, slots=True)
class TenantRules:
    """All purges of a tenant that still matter.

    Attributes:
        era: How many purges there have been.
        floor: Everything of an earlier era is purged.
        rules: The others, the oldest first.
    """

    era: int = 0
    floor: int = 0
    rules: tuple[Rule, ...] = ()

    def purged(self, selector: Selector, mode: Mode) -> TenantRules:
        """Return the rules with one purge more."""
        era = self.era + 1
        if selector.kind is Kind.ALL:
            return TenantRules(era, floor=era)
        # What covers the very same entries and as much is not needed beside the new one.
        kept = [
            each
            for each in self.rules
            if each.selector != selector or (mode is Mode.LEAVE_FIRST and each.mode is Mode.DELETE)
        ]
        rules = (*kept, Rule(selector, mode, era))
        floor = self.floor
        for each in rules[:-MAX_RULES]:
            floor = max(floor, each.era) if each.mode is Mode.DELETE else floor
        return TenantRules(era, floor, rules[-MAX_RULES:])


class PurgeRules:
    """Tells what is purged, for all tenants."""

    __slots__ = ("_tenants",)

    def __init__(self) -> None:
        self._tenants: dict[str, _Matcher] = {}

    def era(self, tenant: str) -> int:
        """Return how many purges of a tenant are known."""
        known = self._tenants.get(tenant)
        return 0 if known is None else known.rules.era

    def floor(self, tenant: str) -> int:
        """Return the era before which all of a tenant is purged."""
        known = self._tenants.get(tenant)
        return 0 if known is None else known.rules.floor

    def learn(self, tenant: str, rules: TenantRules) -> tuple[Rule, ...]:
        """Take note of a tenant's rules and return what is new; older ones than known change nothing."""
        known = self._tenants.get(tenant)
        before = TenantRules() if known is None else known.rules
        if rules.era <= before.era:
            return ()
        self._tenants[tenant] = _Matcher(rules)
        new = tuple(each for each in rules.rules if each.era > before.era)
        if rules.floor > before.floor:
            return (Rule(Selector(Kind.ALL), Mode.DELETE, rules.floor), *new)
        return new

    def deletes(self, entry: Entry) -> bool:
        """Tell whether an entry is purged."""
        known = self._tenants.get(entry.address.tenant)
        return known is not None and entry.era < known.rules.era and known.deletes(entry)

    def marks(self, entry: Entry) -> bool:
        """Tell whether an entry is to leave first."""
        known = self._tenants.get(entry.address.tenant)
        return known is not None and entry.era < known.rules.era and known.leaving.covers(entry)


class _Matcher:
    """A tenant's rules, laid out so that an entry is looked up once per label and length of prefix."""

    __slots__ = ("deleted", "leaving", "rules")

    def __init__(self, rules: TenantRules) -> None:
        self.rules = rules
        self.deleted = _Selected(each for each in rules.rules if each.mode is Mode.DELETE)
        self.leaving = _Selected(each for each in rules.rules if each.mode is Mode.LEAVE_FIRST)

    def deletes(self, entry: Entry) -> bool:
        return entry.era < self.rules.floor or self.deleted.covers(entry)


class _Selected:
    """The rules of one mode: the latest era by label and by prefix."""

    __slots__ = ("_lengths", "_prefixes", "_tags")

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._tags: dict[str, int] = {}
        self._prefixes: dict[str, int] = {}
        for each in rules:
            eras = self._tags if each.selector.kind is Kind.TAG else self._prefixes
            eras[each.selector.value] = max(each.era, eras.get(each.selector.value, 0))
        self._lengths = sorted({len(prefix) for prefix in self._prefixes})

    def covers(self, entry: Entry) -> bool:
        if any(self._tags.get(tag, 0) > entry.era for tag in entry.tags):
            return True
        key = entry.address.key
        return any(self._prefixes.get(key[:length], 0) > entry.era for length in self._lengths)
