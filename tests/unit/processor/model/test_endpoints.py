"""Which endpoint a model is asked at, and a file of them whose every mistake is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from parallel_processor.model.endpoints import Endpoint, Endpoints, EndpointsError, load_endpoints
from parallel_processor.model.requests import ModelReply, ModelRequest

DEFAULT, OTHER = Endpoint("http://default/v1"), Endpoint("http://other/v1", "secret")


class Named:
    """A client that answers with its endpoint's URL."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._url = endpoint.url

    async def generate(self, request: ModelRequest, *, traceparent: str | None = None) -> ModelReply:
        """Answer."""
        return ModelReply(self._url, request.model, False, 1, 1, 0.0)

    async def stream(
        self, request: ModelRequest, on_text: Callable[[str], None], *, traceparent: str | None = None
    ) -> ModelReply:
        """Answer, and let it be heard."""
        on_text(self._url)
        return await self.generate(request)


async def test_each_model_is_asked_where_it_is() -> None:
    """Named models at their endpoint, all others at the default, and one client serves all of an endpoint."""
    connected: list[Endpoint] = []

    def connect(endpoint: Endpoint) -> Named:
        connected.append(endpoint)
        return Named(endpoint)

    endpoints = Endpoints(DEFAULT, {"a": OTHER, "b": OTHER, "c": DEFAULT}, connect=connect)
    heard: list[str] = []
    asked = {}
    for model in ("a", "b", "c", "d"):
        asked[model] = (await endpoints.generate(ModelRequest(model, (), 1))).text
        await endpoints.stream(ModelRequest(model, (), 1), heard.append)

    assert asked == {"a": OTHER.url, "b": OTHER.url, "c": DEFAULT.url, "d": DEFAULT.url}
    assert heard == list(asked.values())
    assert connected == [DEFAULT, OTHER]


def test_a_file_of_endpoints(tmp_path: Path) -> None:
    """Keys come from the environment by name, and are not shown."""
    file = tmp_path / "endpoints.json"
    entry = {"url": "https://x/v1", "api_key_env": "X_KEY", "max_tokens_field": "max_completion_tokens"}
    file.write_bytes(orjson.dumps({"gpt": entry, "local": {"url": "http://l/v1"}}))

    loaded = load_endpoints(file, {"X_KEY": "sk-1"})

    assert loaded == {
        "gpt": Endpoint("https://x/v1", "sk-1", "max_completion_tokens"),
        "local": Endpoint("http://l/v1"),
    }
    assert "sk-1" not in repr(loaded)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], ["must be an object"]),
        ({"m": 3}, ["m: must be an object"]),
        ({"": {"url": "x"}}, ["name is empty"]),
        ({"m": {}}, ["m.url: is required"]),
        ({"m": {"url": 3, "key": "sk"}}, ["m.url: must be text", "m.key: unknown field"]),
        ({"a": {"url": "u", "api_key_env": "NONE"}, "b": {}}, ["no NONE", "b.url"]),
        ({"m": {"url": "u", "max_tokens_field": "max"}}, ["m.max_tokens_field: must be"]),
    ],
)
def test_every_bad_entry_is_named(tmp_path: Path, content: Any, words: list[str]) -> None:
    """One message says all that is wrong."""
    file = tmp_path / "endpoints.json"
    file.write_bytes(orjson.dumps(content))
    with pytest.raises(EndpointsError) as caught:
        load_endpoints(file, {})
    assert all(each in str(caught.value) for each in words)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """Nothing there, or no JSON, is said as such."""
    with pytest.raises(EndpointsError, match="No such file"):
        load_endpoints(tmp_path / "none", {})
    (tmp_path / "bad").write_text("{")
    with pytest.raises(EndpointsError, match="not JSON"):
        load_endpoints(tmp_path / "bad", {})
