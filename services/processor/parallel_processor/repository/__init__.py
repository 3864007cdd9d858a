"""The processor's documents: jobs, items, shards, results, requests, template versions and the bell."""

from parallel_processor.repository.bell import BellRepository
from parallel_processor.repository.budgets import BudgetRepository
from parallel_processor.repository.content_versions import ContentVersionRepository
from parallel_processor.repository.jobs import JobRepository
from parallel_processor.repository.measures import MeasureRepository
from parallel_processor.repository.requests import RequestRepository
from parallel_processor.repository.schema import SCHEMA
from parallel_processor.repository.shards import Claim, Look, ShardRepository
from parallel_processor.repository.versions import VersionRepository

__all__ = [
    "SCHEMA",
    "BellRepository",
    "BudgetRepository",
    "Claim",
    "ContentVersionRepository",
    "JobRepository",
    "Look",
    "MeasureRepository",
    "RequestRepository",
    "ShardRepository",
    "VersionRepository",
]
