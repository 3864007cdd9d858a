"""A neighbour's breaker opens, half-opens and closes, for the metrics and for `factory doctor` to see."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import pytest

from tests.support.factory import NEIGHBOURS, PROCESSOR, Factory, eventually
from tests.support.factory_client import raw_items
from tests.support.scrape import scrape

pytestmark = pytest.mark.xdist_group("e2e-neighbours")
FACTORY = {"env": {"processor": {"PROCESSOR_MAX_CONCURRENCY": "8"}}}
CLOSED, HALF_OPEN, OPEN = 0.0, 1.0, 2.0


@contextmanager
def traffic(factory: Factory) -> Iterator[None]:
    """Let jobs run, one after the other."""
    client = factory.client()
    enough = Event()

    def submit() -> None:
        while not enough.is_set():
            client.results(client.submit(raw_items(8, f"traffic {time.monotonic()}")))

    jobs = Thread(target=submit)
    jobs.start()
    try:
        yield
    finally:
        enough.set()
        jobs.join()


def shown(factory: Factory, name: str) -> float:
    """Return what the metric says of a neighbour's breaker."""
    labels = {"neighbour": name, "target": factory.address(name)}
    return scrape(factory.services[PROCESSOR]).value("circuit_breaker_state", **labels)


def doctors_word(factory: Factory, name: str) -> dict[str, Any]:
    """Return what `factory doctor` finds about the processor's calls to a neighbour."""
    addresses = {f"FACTORY_{each.upper()}": factory.address(each) for each in (*NEIGHBOURS, PROCESSOR)}
    environ = {**os.environ, **addresses, "FACTORY_DATA_DIR": str(factory.directory / "doctor")}
    command = [sys.executable, "-m", "factory_cli", "doctor", "--json"]
    told = subprocess.run(command, env=environ, capture_output=True, check=False, timeout=60)
    findings = json.loads(told.stdout)["findings"]
    found: dict[str, Any] = next(each for each in findings if each["subject"] == f"processor to {name}")
    return found


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("cache", "pieces are made without it"),
        ("optimizer", "versions last seen active"),
        ("tracker", "progress is told later"),
    ],
)
def test_a_breaker_opens_half_opens_and_closes_in_sight(
    shared_factory: Factory, name: str, meaning: str
) -> None:
    """While jobs run it opens, tries again, and closes once the neighbour is back; the doctor says so."""
    factory = shared_factory
    with traffic(factory):
        eventually(lambda: shown(factory, name), lambda state: state == CLOSED)
        before = len(_changes(factory, name))  # others may have used the factory
        factory.kill(name)
        eventually(lambda: shown(factory, name), lambda state: state == OPEN)
        found = eventually(lambda: doctors_word(factory, name), lambda each: "closed" not in each["text"])
        eventually(lambda: _changes(factory, name)[before:].count("HALF_OPEN"))
        factory.restart(name)
        eventually(lambda: shown(factory, name), lambda state: state == CLOSED)
    assert found["level"] == "note"
    assert factory.address(name) in found["text"]
    assert meaning in found["text"]
    assert "closes by itself" in found["advice"]
    assert doctors_word(factory, name)["level"] == "ok"
    changes = _changes(factory, name)[before:]
    assert (changes[0], changes[-2:]) == ("OPEN", ["HALF_OPEN", "CLOSED"])


def _changes(factory: Factory, name: str) -> list[str]:
    """Return the states a neighbour's breaker entered, in order, as the processor has logged them."""
    return [
        each["after"] for each in factory.services[PROCESSOR].events("breaker") if each["neighbour"] == name
    ]
