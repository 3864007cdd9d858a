"""Every RPC of every contract is implemented by its service's servicer itself."""

from __future__ import annotations

import inspect
from importlib import import_module

import pytest

from tests.contract.contracts import SERVICES, Rpc, rpcs, service_descriptor
from tests.support.processes import MODULES


def servicer_class(service: str) -> type[object]:
    """Return the one class in a service's servicer module that implements its contract."""
    grpc_module = import_module(f"contentfactory.{service}.v1.{service}_pb2_grpc")
    base = getattr(grpc_module, f"{service_descriptor(service).name}Servicer")
    module = import_module(f"{MODULES[service]}.servicer")
    found = [
        each
        for _, each in inspect.getmembers(module, inspect.isclass)
        if issubclass(each, base) and each is not base
    ]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("rpc", [rpc for service in SERVICES for rpc in rpcs(service)], ids=str)
def test_every_rpc_is_implemented(rpc: Rpc) -> None:
    """The servicer has the method itself: the generated base, which answers UNIMPLEMENTED, is never asked."""
    own = vars(servicer_class(rpc.service)).get(rpc.method.name)
    assert own is not None, f"{rpc} is inherited from the generated base"
    streams = inspect.isasyncgenfunction(own)
    assert streams is rpc.method.server_streaming or inspect.iscoroutinefunction(own)


@pytest.mark.parametrize("service", SERVICES)
def test_a_servicer_offers_nothing_beyond_its_contract(service: str) -> None:
    """Every public method of a servicer is an RPC, so that nothing half-made looks served."""
    public = {name for name in vars(servicer_class(service)) if not name.startswith("_")}
    assert public == {rpc.method.name for rpc in rpcs(service)}
