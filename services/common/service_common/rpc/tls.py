"""TLS from files: the server's are read again when they change, so a renewed certificate needs no restart."""

from __future__ import annotations

from pathlib import Path

import grpc

from service_common.clock import Clock
from service_common.config import CommonSettings, ConfigError, Problem
from service_common.reloading import ReloadingFile


def server_credentials(settings: CommonSettings, *, clock: Clock) -> grpc.ServerCredentials | None:
    """Return the server's credentials; None when it serves plaintext.

    With TLS_CLIENT_CA_FILE, callers must present a certificate from it (mutual TLS).

    Raises:
        ConfigError: If a file cannot be read.
    """
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    chain = _file(settings.tls_cert_file, "TLS_CERT_FILE", clock)
    key = _file(settings.tls_key_file, "TLS_KEY_FILE", clock)
    client_ca = settings.tls_client_ca_file
    roots = _file(client_ca, "TLS_CLIENT_CA_FILE", clock) if client_ca else None
    offered: tuple[bytes, ...] = ()

    def configuration() -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration(
            [(key.get(), chain.get())], root_certificates=roots.get() if roots else None
        )

    def newest() -> grpc.ServerCertificateConfiguration | None:
        nonlocal offered
        current = (key.get(), chain.get(), roots.get() if roots else b"")
        if current == offered:
            return None
        offered = current
        return configuration()

    return grpc.dynamic_ssl_server_credentials(
        configuration(),
        newest,  # type: ignore[arg-type]  # None means unchanged, which the stubs do not know
        require_client_authentication=roots is not None,
    )


def channel_credentials(settings: CommonSettings) -> grpc.ChannelCredentials | None:
    """Return the credentials of calls to neighbours; None for plaintext.

    The service presents its own certificate, so that neighbours may ask for mutual TLS.
    """
    if settings.tls_ca_file is None:
        return None
    own = settings.tls_cert_file is not None and settings.tls_key_file is not None
    return grpc.ssl_channel_credentials(
        root_certificates=settings.tls_ca_file.read_bytes(),
        private_key=settings.tls_key_file.read_bytes() if own and settings.tls_key_file else None,
        certificate_chain=settings.tls_cert_file.read_bytes() if own and settings.tls_cert_file else None,
    )


def _file(path: Path, variable: str, clock: Clock) -> ReloadingFile[bytes]:
    try:
        return ReloadingFile(path, _pem, clock=clock)
    except (OSError, ValueError) as error:
        raise ConfigError([Problem(variable, str(error))]) from error


def _pem(content: bytes) -> bytes:
    if b"-----BEGIN " not in content:
        raise ValueError("holds no PEM block")
    return content
