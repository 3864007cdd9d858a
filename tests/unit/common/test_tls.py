"""TLS from files: served, required of clients when asked, and renewed without a restart."""

from __future__ import annotations

import datetime as dt
import ipaddress
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.protobuf.wrappers_pb2 import StringValue
from service_common.clock import ManualClock, SystemClock
from service_common.config import CommonSettings, ConfigError
from service_common.errors import ErrorKind, ServiceError
from service_common.rpc.channel import neighbour_credentials
from service_common.rpc.client import ClientPool
from service_common.rpc.tls import server_credentials


def write_pair(folder: Path, name: str) -> tuple[Path, Path]:
    """Write a self-signed certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    certificate_file, key_file = folder / f"{name}.crt", folder / f"{name}.key"
    certificate_file.write_bytes(certificate.public_bytes(pem))
    key_file.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_file, key_file


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
