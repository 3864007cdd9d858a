"""Checks the model endpoint: is it there, does it know the model, does it answer."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from factory_cli.doctor.finding import Finding, bad, ok
from factory_cli.endpoints import Endpoints
from factory_cli.model.files import MODEL_NAME
from factory_cli.supervision.specs import model_url, wants_embedded_model

_TIMEOUT_S = 30.0
_SHOWN = 200


async def check_endpoint(endpoints: Endpoints, environ: Mapping[str, str]) -> Finding:
    """Ask the endpoint that the environment names, else the embedded model, for one token."""
    return await asyncio.to_thread(_check, endpoints, environ)


def _check(endpoints: Endpoints, environ: Mapping[str, str]) -> Finding:
    embedded = wants_embedded_model(environ)
    url = (model_url(endpoints) if embedded else environ["PROCESSOR_MODEL_URL"]).rstrip("/")
    model = environ.get("PROCESSOR_MODEL") or (MODEL_NAME if embedded else "")
    advice = (
        "start it with: factory up" if embedded else "is PROCESSOR_MODEL_URL right? It usually ends in /v1"
    )
    if not url.startswith(("http://", "https://")):
        return bad("model endpoint", f"{url} is no http address", advice)
    if not model:
        return bad("model endpoint", f"no model is named for {url}", "set PROCESSOR_MODEL")
    try:
        answer = _ask(url, model, environ.get("PROCESSOR_MODEL_API_KEY", ""))
        usage = answer["usage"]
        text = f"{model} at {url} answers, and counts tokens ({usage['prompt_tokens']} for a short question)"
        return ok("model endpoint", text)
    except urllib.error.HTTPError as error:
        return _refusal(error, url, model)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        return bad("model endpoint", f"{url} cannot be reached: {getattr(error, 'reason', error)}", advice)
    except (ValueError, KeyError, TypeError):
        return bad("model endpoint", f"{url} does not answer like an OpenAI-compatible endpoint", advice)


def _ask(url: str, model: str, api_key: str) -> Any:
    body = {"model": model, "messages": [{"role": "user", "content": "Say yes."}], "max_tokens": 1}
    headers = {"content-type": "application/json"}
    if api_key:
        headers["authorization"] = f"Bearer {api_key}"
    request = urllib.request.Request(  # noqa: S310 - checked above
        f"{url}/chat/completions", data=json.dumps(body).encode(), headers=headers
    )
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - checked above
        return json.load(answer)


def _refusal(error: urllib.error.HTTPError, url: str, model: str) -> Finding:
    said = error.read(_SHOWN).decode("utf-8", "replace").strip()
    advice = {
        401: "set PROCESSOR_MODEL_API_KEY",
        403: "may this PROCESSOR_MODEL_API_KEY use the model?",
        404: "is PROCESSOR_MODEL right, and does PROCESSOR_MODEL_URL end in /v1?",
        429: "the endpoint limits the rate or the quota is used up",
    }.get(error.code, "see the endpoint's own log")
    return bad("model endpoint", f"{url} answered {error.code} for {model}: {said}", advice)
