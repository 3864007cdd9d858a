"""Templates as documents: every change of one is a transaction with a revision of its own.

The revision document counts changes over all tenants, so a process that remembers the last revision it has
seen can ask for exactly what changed since. A deleted template leaves a tombstone for `TOMBSTONE_LIFE`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import timedelta
from typing import Any

from service_common.clock import Clock
from service_common.errors import already_exists
from service_common.storage import (
    Create,
    Decision,
    Delete,
    Document,
    DocumentStore,
    Feed,
    Query,
    Set,
    Value,
    Write,
)

from prompt_optimizer.repository import records, schema
from prompt_optimizer.templates.source import TemplateVersion
from prompt_optimizer.templates.stored import Change, Decide, RequestId, StoredTemplate
from prompt_optimizer.templates.template import Family, Template, VersionKey

TOMBSTONE_LIFE = timedelta(days=7)
REQUEST_LIFE = timedelta(days=7)
_PAGE = 200


class TemplateRepository:
    """Templates and versions in a document store."""

    def __init__(self, store: DocumentStore, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def template(self, tenant: str, template_id: str) -> Template | None:
        """Return the tenant's own template, or None."""
        return _live(await self._store.get(schema.template_key(tenant, template_id)))

    async def change(
        self, tenant: str, template_id: str, *, decide: Decide, request: RequestId | None = None
    ) -> Change:
        """Change one template of the tenant, all or nothing, once per request id."""
        keys = [schema.REVISION_KEY, schema.template_key(tenant, template_id)]
        if request is not None:
            keys.append(schema.request_key(tenant, request.method, request.value))

        def transaction(found: Sequence[Document | None]) -> Decision[Change]:
            if request is not None and found[2] is not None:
                return Decision(_first_answer(request, found[2].data))
            revision = _number_of(found[0]) + 1
            before = _live(found[1])
            change = decide(before, revision)
            if change.template == before and not change.versions:
                return Decision(change)
            return Decision(change, tuple(self._writes(tenant, change, revision, request)))

        return await self._store.transact(keys, transaction)

    def _writes(
        self, tenant: str, change: Change, revision: int, request: RequestId | None
    ) -> Iterator[Write]:
        template = change.template
        fields = records.template_fields(template)
        yield Set(schema.REVISION_KEY, {"number": revision})
        yield Set(schema.template_key(tenant, template.template_id), {**fields, "state": schema.LIVE})
        for version in change.versions:
            key = VersionKey(template.family, version.version)
            stored: dict[str, Value] = {
                **records.version_fields(version),
                "family": schema.family_name(template.family),
            }
            yield Create(schema.version_key(tenant, key), stored)
        if request is not None:
            answer: dict[str, Value] = {
                "body": request.body,
                "template": fields,
                "version": records.version_fields(change.versions[-1]),
                "expire_time": self._clock.now() + REQUEST_LIFE,
            }
            yield Create(schema.request_key(tenant, request.method, request.value), answer)

    async def bury(self, tenant: str, template_id: str) -> Template | None:
        """Delete a template at once; returns its tombstone, None if there was none."""
        key = schema.template_key(tenant, template_id)

        def decide(found: Sequence[Document | None]) -> Decision[Template | None]:
            template = _live(found[1])
            if template is None:
                return Decision(None)
            tombstone = replace(template, revision=_number_of(found[0]) + 1)
            fields = {**records.template_fields(tombstone), "state": schema.DELETING}
            writes = (Set(schema.REVISION_KEY, {"number": tombstone.revision}), Set(key, fields))
            return Decision(tombstone, writes)

        return await self._store.transact((schema.REVISION_KEY, key), decide)

    async def finish_deletions(self) -> None:
        """Complete what a process did not live to complete."""
        page = await self._store.query(
            Query(schema.TEMPLATES_BY_STATE, {"state": schema.DELETING}, limit=_PAGE)
        )
        for each in page.documents:
            await self.purge(each.key.tenant, records.template_of(each.data).family)

    async def purge(self, tenant: str, family: Family) -> None:
        """Remove the versions and statistics of a buried template. Idempotent."""
        while True:
            page = await self._store.query(_versions_query(tenant, family, below=None, limit=_PAGE))
            numbers = [records.version_of(each.data).version for each in page.documents]
            keys = [VersionKey(family, number) for number in numbers]
            versions = [Delete(schema.version_key(tenant, each)) for each in keys]
            statistics = [Delete(schema.statistics_key(tenant, each)) for each in keys]
            await self._store.commit([*versions, *statistics])
            if page.next_cursor is None:
                break
        await self._store.transact(
            (schema.template_key(tenant, family.template_id),), lambda found: self._buried(found, family)
        )

    def _buried(self, found: Sequence[Document | None], family: Family) -> Decision[None]:
        document = found[0]
        # Meanwhile the id may have been created again: then there is no tombstone any more.
        if document is None or document.data["state"] != schema.DELETING:
            return Decision(None)
        if records.template_of(document.data).family != family:
            return Decision(None)
        fields = {
            **document.data,
            "state": schema.DELETED,
            "expire_time": self._clock.now() + TOMBSTONE_LIFE,
        }
        return Decision(None, (Set(document.key, fields),))

    async def templates_after(self, tenant: str, template_id: str, limit: int) -> list[Template]:
        """Return up to `limit` of the tenant's templates whose ids come after the given one, by id."""
        page = await self._store.query(
            Query(
                schema.TEMPLATES_BY_ID,
                {"state": schema.LIVE},
                tenant=tenant,
                lower=template_id,
                limit=limit + 1,
            )
        )
        found = [records.template_of(each.data) for each in page.documents]
        return [each for each in found if each.template_id > template_id][:limit]

    async def changed_since(self, revision: int) -> tuple[list[StoredTemplate], int]:
        """Return the templates changed after a revision, oldest change first, and the newest revision."""
        newest = _number_of(await self._store.get(schema.REVISION_KEY))
        if newest == revision:
            return [], revision
        changed: list[StoredTemplate] = []
        query = Query(schema.TEMPLATES_CHANGED, lower=revision + 1, limit=_PAGE)
        while True:
            page = await self._store.query(query)
            changed.extend(map(_stored, page.documents))
            if page.next_cursor is None:
                return changed, newest
            query = Query(schema.TEMPLATES_CHANGED, lower=revision + 1, limit=_PAGE, cursor=page.next_cursor)

    def watch(self) -> AbstractAsyncContextManager[Feed]:
        """Return a context in which a feed of changes, of any template, is kept going."""
        return self._store.watch(schema.REVISION_KEY)

    async def versions(self, tenant: str, keys: Sequence[VersionKey]) -> list[TemplateVersion | None]:
        """Return the versions of these keys, in order; None where there is none."""
        found = await self._store.get_many([schema.version_key(tenant, each) for each in keys])
        return [records.version_of(each.data) if each else None for each in found]

    async def versions_below(
        self, tenant: str, family: Family, *, below: int | None, limit: int
    ) -> list[TemplateVersion]:
        """Return up to `limit` versions with numbers less than `below`, newest first."""
        page = await self._store.query(_versions_query(tenant, family, below=below, limit=limit))
        return [records.version_of(each.data) for each in page.documents]


def _versions_query(tenant: str, family: Family, *, below: int | None, limit: int) -> Query:
    return Query(
        schema.VERSIONS_OF_FAMILY,
        {"family": schema.family_name(family)},
        tenant=tenant,
        upper=None if below is None else below - 1,
        limit=limit,
    )


def _live(document: Document | None) -> Template | None:
    if document is None or document.data["state"] != schema.LIVE:
        return None
    return records.template_of(document.data)


def _stored(document: Document) -> StoredTemplate:
    deleted = document.data["state"] != schema.LIVE
    return StoredTemplate(document.key.tenant, records.template_of(document.data), deleted)


def _number_of(document: Document | None) -> int:
    fields: Mapping[str, Any] = document.data if document else {"number": 0}
    return int(fields["number"])


def _first_answer(request: RequestId, fields: Mapping[str, Any]) -> Change:
    if fields["body"] != request.body:
        raise already_exists(
            "REQUEST_ID_REUSED", f"request_id {request.value!r} was used with another request"
        )
    return Change(
        records.template_of(fields["template"]), (records.version_of(fields["version"]),), replayed=True
    )
