"""The backends that services stand on, and the environment that leads them to an empty database of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

MEMORY, SQLITE, FIRESTORE = "memory", "sqlite", "firestore"
BACKENDS = (MEMORY, SQLITE, FIRESTORE)

on_durable_stores = pytest.mark.parametrize("backend", [SQLITE, FIRESTORE], indirect=True)
"""For tests of what outlives a process, or is shared by two: what is in memory does neither."""


@dataclass(frozen=True, slots=True)
class Database:
    """An empty database for any number of services and processes.

    Attributes:
        backend: Which kind.
        directory: Where SQLite keeps its files.
        project: What the database is called on Firestore.
        emulator_host: Where Firestore's emulator is; empty if it is not asked for.
    """

    backend: str
    directory: Path
    project: str
    emulator_host: str = ""

    def env(self, service: str) -> dict[str, str]:
        """Return the variables that lead a service here: to its own file, or to what all four share."""
        if self.backend == FIRESTORE:
            url = f"firestore://{self.project}/(default)"
            return {"STORE_URL": url, "FIRESTORE_EMULATOR_HOST": self.emulator_host}
        if self.backend == SQLITE:
            return {"STORE_URL": f"sqlite:///{self.directory / service}.db"}
        return {"STORE_URL": "memory://"}


def empty_database(backend: str, directory: Path, *, emulator_host: str = "") -> Database:
    """Return a database that nobody has used: on Firestore, projects come into being by being named."""
    return Database(backend, directory, f"test-{uuid4().hex[:20]}", emulator_host)
