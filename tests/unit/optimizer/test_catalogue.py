"""The catalogue: the newest state wins in whatever order it arrives, and watchers hear of what matters."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from prompt_optimizer.templates.catalogue import BUILT_IN, Catalogue
from prompt_optimizer.templates.template import Family, Template

BUILT = Template(Family("faq"), "faq", "FAQ")
OWN = Template(Family("faq", 1), "faq", "FAQ", latest_version=9, revision=1)


def test_an_own_template_takes_the_place_of_the_built_in_one_until_deleted() -> None:
    """For its tenant only."""
    catalogue = Catalogue([BUILT])
    catalogue.put("acme", OWN)
    assert (catalogue.find("acme", "faq"), catalogue.find("other", "faq")) == (OWN, BUILT)
    catalogue.remove("acme", replace(OWN, revision=2))
    assert catalogue.find("acme", "faq") == BUILT


@given(st.permutations(range(1, 7)), st.integers(1, 6))
def test_the_highest_revision_wins_in_any_order(order: list[int], deleted_at: int) -> None:
    """A state read before a change and applied after it does not bring the old one back."""
    catalogue = Catalogue([])
    for revision in order:
        state = replace(OWN, revision=revision, active_version=revision)
        if revision == deleted_at:
            catalogue.remove("acme", state)
        else:
            catalogue.put("acme", state)
    found = catalogue.find("acme", "faq")
    assert (found.active_version if found else None) == (None if deleted_at == 6 else 6)


def test_a_watcher_begins_with_all_and_then_hears_of_changes_of_the_active_version() -> None:
    """A version added without being activated is not told, nor is another tenant's change."""
    catalogue = Catalogue([BUILT])
    catalogue.put("acme", OWN)
    watcher = catalogue.subscribe("acme")
    assert watcher.take() == [(BUILT_IN, "faq"), ("acme", "faq")]
    catalogue.put("acme", replace(OWN, revision=2, latest_version=10))
    catalogue.put("other", replace(OWN, revision=3))
    assert watcher.take() == []
    catalogue.put("acme", replace(OWN, revision=4, active_version=2))
    catalogue.remove("acme", replace(OWN, revision=5))
    assert watcher.take() == [("acme", "faq")]


async def test_a_watcher_that_comes_while_closing_is_let_go() -> None:
    """It does not wait for ever."""
    catalogue = Catalogue([])
    catalogue.close()
    assert await catalogue.subscribe(None).changed() is False
