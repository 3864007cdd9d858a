"""What every part of the processor is put together with."""

from __future__ import annotations

import os
import random
import socket
from dataclasses import dataclass

from service_common.clock import Clock
from service_common.lifecycle import Lifecycle
from service_common.storage import DocumentStore

from parallel_processor.composition.pacing import Pacing
from parallel_processor.config import Settings
from parallel_processor.job_costs import JobCosts
from parallel_processor.neighbours.pools import Neighbours
from parallel_processor.repository import (
    BellRepository,
    BudgetRepository,
    ContentVersionRepository,
    JobRepository,
    MeasureRepository,
    RequestRepository,
    ShardRepository,
    VersionRepository,
)


@dataclass(frozen=True, slots=True)
class Stores:
    """Where the processor's documents are, by kind."""

    jobs: JobRepository
    shards: ShardRepository
    requests: RequestRepository
    versions: VersionRepository
    content_versions: ContentVersionRepository
    bell: BellRepository
    budgets: BudgetRepository
    measures: MeasureRepository

    @staticmethod
    def over(store: DocumentStore) -> Stores:
        """Return them all over one store."""
        return Stores(
            JobRepository(store),
            ShardRepository(store),
            RequestRepository(store),
            VersionRepository(store),
            ContentVersionRepository(store),
            BellRepository(store, worker=worker()),
            BudgetRepository(store),
            MeasureRepository(store),
        )


@dataclass(frozen=True, slots=True)
class Base:
    """What every part is put together with.

    Attributes:
        settings: What was set.
        lifecycle: Closes what is opened, and ends what is set going.
        stores: Where documents are.
        neighbours: The three other services.
        pace: How often to write and look.
        costs: Operations on the store, by job.
        clock: The time.
        rng: For jitter.
    """

    settings: Settings
    lifecycle: Lifecycle
    stores: Stores
    neighbours: Neighbours
    pace: Pacing
    costs: JobCosts
    clock: Clock
    rng: random.Random


def worker() -> str:
    """Return this process's name."""
    return f"{socket.gethostname()}/{os.getpid()}"
