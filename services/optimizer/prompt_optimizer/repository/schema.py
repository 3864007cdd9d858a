"""Every collection and every query of the optimizer, declared once."""

from __future__ import annotations

from hashlib import sha256

from service_common.storage import Collection, Direction, Key, Order, QueryShape, Schema

from prompt_optimizer.templates.template import Family, VersionKey

TEMPLATES = "templates"
VERSIONS = "versions"
REQUESTS = "requests"
STATISTICS = "statistics"
BATCHES = "batches"
SERVICE = "service"

LIVE = "live"
DELETING = "deleting"
DELETED = "deleted"

# No credential's tenant can have this name: theirs begin with a letter or digit.
_SERVICE_TENANT = "_"

TEMPLATES_BY_ID = QueryShape("templates_by_id", TEMPLATES, equals=("state",), order=(Order("template_id"),))
TEMPLATES_CHANGED = QueryShape("templates_changed", TEMPLATES, order=(Order("revision"),), all_tenants=True)
TEMPLATES_BY_STATE = QueryShape("templates_by_state", TEMPLATES, equals=("state",), all_tenants=True)
VERSIONS_OF_FAMILY = QueryShape(
    "versions_of_family", VERSIONS, equals=("family",), order=(Order("version", Direction.DESCENDING),)
)

SCHEMA = Schema(
    collections=(
        Collection(TEMPLATES, ttl_field="expire_time"),
        Collection(VERSIONS),
        Collection(REQUESTS, ttl_field="expire_time"),
        Collection(STATISTICS),
        Collection(BATCHES, ttl_field="expire_time"),
        Collection(SERVICE),
    ),
    shapes=(TEMPLATES_BY_ID, TEMPLATES_CHANGED, TEMPLATES_BY_STATE, VERSIONS_OF_FAMILY),
    name="optimizer",
)

REVISION_KEY = Key(SERVICE, _SERVICE_TENANT, "revision")
SECRET_KEY = Key(SERVICE, _SERVICE_TENANT, "decision_key")


def template_key(tenant: str, template_id: str) -> Key:
    """Where a template is, or was."""
    return Key(TEMPLATES, tenant, template_id)


def family_name(family: Family) -> str:
    """What all versions of one life of a template have in common."""
    return f"{family.template_id}.{family.born}"


def version_key(tenant: str, version: VersionKey) -> Key:
    """Where a version is."""
    return Key(VERSIONS, tenant, f"{family_name(version.family)}.{version.version}")


def statistics_key(tenant: str, version: VersionKey) -> Key:
    """Where a version's statistics are."""
    return Key(STATISTICS, tenant, f"{family_name(version.family)}.{version.version}")


def request_key(tenant: str, method: str, request_id: str) -> Key:
    """Where the answer to a request_id is."""
    return Key(REQUESTS, tenant, f"{method}.{sha256(request_id.encode()).hexdigest()}")


def batch_key(tenant: str, batch_id: str) -> Key:
    """Where it is written that a batch was counted."""
    return Key(BATCHES, tenant, sha256(batch_id.encode()).hexdigest())
