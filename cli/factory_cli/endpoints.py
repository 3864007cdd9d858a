"""Where the four services are: from flags, else the environment, else this machine's usual ports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from factory_cli.failures import CommandError

HOST = "127.0.0.1"
MODEL = "model"
DEFAULT_MODEL_PORT = 8089
_METRICS_OFFSET = 4
_MODEL_OFFSET = 8
_MAX_PORT = 65535


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """One of the four services, as everyone knows it.

    Attributes:
        name: Its short name; also its key in settings.
        module: What `python -m` runs.
        rpc_service: The name it has for grpc.health.v1.
        port: Its usual RPC port.
        metrics_port: Its usual metrics port.
    """

    name: str
    module: str
    rpc_service: str
    port: int
    metrics_port: int


SERVICES = (
    ServiceSpec("cache", "content_cache", "contentfactory.cache.v1.CacheService", 50051, 9101),
    ServiceSpec("optimizer", "prompt_optimizer", "contentfactory.optimizer.v1.OptimizerService", 50052, 9102),
    ServiceSpec(
        "processor", "parallel_processor", "contentfactory.processor.v1.ProcessorService", 50053, 9103
    ),
    ServiceSpec("tracker", "progress_tracker", "contentfactory.tracker.v1.TrackerService", 50054, 9104),
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one service is.

    Attributes:
        spec: Which service.
        target: `host:port` to call.
        metrics_port: Its metrics port, where it is ours to start.
        local: Whether it is ours to start: nobody named an address for it.
    """

    spec: ServiceSpec
    target: str
    metrics_port: int
    local: bool

    @property
    def port(self) -> int:
        """The port of the target."""
        return int(self.target.rpartition(":")[2])


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where everything is.

    Attributes:
        services: The four, in the order of `SERVICES`.
        model_port: Where the embedded model listens when it is ours to start.
    """

    services: tuple[Endpoint, ...]
    model_port: int

    def of(self, name: str) -> Endpoint:
        """Return one service's endpoint."""
        return next(each for each in self.services if each.spec.name == name)


def resolve(
    environ: Mapping[str, str],
    *,
    targets: Mapping[str, str | None] | None = None,
    base_port: int | None = None,
) -> Endpoints:
    """Work out where everything is.

    Args:
        environ: Holds FACTORY_<SERVICE> (host:port), FACTORY_<SERVICE>_PORT, FACTORY_<SERVICE>_METRICS_PORT,
            FACTORY_MODEL_PORT and FACTORY_BASE_PORT; an empty value counts as unset.
        targets: Addresses given as flags, by service name; they win.
        base_port: Moves every port of ours: services at +0 to +3, metrics at +4 to +7, the model at +8.

    Raises:
        CommandError: Naming every address or port that is none.
    """
    problems: list[str] = []
    base = base_port or _port(environ, "FACTORY_BASE_PORT", 0, problems) or None
    found = tuple(
        _endpoint(spec, environ, (targets or {}).get(spec.name), _shifted(spec, base, index), problems)
        for index, spec in enumerate(SERVICES)
    )
    default_model = base + _MODEL_OFFSET if base else DEFAULT_MODEL_PORT
    model_port = _port(environ, "FACTORY_MODEL_PORT", default_model, problems)
    if base is not None and not 1 <= base <= _MAX_PORT - _MODEL_OFFSET:
        problems.append(f"the base port must be 1 to {_MAX_PORT - _MODEL_OFFSET}, not {base}")
    if problems:
        raise CommandError("\n".join(problems))
    return Endpoints(found, model_port)


def _shifted(spec: ServiceSpec, base: int | None, index: int) -> tuple[int, int]:
    if base is None:
        return spec.port, spec.metrics_port
    return base + index, base + _METRICS_OFFSET + index


def _endpoint(
    spec: ServiceSpec,
    environ: Mapping[str, str],
    flag: str | None,
    ports: tuple[int, int],
    problems: list[str],
) -> Endpoint:
    variable = f"FACTORY_{spec.name.upper()}"
    named = flag or environ.get(variable) or None
    port = _port(environ, f"{variable}_PORT", ports[0], problems)
    metrics_port = _port(environ, f"{variable}_METRICS_PORT", ports[1], problems)
    if named is None:
        return Endpoint(spec, f"{HOST}:{port}", metrics_port, local=True)
    host, _, text = named.rpartition(":")
    if not host or not _is_port(text):
        problems.append(f"{variable} (--{spec.name}): write host:port, not {named!r}")
        named = f"{HOST}:{port}"
    return Endpoint(spec, named, metrics_port, local=False)


def _port(environ: Mapping[str, str], variable: str, default: int, problems: list[str]) -> int:
    text = environ.get(variable)
    if not text:
        return default
    if not _is_port(text):
        problems.append(f"{variable} must be a port, 1 to {_MAX_PORT}, not {text!r}")
        return default
    return int(text)


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 1 <= int(text) <= _MAX_PORT
