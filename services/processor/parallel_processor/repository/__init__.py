"""The processor's documents: jobs, items, shards, results, requests and template versions."""

from parallel_processor.repository.content_versions import ContentVersionRepository
from parallel_processor.repository.jobs import JobRepository
from parallel_processor.repository.requests import RequestRepository
from parallel_processor.repository.schema import SCHEMA
from parallel_processor.repository.shards import Claim, ShardRepository
from parallel_processor.repository.versions import VersionRepository

__all__ = [
    "SCHEMA",
    "Claim",
    "ContentVersionRepository",
    "JobRepository",
    "RequestRepository",
    "ShardRepository",
    "VersionRepository",
]
