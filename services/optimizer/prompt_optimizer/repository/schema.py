"""Every collection and every query of the optimizer, declared once."""

from __future__ import annotations

from hashlib import sha256

from service_common.storage import Collection, Direction, Key, Order, QueryShape, Schema

from prompt_optimizer.templates.template import Family, VersionKey

TEMPLATES = "templates"
VERSIONS = "versions"
REQUESTS = "requests"
STATISTICS = "statistics"
RECORDS = "quality_records"
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

# Each document is a page of records; its lists say what is on it.
_NEWEST = (Order("create_time", Direction.DESCENDING),)
RECORDS_BY_TIME = QueryShape("records_by_time", RECORDS, order=_NEWEST)
RECORDS_OF_VERSION = QueryShape("records_of_version", RECORDS, contains="versions", order=_NEWEST)
RECORDS_OF_CONTENT_TYPE = QueryShape(
    "records_of_content_type", RECORDS, contains="content_types", order=_NEWEST
)
RECORDS_OF_GRADE = QueryShape("records_of_grade", RECORDS, contains="grades", order=_NEWEST)
RECORDS_OF_PART = QueryShape("records_of_part", RECORDS, contains="parts")

SCHEMA = Schema(
    collections=(
        Collection(TEMPLATES, ttl_field="expire_time"),
        Collection(VERSIONS),
        Collection(REQUESTS, ttl_field="expire_time"),
        Collection(STATISTICS),
        Collection(RECORDS, ttl_field="expire_time"),
        Collection(SERVICE),
    ),
    shapes=(
        TEMPLATES_BY_ID,
        TEMPLATES_CHANGED,
        TEMPLATES_BY_STATE,
        VERSIONS_OF_FAMILY,
        RECORDS_BY_TIME,
        RECORDS_OF_VERSION,
        RECORDS_OF_CONTENT_TYPE,
        RECORDS_OF_GRADE,
        RECORDS_OF_PART,
    ),
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


def version_name(version: VersionKey) -> str:
    """What names a version for good."""
    return f"{family_name(version.family)}.{version.version}"


def version_key(tenant: str, version: VersionKey) -> Key:
    """Where a version is."""
    return Key(VERSIONS, tenant, version_name(version))


def statistics_key(tenant: str, version: VersionKey) -> Key:
    """Where a version's statistics are."""
    return Key(STATISTICS, tenant, version_name(version))


def request_key(tenant: str, method: str, request_id: str) -> Key:
    """Where the answer to a request_id is."""
    return Key(REQUESTS, tenant, f"{method}.{sha256(request_id.encode()).hexdigest()}")


def records_key(tenant: str, page_id: str) -> Key:
    """Where a page of quality records is."""
    return Key(RECORDS, tenant, page_id)
