"""Optimizers' stores, in memory and as files."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prompt_optimizer.repository import SCHEMA
from service_common.clock import ManualClock
from service_common.storage import DocumentStore, open_store

from tests.unit.optimizer.samples import START


@pytest.fixture
def clock() -> ManualClock:
    """Time stands still until the test moves it."""
    return ManualClock(START)


@pytest.fixture(params=["memory", "sqlite"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock
) -> AsyncIterator[DocumentStore]:
    """An empty store of each kind."""
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/optimizer.db"
    opened = await open_store(url, schema=SCHEMA, clock=clock)
    yield opened
    await opened.close()
