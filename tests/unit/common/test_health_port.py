"""The plaintext port for probes: health as the server says it, and nothing else."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health_pb2, health_pb2_grpc
from service_common.config import CommonSettings, ConfigError
from service_common.lifecycle import Lifecycle
from service_common.rpc.server import RpcServer

from tests.support.certificates import write_pair

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def test_probes_are_answered_in_plaintext_beside_tls(
    serve: Any, echo_stub: Any, tmp_path: Path
) -> None:
    """A TLS server's health is readable without TLS; its methods are not there; draining shows."""
    certificate, key = write_pair(tmp_path, "server")
    async with serve(tls_cert_file=certificate, tls_key_file=key, health_port=0) as running:
        port = running.server.health_port
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            health = health_pb2_grpc.HealthStub(channel)
            assert (await health.Check(health_pb2.HealthCheckRequest())).status == SERVING
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await echo_stub(channel).Unary(StringValue(value="a"))
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
            await running.server.health.drain()
            assert (await health.Check(health_pb2.HealthCheckRequest())).status == NOT_SERVING


async def test_a_health_port_in_use_is_named(tmp_path: Path) -> None:
    """The message names the variable, and nothing stays open."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        lifecycle = Lifecycle()
        server = RpcServer(CommonSettings(health_port=taken.getsockname()[1]), lifecycle)
        with pytest.raises(ConfigError, match="HEALTH_PORT"):
            await server.start()
        await lifecycle.close()
