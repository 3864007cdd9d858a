"""Every collection and every query of the processor, declared once."""

from __future__ import annotations

from service_common.storage import Collection, Direction, Key, Order, QueryShape, Schema

JOBS = "jobs"
ITEM_CHUNKS = "item_chunks"
SHARDS = "shards"
RESULTS = "results"
REQUESTS = "requests"
ACTIVE_VERSIONS = "active_versions"
BUDGETS = "budgets"
MEASURES = "measures"
SERVICE = "service"

# No credential's tenant can have this name: theirs begin with a letter or digit.
_SERVICE_TENANT = "_"

JOBS_BY_TIME = QueryShape("jobs_by_time", JOBS, order=(Order("create_time", Direction.DESCENDING),))
JOBS_BY_STATE = QueryShape(
    "jobs_by_state", JOBS, equals=("state",), order=(Order("create_time", Direction.DESCENDING),)
)
JOBS_UNREPORTED = QueryShape("jobs_unreported", JOBS, equals=("unreported",), all_tenants=True)
JOBS_OPEN = QueryShape(
    "jobs_open",
    JOBS,
    equals=("open",),
    order=(Order("stirred", Direction.DESCENDING),),
    all_tenants=True,
)
JOBS_DUE = QueryShape("jobs_due", JOBS, order=(Order("attention_at"),), all_tenants=True)
JOBS_BY_FINISH = QueryShape("jobs_by_finish", JOBS, order=(Order("finish_time"),), all_tenants=True)
SHARDS_CLAIMABLE = QueryShape(
    "shards_claimable",
    SHARDS,
    equals=("claimable",),
    order=(Order("priority", Direction.DESCENDING), Order("claimable_at")),
    all_tenants=True,
)
SHARDS_CLAIMABLE_OF_JOB = QueryShape(
    "shards_claimable_of_job", SHARDS, equals=("job_id", "claimable"), order=(Order("claimable_at"),)
)
SHARDS_BY_PHASE = QueryShape("shards_by_phase", SHARDS, equals=("phase",), all_tenants=True)
SHARDS_UNREPORTED = QueryShape("shards_unreported", SHARDS, equals=("phase", "unreported"), all_tenants=True)
SHARDS_OF_JOB = QueryShape("shards_of_job", SHARDS, equals=("job_id", "phase"), order=(Order("number"),))
SHARDS_OF_TENANT = QueryShape("shards_of_tenant", SHARDS, equals=("phase",))
VERSIONS_BY_TIME = QueryShape(
    "versions_by_time", RESULTS, order=(Order("create_time", Direction.DESCENDING),)
)
VERSIONS_OF_ITEM = QueryShape(
    "versions_of_item",
    RESULTS,
    contains="item_ids",
    order=(Order("create_time", Direction.DESCENDING),),
)
VERSIONS_OF_CONTENT_TYPE = QueryShape(
    "versions_of_content_type",
    RESULTS,
    contains="content_types",
    order=(Order("create_time", Direction.DESCENDING),),
)
VERSIONS_OF_GRADE = QueryShape(
    "versions_of_grade",
    RESULTS,
    contains="grades",
    order=(Order("create_time", Direction.DESCENDING),),
)
ALL_ACTIVE_VERSIONS = QueryShape("all_active_versions", ACTIVE_VERSIONS, all_tenants=True)

SCHEMA = Schema(
    collections=(
        Collection(JOBS),
        Collection(ITEM_CHUNKS),
        Collection(SHARDS),
        Collection(RESULTS),
        Collection(REQUESTS, ttl_field="expire_time"),
        Collection(ACTIVE_VERSIONS),
        Collection(BUDGETS),
        Collection(MEASURES),
        Collection(SERVICE),
    ),
    shapes=(
        JOBS_BY_TIME,
        JOBS_BY_STATE,
        JOBS_UNREPORTED,
        JOBS_OPEN,
        JOBS_DUE,
        JOBS_BY_FINISH,
        SHARDS_CLAIMABLE,
        SHARDS_CLAIMABLE_OF_JOB,
        SHARDS_BY_PHASE,
        SHARDS_UNREPORTED,
        SHARDS_OF_JOB,
        SHARDS_OF_TENANT,
        VERSIONS_BY_TIME,
        VERSIONS_OF_ITEM,
        VERSIONS_OF_CONTENT_TYPE,
        VERSIONS_OF_GRADE,
        ALL_ACTIVE_VERSIONS,
    ),
    name="processor",
)

BELL_KEY = Key(SERVICE, _SERVICE_TENANT, "bell")


def job_key(tenant: str, job_id: str) -> Key:
    """Where a job is."""
    return Key(JOBS, tenant, job_id)


def item_chunk_key(tenant: str, job_id: str, chunk: int) -> Key:
    """Where a chunk of a job's items is."""
    return Key(ITEM_CHUNKS, tenant, f"{job_id}.{chunk}")


def shard_key(tenant: str, job_id: str, number: int) -> Key:
    """Where a shard is."""
    return Key(SHARDS, tenant, f"{job_id}.{number}")


def budget_key(tenant: str) -> Key:
    """Where a tenant's budget is."""
    return Key(BUDGETS, tenant, "budget")


def measures_key(tenant: str) -> Key:
    """Where what a tenant's calls took is."""
    return Key(MEASURES, tenant, "measures")


def result_chunk_key(tenant: str, chunk_id: str) -> Key:
    """Where a chunk of results is."""
    return Key(RESULTS, tenant, chunk_id)
