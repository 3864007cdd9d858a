"""TLS from files: served, required of clients when asked, and renewed without a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import StringValue
from service_common.clock import ManualClock, SystemClock
from service_common.config import CommonSettings, ConfigError
from service_common.errors import ErrorKind, ServiceError
from service_common.rpc.channel import neighbour_credentials
from service_common.rpc.client import ClientPool
from service_common.rpc.tls import server_credentials

from tests.support.certificates import write_pair


async def call(address: str, stub: Any, **values: Any) -> str:
    """Call as a neighbour with these settings would."""
    credentials = neighbour_credentials(CommonSettings(**values), clock=SystemClock())
    async with ClientPool(stub, targets=address, name="n", credentials=credentials) as pool:
        answer = await pool.call(lambda each: each.Unary, StringValue(value="a"), timeout_s=5)
        return str(answer.value)


async def test_mutual_tls_asks_for_the_clients_certificate(
    serve: Any, echo_stub: Any, tmp_path: Path
) -> None:
    """A client with a certificate of the authority is served, one without is not."""
    own, own_key = write_pair(tmp_path, "server")
    theirs, their_key = write_pair(tmp_path, "client")
    async with serve(tls_cert_file=own, tls_key_file=own_key, tls_client_ca_file=theirs) as running:
        known = {"tls_ca_file": own, "tls_cert_file": theirs, "tls_key_file": their_key}
        assert await call(running.address, echo_stub, **known) == "a"
        with pytest.raises(ServiceError) as caught:
            await call(running.address, echo_stub, tls_ca_file=own)
        assert caught.value.kind is ErrorKind.UNAVAILABLE


async def test_a_renewed_certificate_is_served_without_a_restart(
    serve: Any, echo_stub: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    """New connections see the new certificate."""
    monkeypatch.setattr("service_common.reloading._CHECK_EVERY_S", 0.0)
    own, own_key = write_pair(tmp_path, "server")
    async with serve(tls_cert_file=own, tls_key_file=own_key) as running:
        assert await call(running.address, echo_stub, tls_ca_file=own) == "a"
        old = tmp_path / "old.crt"
        old.write_bytes(own.read_bytes())
        write_pair(tmp_path, "server")
        assert await call(running.address, echo_stub, tls_ca_file=own) == "a"
        with pytest.raises(ServiceError):
            await call(running.address, echo_stub, tls_ca_file=old)


def test_files_that_are_no_pem_are_refused(tmp_path: Path) -> None:
    """The message names the variable."""
    wrong = tmp_path / "x.crt"
    wrong.write_text("hello")
    with pytest.raises(ConfigError, match="TLS_CERT_FILE"):
        server_credentials(CommonSettings(tls_cert_file=wrong, tls_key_file=wrong), clock=ManualClock())
    assert server_credentials(CommonSettings(), clock=ManualClock()) is None
