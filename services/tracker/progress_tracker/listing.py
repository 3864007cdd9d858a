"""Lists of snapshots, page by page: what no index answers is filtered here, so pages may be short."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from service_common.errors import ErrorKind, ServiceError, invalid_field

from progress_tracker.job_filter import JobFilter
from progress_tracker.progress import JobProgress, ProgressPage

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000
MAX_PAGE_BYTES = 1024 * 1024
MAX_SCANNED = 1000
_READ_AT_ONCE = 100
_DIGEST_BYTES = 8


class Listable(Protocol):
    """Where snapshots are listed."""

    async def list(
        self, tenant: str, *, user: str, state: int, limit: int, cursor: str | None
    ) -> ProgressPage:
        """Return a page of a tenant's snapshots, the latest created first."""
        ...


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of snapshots.

    Attributes:
        progress: The snapshots, encoded.
        next_page_token: Where the next page begins; empty at the end.
    """

    progress: tuple[bytes, ...]
    next_page_token: str


async def list_progress(
    store: Listable,
    tenant: str,
    *,
    wanted: JobFilter,
    page_size: int,
    page_token: str,
    encode: Callable[[JobProgress], bytes],
) -> Listing:
    """Return a page of the jobs that match, the latest created first.

    Args:
        store: Where they are.
        tenant: Whose.
        wanted: Which.
        page_size: The most to return; 0 for the default.
        page_token: Of the page before, under the same filter.
        encode: Makes the bytes that are sent, whose size bounds the page.

    Raises:
        ServiceError: INVALID_ARGUMENT naming the bad field.
    """
    if not 0 <= page_size <= MAX_PAGE_SIZE:
        raise invalid_field("page_size", f"must be 0 to {MAX_PAGE_SIZE}")
    left = page_size or DEFAULT_PAGE_SIZE
    cursor = _read_token(page_token, wanted)
    found: list[bytes] = []
    size = scanned = 0
    while True:
        page = await _read(store, tenant, wanted, min(left, _READ_AT_ONCE), cursor)
        encoded = [encode(each) for each in page.progress if wanted.matches(each)]
        found.extend(encoded)
        left -= len(encoded)
        size += sum(map(len, encoded))
        scanned += len(page.progress)
        cursor = page.next_cursor
        if cursor is None or left <= 0 or size >= MAX_PAGE_BYTES or scanned >= MAX_SCANNED:
            return Listing(tuple(found), _make_token(cursor, wanted))


async def _read(
    store: Listable, tenant: str, wanted: JobFilter, limit: int, cursor: str | None
) -> ProgressPage:
    try:
        return await store.list(tenant, user=wanted.user, state=int(wanted.state), limit=limit, cursor=cursor)
    except ServiceError as error:
        if error.kind is ErrorKind.INVALID_ARGUMENT and cursor is not None:
            raise _bad_token() from error
        raise


def _make_token(cursor: str | None, wanted: JobFilter) -> str:
    if cursor is None:
        return ""
    return base64.urlsafe_b64encode(_digest(wanted) + cursor.encode()).decode()


def _read_token(token: str, wanted: JobFilter) -> str | None:
    if not token:
        return None
    try:
        content = base64.b64decode(token, altchars=b"-_", validate=True)
        digest, cursor = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:].decode()
    except (binascii.Error, ValueError) as error:
        raise _bad_token() from error
    if digest != _digest(wanted) or not cursor:
        raise _bad_token()
    return cursor


def _digest(wanted: JobFilter) -> bytes:
    return hashlib.blake2b(repr(wanted).encode(), digest_size=_DIGEST_BYTES).digest()


def _bad_token() -> ServiceError:
    return invalid_field("page_token", "must be the next_page_token of a page under the same filter")
