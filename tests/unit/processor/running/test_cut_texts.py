"""A text that was cut goes to those who wait for it, and nobody is served it later."""

from __future__ import annotations

import pytest
from parallel_processor.running.content import Content
from parallel_processor.running.ports import Entry, Fill

from tests.unit.processor.running.fakes import FakeCache
from tests.unit.processor.samples import OWNER

WHOLE = Entry("all of it", "text/plain", 5, {"model": "m"})
CUT = Entry("half of", "text/plain", 5, {"model": "m", "truncated": "true"})


@pytest.mark.parametrize(("entry", "kept"), [(WHOLE, {"k": WHOLE}), (CUT, {})])
async def test_only_whole_texts_are_kept(entry: Entry, kept: dict[str, Entry]) -> None:
    """A fill of a cut text ends its lease like any other, and stores nothing."""
    cache = FakeCache()
    content = Content(cache)
    lease = await content.acquire(OWNER, "h", 1, "k")
    await content.fill(OWNER, Fill("k", entry, (), lease.lease_token))
    assert [(each.entry, each.lease_token) for each in cache.fills] == [(entry, lease.lease_token)]
    assert (cache.entries, cache.leases) == (kept, {})


async def test_cut_texts_are_kept_where_that_is_wanted() -> None:
    """With the setting a cut text is stored like any other."""
    cache = FakeCache()
    await Content(cache, keep_cut=True).fill(OWNER, Fill("k", CUT, ()))
    assert cache.entries == {"k": CUT}


async def test_a_cut_text_replaces_nothing() -> None:
    """A refresh that was cut leaves the whole text where it is; one that is whole takes its place."""
    cache = FakeCache(entries={"k": WHOLE})
    content = Content(cache)
    await content.replace(OWNER, Fill("k", CUT, ()))
    assert cache.entries == {"k": WHOLE}
    better = Entry("all of it, better", "text/plain", 5)
    await content.replace(OWNER, Fill("k", better, ()))
    assert cache.entries == {"k": better}
