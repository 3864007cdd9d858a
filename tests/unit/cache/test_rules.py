"""Purges as numbered rules, against what was purged one by one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from content_cache.entry import Address, Entry
from content_cache.holding.rules import MAX_RULES, Kind, Mode, PurgeRules, Selector, TenantRules
from content_cache.leasing.leases import era_of_token, token_of_era
from hypothesis import given
from hypothesis import strategies as st

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
ALL = Selector(Kind.ALL)
selectors = st.one_of(
    st.builds(Selector, st.just(Kind.TAG), st.sampled_from("xyz")),
    st.builds(Selector, st.just(Kind.PREFIX), st.sampled_from(["k", "ka", "l", "é"])),
    st.just(ALL),
)


def entry(key: str, *, era: int = 0, tags: tuple[str, ...] = (), tenant: str = "a") -> Entry:
    """Make an entry whose making began in an era."""
    later = _NOW + timedelta(days=1)
    return Entry(Address(tenant, key), b"", 0, _NOW, later, tags=tags, era=era)


def fits(selector: Selector, candidate: Entry) -> bool:
    """Say what a selector means, without any index."""
    if selector.kind is Kind.TAG:
        return selector.value in candidate.tags
    return selector.kind is Kind.ALL or candidate.address.key.startswith(selector.value)


@given(
    st.lists(st.tuples(selectors, st.sampled_from(Mode)), max_size=12),
    st.sampled_from(["k", "ka", "kab", "l", "m", "é1", "e\u0301"]),
    st.lists(st.sampled_from("xyz"), unique=True).map(tuple),
    st.integers(0, 12),
)
def test_a_purge_covers_what_fits_and_was_begun_before_it(
    purges: list[tuple[Selector, Mode]], key: str, tags: tuple[str, ...], era: int
) -> None:
    """Whatever purges came in whatever order, an entry is gone exactly if a later one fits it."""
    purges = [(each, Mode.DELETE if each.kind is Kind.ALL else mode) for each, mode in purges]
    stored = TenantRules()
    for selector, mode in purges:
        stored = stored.purged(selector, mode)
    rules = PurgeRules()
    rules.learn("a", stored)
    candidate = entry(key, era=era, tags=tags)
    later = [(selector, mode) for selector, mode in purges[era:] if fits(selector, candidate)]
    assert rules.era("a") == len(purges)
    assert rules.deletes(candidate) is any(mode is Mode.DELETE for _, mode in later)
    if not rules.deletes(candidate):
        assert rules.marks(candidate) is bool(later)
    assert not rules.deletes(entry(key, era=len(purges), tags=tags))


def test_too_many_rules_widen_and_never_narrow() -> None:
    """Beyond the limit the oldest rules become one over all that is older; nothing purged comes back."""
    stored = TenantRules()
    for number in range(MAX_RULES + 3):
        stored = stored.purged(Selector(Kind.TAG, f"t{number}"), Mode.DELETE)
    rules = PurgeRules()
    rules.learn("a", stored)
    assert len(stored.rules) == MAX_RULES
    assert all(rules.deletes(entry("k", tags=(f"t{number}",))) for number in range(MAX_RULES + 3))
    assert rules.deletes(entry("k", era=2))
    assert not rules.deletes(entry("k", era=3))
    assert rules.deletes(entry("k", era=3, tags=("t3",)))


def test_a_repeated_purge_takes_the_place_of_the_one_before() -> None:
    """A label purged again and again is one rule; leaving first does not undo a purge."""
    stored = TenantRules()
    for _ in range(5):
        stored = stored.purged(Selector(Kind.TAG, "t"), Mode.DELETE)
    assert (len(stored.rules), stored.era) == (1, 5)
    stored = stored.purged(Selector(Kind.TAG, "t"), Mode.LEAVE_FIRST)
    assert {each.mode for each in stored.rules} == {Mode.DELETE, Mode.LEAVE_FIRST}
    assert stored.purged(ALL, Mode.DELETE) == TenantRules(era=7, floor=7)


def test_rules_are_the_tenants_own_and_never_go_back() -> None:
    """One tenant's purges leave another's entries alone; an older state changes nothing."""
    older = TenantRules().purged(ALL, Mode.DELETE)
    newer = older.purged(ALL, Mode.DELETE)
    rules = PurgeRules()
    assert [each.era for each in rules.learn("a", newer)] == [2]
    assert rules.learn("a", older) == ()
    assert rules.era("a") == 2
    assert not rules.deletes(entry("k", tenant="a\0"))


@pytest.mark.parametrize("token", ["", ".", "x", "x.", "x.-1", "x.1e3", "x.\u0661", "x." + "9" * 5000])
def test_what_is_no_token_is_of_the_earliest_era(token: str) -> None:
    """An unreadable token proves nothing: its content counts as begun before every purge."""
    assert era_of_token(token) == 0


@given(st.integers(0, 10**17))
def test_a_token_tells_its_era(era: int) -> None:
    """What a token was made with comes out of it."""
    assert era_of_token(token_of_era("abc-_", era)) == era
