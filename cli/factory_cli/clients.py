"""The four services as this command calls them; errors name the service that answered."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from contentfactory.cache.v1.cache_pb2_grpc import CacheServiceStub
from contentfactory.optimizer.v1.optimizer_pb2_grpc import OptimizerServiceStub
from contentfactory.processor.v1.processor_pb2_grpc import ProcessorServiceStub
from contentfactory.tracker.v1.tracker_pb2_grpc import TrackerServiceStub
from service_common.config import ConfigError
from service_common.rpc.channel import Credentials
from service_common.rpc.client import ClientPool

from factory_cli.endpoints import Endpoints
from factory_cli.failures import CommandError


@dataclass(frozen=True, slots=True)
class Clients:
    """One pool per service; nothing connects before the first call.

    Attributes:
        cache: The content cache.
        optimizer: The prompt optimizer.
        processor: The parallel processor.
        tracker: The progress tracker.
    """

    cache: ClientPool[Any]
    optimizer: ClientPool[Any]
    processor: ClientPool[Any]
    tracker: ClientPool[Any]


@asynccontextmanager
async def connect(endpoints: Endpoints, credentials: Credentials) -> AsyncIterator[Clients]:
    """Open the pools, and close them at the end.

    Raises:
        CommandError: If a token would cross a network in plaintext.
    """

    def pool(name: str, stub: Callable[[grpc.aio.Channel], Any]) -> ClientPool[Any]:
        return ClientPool(stub, targets=endpoints.of(name).target, name=name, credentials=credentials)

    clients = Clients(
        cache=pool("cache", CacheServiceStub),
        optimizer=pool("optimizer", OptimizerServiceStub),
        processor=pool("processor", ProcessorServiceStub),
        tracker=pool("tracker", TrackerServiceStub),
    )
    try:
        yield clients
    except ConfigError as error:
        raise CommandError(
            "; ".join(
                f"{each.variable.replace('TLS_CA', 'FACTORY_TLS_CA')}: {each.text}" for each in error.problems
            )
        ) from error
    finally:
        for each in (clients.cache, clients.optimizer, clients.processor, clients.tracker):
            await each.close()
