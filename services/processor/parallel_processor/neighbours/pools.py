"""Connections to the three neighbours, opened from the settings and closed with the service."""

from __future__ import annotations

from dataclasses import dataclass

from contentfactory.cache.v1 import cache_pb2_grpc
from contentfactory.optimizer.v1 import optimizer_pb2_grpc
from contentfactory.tracker.v1 import tracker_pb2_grpc
from service_common.clock import Clock
from service_common.lifecycle import Lifecycle
from service_common.rpc.channel import neighbour_credentials
from service_common.rpc.client import ClientPool

from parallel_processor.capacity import BreakerReading
from parallel_processor.config import Settings
from parallel_processor.neighbours.acting import Acting
from parallel_processor.neighbours.cache import CacheNeighbour
from parallel_processor.neighbours.optimizer import OptimizerNeighbour
from parallel_processor.neighbours.replicas import CacheReplicas
from parallel_processor.neighbours.similar import SimilarNeighbour
from parallel_processor.neighbours.tracker import TrackerNeighbour


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The three neighbours.

    Attributes:
        cache: The content cache.
        similar: Its semantic tier.
        optimizer: The prompt optimizer.
        tracker: The progress tracker.
        pools: Their connections.
        acts_for_all: Whether this service may act for every tenant.
    """

    cache: CacheNeighbour
    similar: SimilarNeighbour
    optimizer: OptimizerNeighbour
    tracker: TrackerNeighbour
    pools: tuple[
        ClientPool[cache_pb2_grpc.CacheServiceAsyncStub],
        ClientPool[optimizer_pb2_grpc.OptimizerServiceAsyncStub],
        ClientPool[tracker_pb2_grpc.TrackerServiceAsyncStub],
    ]
    acts_for_all: bool

    def breakers(self) -> list[BreakerReading]:
        """Return the breakers of all replicas called so far."""
        return [
            BreakerReading(pool.name, target, state)
            for pool in self.pools
            for target, state in pool.breaker_states().items()
        ]


def open_neighbours(settings: Settings, lifecycle: Lifecycle, *, clock: Clock) -> Neighbours:
    """Prepare connections; nothing connects before the first call."""
    credentials = neighbour_credentials(settings, clock=clock)
    acts_for_all = settings.service_token is not None or settings.service_token_file is not None
    acting = Acting(has_credential=acts_for_all)
    cache = ClientPool(
        cache_pb2_grpc.CacheServiceStub,
        targets=settings.cache_targets,
        name="cache",
        credentials=credentials,
        clock=clock,
    )
    optimizer = ClientPool(
        optimizer_pb2_grpc.OptimizerServiceStub,
        targets=settings.optimizer_targets,
        name="optimizer",
        credentials=credentials,
        clock=clock,
    )
    tracker = ClientPool(
        tracker_pb2_grpc.TrackerServiceStub,
        targets=settings.tracker_targets,
        name="tracker",
        credentials=credentials,
        clock=clock,
    )
    for pool in (cache, optimizer, tracker):
        lifecycle.push(pool.name, pool.close)
    replicas = CacheReplicas(cache, acting)
    return Neighbours(
        cache=CacheNeighbour(replicas),
        similar=SimilarNeighbour(replicas),
        optimizer=OptimizerNeighbour(optimizer, acting),
        tracker=TrackerNeighbour(tracker, acting),
        pools=(cache, optimizer, tracker),
        acts_for_all=acts_for_all,
    )
