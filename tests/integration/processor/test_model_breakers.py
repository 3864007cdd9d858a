"""A breaker for each model: it opens, tries, and closes by itself, seen from outside; other models go on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import orjson
import pytest
from contentfactory.processor.v1 import processor_pb2 as pb

from tests.integration.conftest import NewDatabase
from tests.integration.processor.conftest import (
    FALLBACK,
    MODEL,
    Client,
    Factory,
    a_factory,
    error_of,
    raw,
    raw_item,
    scraped,
)
from tests.support.factory import eventually

OPEN, HALF_OPEN, CLOSED = pb.BREAKER_STATE_OPEN, pb.BREAKER_STATE_HALF_OPEN, pb.BREAKER_STATE_CLOSED


@pytest.fixture
def alone(new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    """A processor of its own, without neighbours: breakers are shared by all who call it."""
    with a_factory(new_database(tmp_path_factory.mktemp("breakers"))) as running:
        yield running


def state(client: Client, model: str) -> int:
    """Return the state of a model's breaker as GetCapacity tells it."""
    capacity = client.GetCapacity(pb.GetCapacityRequest())
    return next((int(each.state) for each in capacity.breakers if each.target == model), 0)


def shown(factory: Factory, model: str) -> float:
    """Return the state of a model's breaker as Prometheus would scrape it."""
    return scraped(factory, "circuit_breaker_state", neighbour="model", target=model)


def doctor(factory: Factory) -> dict[str, str]:
    """Return what `factory doctor` says of the way to the models, by model."""
    environ = {**os.environ, "FACTORY_PROCESSOR": factory.processor.address, "FACTORY_TOKEN": "acme-secret"}
    command = [sys.executable, "-m", "factory_cli", "doctor", "--json"]
    ended = subprocess.run(command, env=environ, capture_output=True, check=False, timeout=60)
    findings = orjson.loads(ended.stdout)["findings"]
    texts = [each["text"] for each in findings if each["subject"] == "processor to model"]
    return {model: text for model in (MODEL, FALLBACK) for text in texts if model in text}


def test_one_models_trouble_is_its_own(alone: Factory) -> None:
    """Its breaker opens while the other model's calls go on, and closes once it is back."""
    client = alone.client()
    alone.mock.script({"fault": "server_error", "model": MODEL, "status": 503})
    job_id = client.new_job([raw_item(f"item-{n}") for n in range(20)])
    client.start(job_id)
    eventually(lambda: state(client, MODEL), lambda now: now == OPEN)
    assert shown(alone, MODEL) == 2

    other = client.Generate(pb.GenerateRequest(spec=raw("other", model=FALLBACK))).piece
    assert other.model == FALLBACK
    assert (state(client, FALLBACK), shown(alone, FALLBACK)) == (CLOSED, 0)
    assert MODEL in client.GetCapacity(pb.GetCapacityRequest()).explanation
    said = doctor(alone)
    assert "breaker is" in said[MODEL]
    assert "calls go through" in said[FALLBACK]

    alone.mock.script()
    eventually(lambda: state(client, MODEL), lambda now: now == CLOSED)
    assert shown(alone, MODEL) == 0
    assert "calls go through" in doctor(alone)[MODEL]


def test_a_suspended_model_is_replaced_at_once(alone: Factory) -> None:
    """While it is open nobody asks the model: the next of the chain answers."""
    client = alone.client()
    alone.mock.script({"fault": "server_error", "model": MODEL})
    job_id = client.new_job([raw_item(f"item-{n}") for n in range(20)])
    client.start(job_id)
    eventually(lambda: state(client, MODEL), lambda now: now == OPEN)
    client.CancelJob(pb.CancelJobRequest(job_id=job_id))

    job, results = client.run(
        [raw_item(f"b-{n}") for n in range(5)], terms=pb.JobTerms(fallback_models=[FALLBACK])
    )
    assert {each.piece.model for each in results.values()} == {FALLBACK}
    assert job.usage.cost_micros == sum(each.piece.cost_micros for each in results.values()) > 0


def test_a_piece_without_a_choice_says_why(alone: Factory) -> None:
    """Generate of a suspended model is UNAVAILABLE and names it."""
    client = alone.client()
    alone.mock.script({"fault": "server_error", "model": MODEL})
    client.start(client.new_job([raw_item(f"item-{n}") for n in range(20)]))
    eventually(lambda: state(client, MODEL), lambda now: now == OPEN)

    error = error_of(client.Generate, pb.GenerateRequest(spec=raw("x")))

    assert error.reason == "MODEL_UNAVAILABLE"
    assert MODEL in error.message
