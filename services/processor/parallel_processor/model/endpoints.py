"""Which endpoint a model is asked at: the one of the settings, or one of its own from a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import orjson

from parallel_processor.model.requests import ModelReply, ModelRequest
from parallel_processor.model.wire import MaxTokensField

_FIELDS = frozenset({"url", "api_key_env", "max_tokens_field"})
_MAX_TOKENS_FIELDS = ("max_tokens", "max_completion_tokens")


class EndpointsError(ValueError):
    """The file of endpoints cannot be used; the message names every bad entry."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and how to ask.

    Attributes:
        url: Where the API begins.
        api_key: Sent as bearer token; None sends none.
        max_tokens_field: What it calls the limit on output tokens.
    """

    url: str
    api_key: str | None = field(default=None, repr=False)
    max_tokens_field: MaxTokensField = "max_tokens"


class Client(Protocol):
    """Asks one endpoint; see `ModelClient`."""

    async def generate(self, request: ModelRequest, *, traceparent: str | None = None) -> ModelReply:
        """Ask for one completion; raises ModelFailure."""
        ...

    async def stream(
        self, request: ModelRequest, on_text: Callable[[str], None], *, traceparent: str | None = None
    ) -> ModelReply:
        """Ask for one completion and pass its text on as it comes; raises ModelFailure."""
        ...


class Endpoints:
    """Asks each model where it is; models of one endpoint share its client and so its connections."""

    def __init__(
        self, default: Endpoint, by_model: Mapping[str, Endpoint], *, connect: Callable[[Endpoint], Client]
    ) -> None:
        """Open a client for each endpoint.

        Args:
            default: Where models are that are not named.
            by_model: Where the others are.
            connect: Makes the client of an endpoint.
        """
        clients = {endpoint: connect(endpoint) for endpoint in dict.fromkeys((default, *by_model.values()))}
        self._default = clients[default]
        self._by_model = {model: clients[endpoint] for model, endpoint in by_model.items()}

    async def generate(self, request: ModelRequest, *, traceparent: str | None = None) -> ModelReply:
        """Ask for one completion.

        Raises:
            ModelFailure: If there is no content.
        """
        return await self._of(request).generate(request, traceparent=traceparent)

    async def stream(
        self, request: ModelRequest, on_text: Callable[[str], None], *, traceparent: str | None = None
    ) -> ModelReply:
        """Ask for one completion and pass its text on as it comes.

        Raises:
            ModelFailure: If there is no content.
        """
        return await self._of(request).stream(request, on_text, traceparent=traceparent)

    def _of(self, request: ModelRequest) -> Client:
        return self._by_model.get(request.model, self._default)


def load_endpoints(path: Path, environ: Mapping[str, str]) -> dict[str, Endpoint]:
    """Read a file of endpoints: a JSON object from model to {url, api_key_env, max_tokens_field}.

    Args:
        path: The file.
        environ: Where the keys are; the file holds their names only.

    Raises:
        EndpointsError: If the file cannot be read, or any entry is bad; names all of them.
    """
    try:
        parsed: Any = orjson.loads(path.read_bytes())
    except OSError as error:
        raise EndpointsError(f"{path}: {error.strerror}") from error
    except orjson.JSONDecodeError as error:
        raise EndpointsError(f"{path}: not JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise EndpointsError(f"{path}: must be an object from model to endpoint")
    problems = [problem for model, entry in parsed.items() for problem in _problems(model, entry, environ)]
    if problems:
        raise EndpointsError(f"{path}: {'; '.join(problems)}")
    return {model: _endpoint(entry, environ) for model, entry in parsed.items()}


def _endpoint(entry: Mapping[str, str], environ: Mapping[str, str]) -> Endpoint:
    key = entry.get("api_key_env")
    spoken = cast("MaxTokensField", entry.get("max_tokens_field", "max_tokens"))  # checked before
    return Endpoint(entry["url"], environ[key] if key else None, spoken)


def _problems(model: str, entry: Any, environ: Mapping[str, str]) -> list[str]:
    if not model:
        return ["a model's name is empty"]
    if not isinstance(entry, dict):
        return [f"{model}: must be an object of {', '.join(sorted(_FIELDS))}"]
    problems = [f"{model}.{name}: unknown field" for name in entry if name not in _FIELDS]
    problems += [
        f"{model}.{name}: must be text" for name in _FIELDS & entry.keys() if type(entry[name]) is not str
    ]
    if problems:
        return problems
    if not entry.get("url"):
        problems.append(f"{model}.url: is required")
    if entry.get("max_tokens_field", "max_tokens") not in _MAX_TOKENS_FIELDS:
        problems.append(f"{model}.max_tokens_field: must be {' or '.join(_MAX_TOKENS_FIELDS)}")
    if (key := entry.get("api_key_env")) and not environ.get(key):
        problems.append(f"{model}.api_key_env: the environment has no {key}")
    return problems
