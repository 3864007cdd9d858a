"""Whether something answers, and whether it is what it should be."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from enum import Enum

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from factory_cli.model.files import MODEL_NAME

_PROBE_TIMEOUT_S = 2.0


class Readiness(Enum):
    """What was found at an address."""

    ABSENT = "not running"
    STARTING = "starting"
    SERVING = "serving"
    FOREIGN = "something else listens there"


async def probe_service(
    target: str, rpc_service: str, *, credentials: grpc.ChannelCredentials | None = None
) -> Readiness:
    """Ask grpc.health.v1 about one service.

    Args:
        target: `host:port`.
        rpc_service: The name to ask for.
        credentials: TLS of the call; None for plaintext.
    """
    options = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))
    channel = (
        grpc.aio.secure_channel(target, credentials, options=options)
        if credentials
        else grpc.aio.insecure_channel(target, options=options)
    )
    async with channel:
        request = health_pb2.HealthCheckRequest(service=rpc_service)
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=_PROBE_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            return await _readiness_of(error, target)
    serving = answer.status == health_pb2.HealthCheckResponse.SERVING
    return Readiness.SERVING if serving else Readiness.STARTING


async def _readiness_of(error: grpc.aio.AioRpcError, target: str) -> Readiness:
    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return Readiness.STARTING
    if error.code() not in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
        return Readiness.FOREIGN
    return Readiness.FOREIGN if await _accepts(target) else Readiness.ABSENT


async def _accepts(target: str) -> bool:
    host, _, port = target.rpartition(":")
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def probe_model(url: str) -> Readiness:
    """Ask an address whether it serves the embedded model; `url` is the base URL, ending in /v1."""
    return await asyncio.to_thread(_probe_model, url)


def _probe_model(url: str) -> Readiness:
    try:
        # The list of models is given out while they still load; health waits for the weights.
        urllib.request.urlopen(f"{url.removesuffix('/v1')}/health", timeout=_PROBE_TIMEOUT_S).close()  # noqa: S310 - http on loopback
        with urllib.request.urlopen(f"{url}/models", timeout=_PROBE_TIMEOUT_S) as answer:  # noqa: S310 - http on loopback
            found = json.load(answer)
    except urllib.error.HTTPError as error:
        return Readiness.STARTING if error.code == 503 else Readiness.FOREIGN  # noqa: PLR2004 - "loading", as it says
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return Readiness.ABSENT
    except ValueError:
        return Readiness.FOREIGN
    return Readiness.SERVING if MODEL_NAME in json.dumps(found) else Readiness.FOREIGN
