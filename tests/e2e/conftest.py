"""What the end-to-end tests share: one factory for the tests of a module that leave it as they found it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.support.factory import Factory, running_factory

RunFactory = Callable[..., AbstractContextManager[Factory]]


@pytest.fixture
def run_factory(tmp_path: Path) -> RunFactory:
    """Run a factory of the test's own; the options are those of `running_factory`."""

    def run(**options: Any) -> AbstractContextManager[Factory]:
        return running_factory(tmp_path, **options)

    return run


@pytest.fixture(scope="module")
def shared_factory(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Factory]:
    """The module's factory; a module's `FACTORY` holds its options."""
    options = getattr(request.module, "FACTORY", {})
    with running_factory(tmp_path_factory.mktemp("factory"), **options) as factory:
        yield factory
