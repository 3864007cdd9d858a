"""Versions on the shelf: what was put there comes back, and what an earlier release put there still does."""

from __future__ import annotations

import pytest
from parallel_processor.jobs.piece import Sampling
from parallel_processor.jobs.template import TemplateVariable, TemplateVersion
from parallel_processor.repository import SCHEMA, VersionRepository
from service_common.clock import ManualClock
from service_common.output_contract import Bounds, OutputContract
from service_common.storage import DocumentStore, Key, Set, open_store

PLAIN = TemplateVersion(
    "acme",
    "faq",
    2,
    "faq",
    (("user", "hi"),),
    (TemplateVariable("topic", required=True),),
    Sampling(9, stop=("x",)),
    "m",
)
DEMANDING = TemplateVersion(
    **{
        each: getattr(PLAIN, each)
        for each in ("tenant", "version", "content_type", "messages", "variables", "sampling")
    },
    template_id="cards",
    output_contract=OutputContract(json_schema="{}", headings=("a",), words=Bounds(1, 2)),
    handlers=("json_pretty", "ours"),
)


@pytest.fixture
async def store() -> DocumentStore:
    """An empty store."""
    return await open_store("memory://", schema=SCHEMA, clock=ManualClock())


async def test_versions_come_back_as_they_were(store: DocumentStore) -> None:
    """Contract and handlers included, and also when there are none."""
    shelf = VersionRepository(store)
    for each in (PLAIN, DEMANDING):
        await shelf.keep(each)
    assert {each.template_id: each for each in await shelf.load()} == {"faq": PLAIN, "cards": DEMANDING}


async def test_a_version_kept_before_there_were_contracts_is_read(store: DocumentStore) -> None:
    """A document without the newer fields is a version without demands."""
    shelf = VersionRepository(store)
    await shelf.keep(PLAIN)
    key = Key("active_versions", "acme", "faq")
    (document,) = await store.get_many([key])
    assert document is not None
    older = {
        name: value for name, value in document.data.items() if name not in ("output_contract", "handlers")
    }
    await store.commit([Set(key, older)])
    assert await shelf.load() == [PLAIN]
