"""One connection to a neighbour: its options, its credentials, and the token it carries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc

from service_common.clock import Clock
from service_common.config import CommonSettings, ConfigError, Problem, is_loopback
from service_common.reloading import ReloadingFile
from service_common.rpc.tls import channel_credentials


def _no_token() -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Credentials:
    """What calls to neighbours carry.

    Attributes:
        channel: TLS; None for plaintext.
        token: Returns the bearer token of the moment, or None.
        plaintext_token: Whether a token may cross a network without TLS.
    """

    channel: grpc.ChannelCredentials | None = None
    token: Callable[[], str | None] = _no_token
    plaintext_token: bool = False


def neighbour_credentials(settings: CommonSettings, *, clock: Clock) -> Credentials:
    """Return what a service presents to its neighbours, from its settings.

    Raises:
        ConfigError: If the token's file cannot be read.
    """
    return Credentials(
        channel=channel_credentials(settings),
        token=_token_source(settings, clock),
        plaintext_token=settings.insecure,
    )


def _token_source(settings: CommonSettings, clock: Clock) -> Callable[[], str | None]:
    if settings.service_token is not None:
        token = settings.service_token.get_secret_value()
        return lambda: token
    if settings.service_token_file is None:
        return _no_token
    try:
        return ReloadingFile(settings.service_token_file, _parse_token, clock=clock).get
    except (OSError, ValueError) as error:
        raise ConfigError([Problem("SERVICE_TOKEN_FILE", str(error))]) from error


def _parse_token(content: bytes) -> str:
    token = content.decode("ascii").strip()
    if not token:
        raise ValueError("the file is empty")
    return token


def open_channel(
    address: str, credentials: Credentials, *, server_name: str | None, max_message_bytes: int
) -> grpc.aio.Channel:
    """Open a channel; it connects with the first call.

    Args:
        address: `host:port`.
        credentials: What it carries.
        server_name: The name its certificate bears, when the address is a resolved one.
        max_message_bytes: Largest message either way.

    Raises:
        ConfigError: If a token would cross a network in plaintext.
    """
    options: list[tuple[str, Any]] = [
        ("grpc.enable_retries", 0),  # retries are made at one layer: ours
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2000),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.max_metadata_size", 32 * 1024),
        ("grpc.use_local_subchannel_pool", 1),  # a pool's connections are its own
    ]
    if credentials.channel is None:
        host = address.rpartition(":")[0]
        if credentials.token() and not credentials.plaintext_token and not is_loopback(host):
            raise ConfigError(
                [
                    Problem(
                        "TLS_CA_FILE",
                        f"required: a token must not cross the network to {address} in plaintext",
                    )
                ]
            )
        return grpc.aio.insecure_channel(address, options=options)
    if server_name is not None:
        options.append(("grpc.ssl_target_name_override", server_name))
    return grpc.aio.secure_channel(address, credentials.channel, options=options)
