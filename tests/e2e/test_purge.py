"""What a purge of a template version means for jobs: its pieces are made anew, all others are cached."""

from __future__ import annotations

import pytest
from contentfactory.cache.v1 import cache_pb2

from tests.support.bill import completed
from tests.support.factory import Factory
from tests.support.factory_client import topic_items

pytestmark = pytest.mark.xdist_group("e2e-purge")
_TOPICS = 3


def _run(factory: Factory) -> tuple[int, dict[str, bool]]:
    """Run the same topics; returns how often the model was asked and which items came from the cache."""
    before = len(completed(factory.model_log()))
    client = factory.client()
    results = client.results(client.submit(topic_items(_TOPICS)))
    return len(completed(factory.model_log())) - before, {each.item_id: each.piece.cached for each in results}


def test_a_purged_template_version_is_made_anew(shared_factory: Factory) -> None:
    """After the purge of one version exactly its pieces are paid again; a second purge finds nothing more."""
    made, first = _run(shared_factory)
    assert made == len(first) == 8 * _TOPICS
    made, again = _run(shared_factory)
    assert (made, set(again.values())) == (0, {True})
    faq = cache_pb2.PurgeRequest.TemplateVersion(template_id="faq", version=1)
    stub = shared_factory.client().cache
    assert stub.Purge(cache_pb2.PurgeRequest(template_version=faq)).purged_entries == _TOPICS
    made, third = _run(shared_factory)
    assert made == _TOPICS
    assert {item for item, cached in third.items() if not cached} == {f"t{n}/faq" for n in range(_TOPICS)}
