"""Checks of what runs: each service's health and version, and the breakers of the processor."""

from __future__ import annotations

import asyncio
import re
import urllib.error
import urllib.request

from contentfactory.processor.v1 import processor_pb2 as pb
from service_common.errors import ServiceError

from factory_cli.clients import Clients
from factory_cli.doctor.finding import Finding, bad, note, ok
from factory_cli.endpoints import HOST, Endpoint
from factory_cli.failures import describe
from factory_cli.settings import Settings
from factory_cli.supervision import ports
from factory_cli.supervision.readiness import Readiness, probe_service

_TIMEOUT_S = 3.0
_MEANS = {
    "cache": "pieces are made without it, equal ones are paid for again",
    "optimizer": "prompts are made from the versions last seen active, outcomes are told later",
    "tracker": "jobs go on, progress is told later",
    "model": "its calls wait, or go to a fallback model",
}
"""What an open breaker means for who waits for content, by what it guards."""

_VERSION = re.compile(rb'^build_info\{[^}]*version="([^"]*)"', re.MULTILINE)


async def check_services(settings: Settings) -> list[Finding]:
    """Look at each service's health."""
    return list(await asyncio.gather(*(_service(each, settings) for each in settings.endpoints.services)))


async def _service(endpoint: Endpoint, settings: Settings) -> Finding:
    found = await probe_service(
        endpoint.target, endpoint.spec.rpc_service, credentials=settings.credentials.channel
    )
    name, where = endpoint.spec.name, endpoint.target
    if found is Readiness.SERVING:
        version = await asyncio.to_thread(_version, endpoint) if endpoint.local else ""
        return ok(name, f"serving at {where}{version}")
    if found is Readiness.STARTING:
        return note(name, f"at {where}, not ready (starting, draining or without its store)", "try again")
    if found is Readiness.FOREIGN:
        holder = f": {ports.holder(endpoint.port)}" if endpoint.local else ""
        advice = f"set FACTORY_{name.upper()}_PORT or --base-port; with TLS, name the authority: --tls-ca"
        return bad(name, f"something else answers at {where}{holder}", advice)
    advice = "start it with: factory up" if endpoint.local else f"is FACTORY_{name.upper()} right?"
    return bad(name, f"nothing answers at {where}", advice)


def _version(endpoint: Endpoint) -> str:
    try:
        with urllib.request.urlopen(
            f"http://{HOST}:{endpoint.metrics_port}/metrics", timeout=_TIMEOUT_S
        ) as answer:
            found = _VERSION.search(answer.read())
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return ", its metrics do not answer"
    return f", version {found[1].decode()}" if found else ""


async def check_breakers(clients: Clients) -> list[Finding]:
    """Ask the processor what it can reach."""
    try:
        capacity: pb.GetCapacityResponse = await clients.processor.call(
            lambda stub: stub.GetCapacity, pb.GetCapacityRequest(), timeout_s=_TIMEOUT_S
        )
    except ServiceError as error:
        return [
            bad("capacity", describe(error, service="processor"), "factory up, or --token if it asks for one")
        ]
    busy = f"{capacity.active_calls} of {capacity.concurrency_limit} model calls in use"
    explained = f"; {capacity.explanation}" if capacity.explanation else ""
    return [
        ok("capacity", busy + explained),
        *(_lane(each) for each in capacity.lanes),
        *(_breaker(each) for each in capacity.breakers),
    ]


def _lane(lane: pb.GetCapacityResponse.Lane) -> Finding:
    """Say how many calls a model's endpoint bears, and what holds them there."""
    subject = f"calls to {lane.model}"
    if lane.limit == 0:
        return note(subject, lane.explanation, "nothing to do here: the processor asks again by itself")
    return ok(subject, f"{lane.in_flight} of {lane.limit} under way, {lane.waiting} wait; {lane.explanation}")


def _breaker(breaker: pb.GetCapacityResponse.Breaker) -> Finding:
    subject = f"processor to {breaker.name}"
    if breaker.state == pb.BREAKER_STATE_CLOSED:
        return ok(subject, f"calls go through to {breaker.target}")
    state = pb.BreakerState.Name(breaker.state).removeprefix("BREAKER_STATE_").lower().replace("_", " ")
    meaning = f": {_MEANS[breaker.name]}" if breaker.name in _MEANS else ""
    advice = f"is {breaker.name} up? the breaker closes by itself once it answers"
    return note(subject, f"breaker is {state} for {breaker.target}{meaning}", advice)
