"""What calls carry: a bearer token and, for TLS, the authority to trust."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import grpc
from service_common.rpc.channel import Credentials

from factory_cli.failures import CommandError


def resolve_credentials(
    environ: Mapping[str, str], *, token: str | None = None, tls_ca: Path | None = None
) -> Credentials:
    """Make credentials from flags, else from FACTORY_TOKEN, FACTORY_TOKEN_FILE and FACTORY_TLS_CA_FILE.

    Raises:
        CommandError: If a file cannot be read.
    """
    secret = token or environ.get("FACTORY_TOKEN") or _token_from_file(environ)
    ca_file = tls_ca or _path(environ.get("FACTORY_TLS_CA_FILE"))
    channel = grpc.ssl_channel_credentials(root_certificates=_read(ca_file)) if ca_file else None
    return Credentials(channel=channel, token=lambda: secret)


def _token_from_file(environ: Mapping[str, str]) -> str | None:
    path = _path(environ.get("FACTORY_TOKEN_FILE"))
    return _read(path).decode("ascii", "replace").strip() if path else None


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}") from error
