"""What runs already and what is ours to start; a port held by something else is said clearly."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc

from factory_cli import exit_codes
from factory_cli.endpoints import MODEL, Endpoint, Endpoints
from factory_cli.failures import CommandError
from factory_cli.model import files
from factory_cli.supervision import ports
from factory_cli.supervision.readiness import Readiness, probe_model, probe_service
from factory_cli.supervision.specs import (
    ProcessSpec,
    model_spec,
    model_url,
    service_spec,
    uses_embedded_model,
)
from factory_cli.supervision.supervisor import Probe


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done.

    Attributes:
        running: Names of what runs already, with its address.
        to_start: What is to be started, each with its probe.
    """

    running: Mapping[str, str]
    to_start: tuple[tuple[ProcessSpec, Probe], ...]


async def make_plan(
    endpoints: Endpoints,
    *,
    data_dir: Path,
    environ: Mapping[str, str],
    credentials: grpc.ChannelCredentials | None = None,
) -> Plan:
    """Look at every address and decide what to start.

    Raises:
        CommandError: If something else holds a port we need, an address that somebody named does not answer,
            or the embedded model is wanted and not installed.
    """
    found = await asyncio.gather(
        *(
            probe_service(each.target, each.spec.rpc_service, credentials=credentials)
            for each in endpoints.services
        )
    )
    running: dict[str, str] = {}
    to_start: list[tuple[ProcessSpec, Probe]] = []
    problems: list[str] = []
    if uses_embedded_model(endpoints, environ):
        await _plan_model(
            endpoints,
            data_dir=data_dir,
            environ=environ,
            running=running,
            to_start=to_start,
            problems=problems,
        )
    for endpoint, readiness in zip(endpoints.services, found, strict=True):
        if readiness in {Readiness.SERVING, Readiness.STARTING}:
            running[endpoint.spec.name] = endpoint.target
        elif problem := _obstacle(endpoint, readiness):
            problems.append(problem)
        else:
            spec = service_spec(endpoint, endpoints, data_dir=data_dir, environ=environ)
            to_start.append((spec, service_probe(endpoint, credentials)))
    if problems:
        raise CommandError("\n".join(problems), exit_codes.UNREACHABLE)
    return Plan(running, tuple(to_start))


def service_probe(endpoint: Endpoint, credentials: grpc.ChannelCredentials | None) -> Probe:
    """Return what asks one service whether it serves."""
    return lambda: probe_service(endpoint.target, endpoint.spec.rpc_service, credentials=credentials)


async def _plan_model(
    endpoints: Endpoints,
    *,
    data_dir: Path,
    environ: Mapping[str, str],
    running: dict[str, str],
    to_start: list[tuple[ProcessSpec, Probe]],
    problems: list[str],
) -> None:
    url = model_url(endpoints)
    readiness = await probe_model(url)
    if readiness in {Readiness.SERVING, Readiness.STARTING}:
        running[MODEL] = url
        return
    found = files.find()
    if not found.complete:
        problems.append(files.explain_missing(found))
    elif readiness is Readiness.FOREIGN or ports.is_taken(endpoints.model_port):
        problems.append(_taken(MODEL, endpoints.model_port, "FACTORY_MODEL_PORT"))
    else:
        spec = model_spec(endpoints, data_dir=data_dir, environ=environ)
        to_start.append((spec, lambda: probe_model(url)))


def _obstacle(endpoint: Endpoint, readiness: Readiness) -> str | None:
    name = endpoint.spec.name
    if not endpoint.local:
        return f"{name} at {endpoint.target}: {readiness.value}; it was named, so it is not started here"
    variable = f"FACTORY_{name.upper()}"
    if readiness is Readiness.FOREIGN or ports.is_taken(endpoint.port):
        return _taken(name, endpoint.port, f"{variable}_PORT")
    if ports.is_taken(endpoint.metrics_port):
        return _taken(f"metrics of {name}", endpoint.metrics_port, f"{variable}_METRICS_PORT")
    return None


def _taken(what: str, port: int, variable: str) -> str:
    return (
        f"port {port} ({what}) is in use by {ports.holder(port)}; "
        f"choose another with {variable}, or move all with --base-port"
    )
