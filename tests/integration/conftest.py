"""Every test here that asks for a database runs once per backend: memory, SQLite, Firestore's emulator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.backends import BACKENDS, FIRESTORE, Database, empty_database

NewDatabase = Callable[[Path], Database]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a service's tests on one backend with one worker: they share processes that take long to start."""
    for item in items:
        backend = getattr(item, "callspec", None) and item.callspec.params.get("backend")  # type: ignore[attr-defined]  # of parametrized tests alone
        if backend and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group(f"{item.path.parent.name}-{backend}"))


@pytest.fixture(scope="session", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Which backend the test runs against."""
    return str(request.param)


@pytest.fixture(scope="session")
def new_database(backend: str, request: pytest.FixtureRequest) -> NewDatabase:
    """Make empty databases of the backend, with their files in a folder."""
    host = request.getfixturevalue("emulator").host if backend == FIRESTORE else ""
    return lambda directory: empty_database(backend, directory, emulator_host=host)


@pytest.fixture
def database(new_database: NewDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    """The test's own empty database; a service in this process finds the emulator too."""
    made = new_database(tmp_path)
    if made.emulator_host:
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", made.emulator_host)
    return made
