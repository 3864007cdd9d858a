"""Active template versions as the optimizer last told them, kept so that an outage re-pays nothing."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from service_common.output_contract import contract_of, contract_to_fields
from service_common.storage import Delete, DocumentStore, Key, Query, Set

from parallel_processor.jobs.records import sampling_from_fields
from parallel_processor.jobs.template import TemplateVariable, TemplateVersion
from parallel_processor.repository import schema

_BUILT_IN = "*"  # no tenant's name, which a document's path must have


class VersionRepository:
    """Stores the active version of every template."""

    def __init__(self, store: DocumentStore) -> None:
        self._store = store

    async def load(self) -> list[TemplateVersion]:
        """Return all versions kept."""
        kept: list[TemplateVersion] = []
        cursor: str | None = None
        while True:
            page = await self._store.query(Query(schema.ALL_ACTIVE_VERSIONS, limit=500, cursor=cursor))
            for document in page.documents:
                fields: dict[str, Any] = dict(document.data)
                fields["messages"] = tuple((each["role"], each["source"]) for each in fields["messages"])
                fields["variables"] = tuple(TemplateVariable(**each) for each in fields["variables"])
                fields["sampling"] = sampling_from_fields(fields["sampling"])
                if (contract := fields.get("output_contract")) is not None:
                    fields["output_contract"] = contract_of(contract)
                fields["handlers"] = tuple(fields.get("handlers", ()))
                kept.append(TemplateVersion(**fields))
            cursor = page.next_cursor
            if cursor is None:
                return kept

    async def keep(self, version: TemplateVersion) -> None:
        """Keep a version in place of an earlier one of its template."""
        fields = asdict(version)
        fields["messages"] = [{"role": role, "source": source} for role, source in version.messages]
        if version.output_contract is not None:
            fields["output_contract"] = contract_to_fields(version.output_contract)
        await self._store.commit([Set(_key(version.tenant, version.template_id), fields)])

    async def forget(self, tenant: str, template_id: str) -> None:
        """Forget a template that was deleted."""
        await self._store.commit([Delete(_key(tenant, template_id))])


def _key(tenant: str, template_id: str) -> Key:
    return Key(schema.ACTIVE_VERSIONS, tenant or _BUILT_IN, template_id)
