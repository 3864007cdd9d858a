"""What each local process is: its command, its environment, its log. Nothing is started here."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from factory_cli.embedded_model import OUTPUT_TOKENS, SLOTS
from factory_cli.endpoints import HOST, MODEL, Endpoint, Endpoints
from factory_cli.model.files import MODEL_NAME

# The order of stopping: who calls others goes first, who is called by all goes last.
_STOP_RANKS = {"processor": 0, "optimizer": 1, "cache": 1, "tracker": 1, MODEL: 2}
_NEIGHBOURS = ("cache", "optimizer", "tracker")
_EMBEDDED_LIMITS = {
    "PROCESSOR_MAX_CONCURRENCY": SLOTS,
    "PROCESSOR_MAX_OUTPUT_TOKENS": OUTPUT_TOKENS,
    # So low a limit cuts many texts, and a second run is to show that nothing is made twice.
    "PROCESSOR_CACHE_TRUNCATED": 1,
}
"""What the embedded model can do, as settings of the processor; what somebody set wins."""


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One local process.

    Attributes:
        name: What people call it.
        command: What to run.
        port: Where it will listen.
        port_setting: The variable that moves that port.
        log_path: Where its output goes.
        environ: Its whole environment.
        stop_rank: Lower ones are stopped, and gone, before higher ones are asked.
        ends_with_parent: Whether it watches its standard input and leaves when that closes.
    """

    name: str
    command: tuple[str, ...]
    port: int
    port_setting: str
    log_path: Path
    environ: Mapping[str, str] = field(repr=False)  # holds credentials
    stop_rank: int = 0
    ends_with_parent: bool = False


def wants_embedded_model(environ: Mapping[str, str]) -> bool:
    """Tell whether nobody named a model endpoint."""
    return not environ.get("PROCESSOR_MODEL_URL")


def uses_embedded_model(endpoints: Endpoints, environ: Mapping[str, str]) -> bool:
    """Tell whether pieces come from the embedded model: no endpoint was named, and the processor is ours."""
    return wants_embedded_model(environ) and endpoints.of("processor").local


def model_url(endpoints: Endpoints) -> str:
    """Return the base URL of the embedded model."""
    return f"http://{HOST}:{endpoints.model_port}/v1"


def model_spec(endpoints: Endpoints, *, data_dir: Path, environ: Mapping[str, str]) -> ProcessSpec:
    """Describe the embedded model's process."""
    return ProcessSpec(
        name=MODEL,
        command=(sys.executable, "-m", "factory_cli.embedded_model", "--port", str(endpoints.model_port)),
        port=endpoints.model_port,
        port_setting="FACTORY_MODEL_PORT",
        log_path=_log_path(data_dir, MODEL),
        environ=dict(environ),
        stop_rank=_STOP_RANKS[MODEL],
        ends_with_parent=True,
    )


def service_spec(
    endpoint: Endpoint, endpoints: Endpoints, *, data_dir: Path, environ: Mapping[str, str]
) -> ProcessSpec:
    """Describe the process of one service: its environment is kept, ports and stores are ours."""
    own = {
        "HOST": HOST,
        "PORT": str(endpoint.port),
        "METRICS_PORT": str(endpoint.metrics_port),
        "STORE_URL": _store_url(endpoint, data_dir, environ),
    }
    if endpoint.spec.name == "processor":
        own |= _processor_environ(endpoints, environ)
    return ProcessSpec(
        name=endpoint.spec.name,
        command=(sys.executable, "-m", endpoint.spec.module),
        port=endpoint.port,
        port_setting=f"FACTORY_{endpoint.spec.name.upper()}_PORT",
        log_path=_log_path(data_dir, endpoint.spec.name),
        environ={**environ, **own},
        stop_rank=_STOP_RANKS[endpoint.spec.name],
    )


def store_path(name: str, data_dir: Path) -> Path:
    """Return the file in which a local service keeps its documents."""
    return data_dir / f"{name}.db"


def _store_url(endpoint: Endpoint, data_dir: Path, environ: Mapping[str, str]) -> str:
    given = environ.get("STORE_URL", "")
    if given and not given.startswith("sqlite:"):
        return given
    return f"sqlite:///{store_path(endpoint.spec.name, data_dir).resolve()}"  # one file per service


def _processor_environ(endpoints: Endpoints, environ: Mapping[str, str]) -> dict[str, str]:
    own = {
        f"{name.upper()}_TARGETS": environ.get(f"{name.upper()}_TARGETS") or endpoints.of(name).target
        for name in _NEIGHBOURS
    }
    if wants_embedded_model(environ):
        own["PROCESSOR_MODEL_URL"] = model_url(endpoints)
        own["PROCESSOR_MODEL"] = environ.get("PROCESSOR_MODEL") or MODEL_NAME
        own |= {name: environ.get(name) or str(limit) for name, limit in _EMBEDDED_LIMITS.items()}
    return own


def _log_path(data_dir: Path, name: str) -> Path:
    return data_dir / "logs" / f"{name}.log"
