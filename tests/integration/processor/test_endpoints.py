"""Models at endpoints of their own: a fallback that is elsewhere, with its own key."""

from __future__ import annotations

import json

import pytest
from contentfactory.processor.v1 import processor_pb2 as pb

from tests.integration.conftest import NewDatabase
from tests.integration.processor.conftest import FALLBACK, MODEL, a_factory, raw
from tests.support.mock_process import mock_endpoint


def test_another_endpoint_stands_in(
    new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """When the first endpoint is away, the fallback model is asked where it is, with the key it needs."""
    database = new_database(tmp_path_factory.mktemp("endpoints"))
    database.directory.mkdir(parents=True, exist_ok=True)
    file = database.directory / "endpoints.json"
    with mock_endpoint(keep=1) as elsewhere:
        file.write_text(json.dumps({FALLBACK: {"url": elsewhere.url, "api_key_env": "OTHER_KEY"}}))
        with a_factory(database, PROCESSOR_ENDPOINTS_FILE=str(file), OTHER_KEY="sk-other") as factory:
            factory.mock.script({"fault": "reset"})
            spec = raw("hello", fallback_models=[FALLBACK])
            piece = factory.client().Generate(pb.GenerateRequest(spec=spec)).piece

            assert piece.model == FALLBACK
            assert elsewhere.counts()["models"] == {
                FALLBACK: {"requests": 1, "completions": 1, **_tokens(piece)}
            }
            assert elsewhere.requests()[-1]["headers"]["authorization"] == "Bearer sk-other"
            assert set(factory.mock.counts()["models"]) == {MODEL}


def _tokens(piece: pb.Piece) -> dict[str, int]:
    return {"prompt_tokens": piece.prompt_tokens, "output_tokens": piece.output_tokens}
