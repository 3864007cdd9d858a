"""What tests of every kind share: one Firestore emulator per worker; a slow machine fails no property."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support.firestore_emulator import Emulator, firestore_emulator, or_skipped

settings.register_profile(
    "unhurried", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    """The worker's Firestore emulator; without one its tests are skipped, except where CI promises it."""
    with or_skipped(firestore_emulator()) as running:
        yield running
