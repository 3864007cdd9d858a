"""A second call for a piece that is slow to begin, by the endpoint's own count."""

from __future__ import annotations

from uuid import uuid4

import pytest
from contentfactory.processor.v1 import processor_pb2 as pb

from tests.integration.conftest import NewDatabase
from tests.integration.processor.conftest import a_factory, raw, scraped


def test_a_piece_whose_call_hangs_comes_from_a_second_one(
    new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Once it is known what is usual, a call that does not begin gets a second one and is cancelled."""
    database = new_database(tmp_path_factory.mktemp("hedging"))
    with a_factory(database, PROCESSOR_HEDGE_RATIO="0.2") as factory:
        client = factory.client()
        for _ in range(25):
            client.Generate(pb.GenerateRequest(spec=raw(uuid4().hex)))
        before, hedges = factory.mock.counts(), scraped(factory, "model_hedges_total", won="true")
        text = uuid4().hex
        factory.mock.script({"fault": "slow", "contains": text, "latency_ms": 60_000, "times": 1})

        piece = client.Generate(pb.GenerateRequest(spec=raw(text)), timeout=20).piece

        after = factory.mock.counts()
        assert piece.content
        assert after["requests"] - before["requests"] == 2
        assert after["abandoned"] - before["abandoned"] == 1
        assert scraped(factory, "model_hedges_total", won="true") - hedges == 1
        assert scraped(factory, "model_uncertain_spend_micros_total") > piece.cost_micros
