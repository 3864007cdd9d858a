"""Settings read once from the environment, frozen, and checked: one message names every bad variable."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Problem:
    """One bad variable.

    Attributes:
        variable: The environment variable's name.
        text: What is wrong and what would be right; no secret in it.
    """

    variable: str
    text: str


@dataclass(frozen=True, slots=True)
class Variable:
    """One row of a service's table of environment variables.

    Attributes:
        name: The environment variable.
        default: Its default as one would write it; empty when there is none.
        description: What it does.
    """

    name: str
    default: str
    description: str


class ConfigError(Exception):
    """The environment does not describe a service that may start.

    Attributes:
        problems: Every bad variable, not only the first.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        lines = (f"  {each.variable}: {each.text}" for each in self.problems)
        super().__init__("\n".join(("the configuration cannot be used:", *lines)))


class CommonSettings(BaseSettings):
    """What every service reads; a service subclasses it and adds its own prefixed fields and defaults.

    The environment variable of a field is its name in upper case. An empty variable counts as unset.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", validate_default=False)

    host: str = Field("127.0.0.1", min_length=1, description="Address to bind, for RPC and metrics.")
    port: int = Field(0, ge=0, le=65535, description="RPC port; 0 takes any free one.")
    metrics_port: int = Field(
        0, ge=0, le=65535, description="Port of the Prometheus endpoint; 0 takes any free one."
    )
    health_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port of a plaintext listener that answers grpc.health.v1 and nothing else, for probes "
        "that cannot speak TLS; unset: none.",
    )
    store_url: str = Field(
        "sqlite:///var/store.db",
        pattern=r"^(sqlite|firestore|memory)://",
        description="Where documents live: sqlite:///PATH, firestore://PROJECT/DATABASE or memory://.",
    )
    log_level: Literal["debug", "info", "warning"] = Field(
        "info", description="Least severe log line written; the line `serving` is always written."
    )
    otel_exporter_otlp_endpoint: str | None = Field(
        None,
        description="OTLP gRPC endpoint that receives spans, e.g. http://127.0.0.1:4317; unset: no tracing.",
    )
    trace_sample_ratio: float = Field(
        0.01, ge=0, le=1, description="Share of new traces recorded; a caller's own decision is followed."
    )
    auth_tokens_file: Path | None = Field(
        None,
        description="JSON list of {token or token_sha256, tenant, user, roles}; re-read when it changes. "
        "Unset on loopback: every caller is user `local` of tenant `default`.",
    )
    service_token: SecretStr | None = Field(
        None, description="Bearer token this service presents to its neighbours."
    )
    service_token_file: Path | None = Field(
        None, description="File holding that token; re-read when it changes. Instead of SERVICE_TOKEN."
    )
    tls_cert_file: Path | None = Field(
        None, description="PEM certificate chain of this service; re-read when it changes."
    )
    tls_key_file: Path | None = Field(None, description="PEM private key of that certificate.")
    tls_client_ca_file: Path | None = Field(
        None, description="PEM authorities callers' certificates must come from; set: mutual TLS."
    )
    tls_ca_file: Path | None = Field(
        None,
        description="PEM authorities neighbours' certificates come from; set: calls to neighbours use TLS.",
    )
    insecure: bool = Field(
        False, description="1 allows a non-loopback address without TLS and tokens. Never in production."
    )
    reflection: Literal["auto", "on", "off"] = Field(
        "auto", description="Server reflection for grpcurl; auto: on when bound to loopback."
    )
    max_message_bytes: int = Field(
        4 * MIB, ge=64 * 1024, le=256 * MIB, description="Largest request or response message in bytes."
    )
    max_concurrent_rpcs: int = Field(
        2000, ge=1, description="Unary calls served at once; more get RESOURCE_EXHAUSTED with a retry time."
    )
    max_concurrent_streams: int = Field(
        10_000, ge=1, description="Streaming calls served at once; more get RESOURCE_EXHAUSTED."
    )
    max_connection_age_s: float = Field(
        1800, ge=1, description="Seconds after which a client connection is asked to reconnect."
    )
    drain_grace_s: float = Field(
        10, ge=0, le=3600, description="Seconds calls in flight may take to finish after SIGTERM."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values from `load` alone, so that a test's settings never depend on the machine."""
        return (init_settings,)

    def problems(self) -> Iterable[Problem]:
        """Yield what is wrong between fields that are each right; subclasses extend it."""
        yield from _tls_problems(self)
        yield from _file_problems(self)
        if self.service_token and self.service_token_file:
            yield Problem("SERVICE_TOKEN_FILE", "set this or SERVICE_TOKEN, not both")
        if self.port and self.port == self.metrics_port:
            yield Problem("METRICS_PORT", f"equals PORT ({self.port}); choose another, or 0 for any")
        if not self.insecure and not is_loopback(self.host):
            yield from _exposure_problems(self)

    @property
    def exposed_unprotected(self) -> bool:
        """Whether it listens beyond this machine without TLS or without tokens."""
        return not is_loopback(self.host) and not (self.tls_cert_file and self.auth_tokens_file)

    @property
    def reflection_enabled(self) -> bool:
        """Whether the server answers reflection."""
        return self.reflection == "on" or (self.reflection == "auto" and is_loopback(self.host))


def _tls_problems(settings: CommonSettings) -> Iterable[Problem]:
    if settings.tls_cert_file and not settings.tls_key_file:
        yield Problem("TLS_KEY_FILE", "missing; TLS_CERT_FILE is set and needs its private key")
    if settings.tls_key_file and not settings.tls_cert_file:
        yield Problem("TLS_CERT_FILE", "missing; TLS_KEY_FILE is set and needs its certificate")
    if settings.tls_client_ca_file and not settings.tls_cert_file:
        yield Problem("TLS_CLIENT_CA_FILE", "mutual TLS needs TLS_CERT_FILE and TLS_KEY_FILE too")


def _file_problems(settings: CommonSettings) -> Iterable[Problem]:
    for name in type(settings).model_fields:
        path = getattr(settings, name)
        if name.endswith("_file") and isinstance(path, Path) and not os.access(path, os.R_OK):
            yield Problem(name.upper(), f"{path} is not a readable file")


def _exposure_problems(settings: CommonSettings) -> Iterable[Problem]:
    for variable, value in (
        ("TLS_CERT_FILE", settings.tls_cert_file),
        ("AUTH_TOKENS_FILE", settings.auth_tokens_file),
    ):
        if not value:
            yield Problem(
                variable,
                f"required because HOST={settings.host} is not loopback "
                "(or INSECURE=1 to expose the service unprotected)",
            )


def is_loopback(host: str) -> bool:
    """Tell whether an address reaches this machine only."""
    if host == "localhost" or host.startswith("unix:"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


SettingsT = TypeVar("SettingsT", bound=CommonSettings)


def load(settings_class: type[SettingsT], environ: Mapping[str, str] = os.environ) -> SettingsT:
    """Read and check a service's settings.

    Args:
        settings_class: The service's settings.
        environ: Where the variables are.

    Returns:
        Settings that passed every check.

    Raises:
        ConfigError: Naming every bad variable.
    """
    values = _environment_values(settings_class, environ)
    try:
        settings = settings_class(**values)
    except ValidationError as error:
        problems = [_explain(settings_class, each) for each in error.errors()]
        known = {each.variable for each in problems}
        others = _good_part(settings_class, values, error).problems()
        raise ConfigError([*problems, *(each for each in others if each.variable not in known)]) from error
    found = tuple(settings.problems())
    if found:
        raise ConfigError(found)
    return settings


def _environment_values(settings_class: type[SettingsT], environ: Mapping[str, str]) -> dict[str, Any]:
    source = EnvSettingsSource(settings_class)
    source.env_vars = {name.lower(): value for name, value in environ.items() if value}
    try:
        return source()
    except SettingsError as error:
        raise ConfigError([Problem("environment", str(error))]) from error


def _good_part(
    settings_class: type[CommonSettings], values: dict[str, Any], error: ValidationError
) -> CommonSettings:
    """Build settings from the good values, so that the rules between fields can speak up as well."""
    bad = {str(part) for each in error.errors() for part in each["loc"][:1]}
    good = {name: value for name, value in values.items() if name not in bad}
    try:
        return settings_class(**good)
    except ValidationError:  # a required field is missing: the rules all services share still apply
        return CommonSettings(**good)


def _explain(settings_class: type[CommonSettings], error: ErrorDetails) -> Problem:
    name = str(error["loc"][0]) if error["loc"] else "environment"
    field = settings_class.model_fields.get(name)
    secret = field is not None and "SecretStr" in str(field.annotation)
    given = "" if error["type"] == "missing" or secret else f"{error['input']!r}: "
    wanted = f" ({field.description})" if field is not None and field.description else ""
    return Problem(name.upper(), f"{given}{error['msg']}{wanted}")


def variables(settings_class: type[CommonSettings]) -> list[Variable]:
    """List a service's environment variables, its own first, for `--help` and the README table."""
    common = CommonSettings.model_fields
    fields = settings_class.model_fields
    names = [name for name in fields if name not in common] + [name for name in fields if name in common]
    return [
        Variable(name.upper(), _show_default(fields[name].default), fields[name].description or "")
        for name in names
    ]


def _show_default(default: object) -> str:
    if default is None or repr(default) == "PydanticUndefined":
        return ""
    if isinstance(default, bool):
        return str(int(default))
    if isinstance(default, Enum):
        return str(default.value)
    if isinstance(default, tuple | list):
        return ",".join(str(each) for each in default)
    return str(default)
