"""Where services keep documents: one port, one contract, several backends that keep it alike."""

from service_common.storage.documents import (
    MAX_COMMIT_BYTES,
    MAX_DOCUMENT_BYTES,
    MAX_WRITES,
    SAFE_COMMIT_BYTES,
    Create,
    Decision,
    Delete,
    Document,
    Key,
    Set,
    Update,
    Value,
    Write,
)
from service_common.storage.opening import is_hosted, open_store
from service_common.storage.reaching import reached
from service_common.storage.shapes import (
    MAX_PAGE_SIZE,
    Collection,
    Direction,
    Order,
    Page,
    Query,
    QueryShape,
    Schema,
)
from service_common.storage.store import DocumentStore, Feed

__all__ = [
    "MAX_COMMIT_BYTES",
    "MAX_DOCUMENT_BYTES",
    "MAX_PAGE_SIZE",
    "MAX_WRITES",
    "SAFE_COMMIT_BYTES",
    "Collection",
    "Create",
    "Decision",
    "Delete",
    "Direction",
    "Document",
    "DocumentStore",
    "Feed",
    "Key",
    "Order",
    "Page",
    "Query",
    "QueryShape",
    "Schema",
    "Set",
    "Update",
    "Value",
    "Write",
    "is_hosted",
    "open_store",
    "reached",
]
