"""An outage of the optimizer re-pays nothing: prompts rendered without it have the same keys."""

from __future__ import annotations

import asyncio

import pytest
from parallel_processor.repository import SCHEMA, VersionRepository
from service_common.clock import SystemClock
from service_common.storage import open_store

from tests.e2e.conftest import RunFactory
from tests.support.factory import PROCESSOR, Factory, eventually
from tests.support.factory_client import DERIVED, topic_items

pytestmark = pytest.mark.xdist_group("e2e-processors")


def test_a_job_without_the_optimizer_has_the_keys_it_would_have_with_it(run_factory: RunFactory) -> None:
    """Down from the start and through a restart of the processor: all items done, under the same keys."""
    with run_factory() as factory:
        items = topic_items(2)
        eventually(lambda: asyncio.run(_known_templates(factory)) >= {"outline", *DERIVED})
        factory.kill("optimizer")
        factory.kill(PROCESSOR)
        factory.restart(PROCESSOR)
        client = factory.client()
        without = client.results(client.submit(items))
        factory.restart("optimizer")
        eventually(lambda: client.breakers()["optimizer"] != "BREAKER_STATE_OPEN")
        with_it = client.results(client.submit(items))

        keys = {each.item_id: each.piece.cache_key for each in without}
        assert {each.item_id: each.piece.cache_key for each in with_it} == keys
        assert len(set(keys.values())) == len(items) == factory.model.counts()["completions"]
        assert all(each.piece.cached for each in with_it)


async def _known_templates(factory: Factory) -> set[str]:
    """Return the templates that the processor's store holds: what the optimizer has told it so far."""
    url = f"sqlite:///{factory.directory / PROCESSOR}.db"
    store = await open_store(url, schema=SCHEMA, clock=SystemClock())
    try:
        return {each.template_id for each in await VersionRepository(store).load()}
    finally:
        await store.close()
