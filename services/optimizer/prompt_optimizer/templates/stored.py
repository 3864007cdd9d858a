"""What the domain asks of the place where templates are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from prompt_optimizer.templates.source import TemplateVersion
from prompt_optimizer.templates.template import Family, Template, VersionKey


@dataclass(frozen=True, slots=True)
class RequestId:
    """Names a request that may be repeated.

    Attributes:
        method: The RPC.
        value: The caller's request_id.
        body: A digest of everything else the request says.
    """

    method: str
    value: str
    body: str


@dataclass(frozen=True, slots=True)
class Change:
    """What a change makes of a template.

    Attributes:
        template: As it is now.
        versions: Those that are new, the one asked for last.
        replayed: Whether this is the answer to an earlier request, which may be out of date by now.
    """

    template: Template
    versions: tuple[TemplateVersion, ...] = ()
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class StoredTemplate:
    """One template as the store has it: of a tenant, alive or deleted."""

    tenant: str
    template: Template
    deleted: bool


Decide: TypeAlias = Callable[[Template | None, int], Change]
"""From a template as it is and the revision the change would have to what it becomes."""


class StoredTemplates(Protocol):
    """Templates and versions that outlive the process. Errors are the store's, UNAVAILABLE among them."""

    async def template(self, tenant: str, template_id: str) -> Template | None:
        """Return the tenant's own template, or None."""
        ...

    async def change(
        self, tenant: str, template_id: str, *, decide: Decide, request: RequestId | None = None
    ) -> Change:
        """Change one template of the tenant, all or nothing, once per request id.

        Args:
            tenant: Whose template.
            template_id: Which.
            decide: Called with None if the tenant has none; again when another change came first.
            request: Set for requests that may be repeated.

        Returns:
            The change, or the first answer to the same request.

        Raises:
            ServiceError: ALREADY_EXISTS if the request id was used with another body; what `decide` raises.
        """
        ...

    async def bury(self, tenant: str, template_id: str) -> Template | None:
        """Delete a template at once; returns its tombstone, None if there was none."""
        ...

    async def purge(self, tenant: str, family: Family) -> None:
        """Remove the versions and statistics of a buried template. Idempotent."""
        ...

    async def templates_after(self, tenant: str, template_id: str, limit: int) -> list[Template]:
        """Return up to `limit` of the tenant's templates whose ids come after the given one, by id."""
        ...

    async def changed_since(self, revision: int) -> tuple[list[StoredTemplate], int]:
        """Return the templates changed after a revision, oldest change first, and where to go on from."""
        ...

    async def versions(self, tenant: str, keys: Sequence[VersionKey]) -> list[TemplateVersion | None]:
        """Return the versions of these keys, in order; None where there is none."""
        ...

    async def versions_below(
        self, tenant: str, family: Family, *, below: int | None, limit: int
    ) -> list[TemplateVersion]:
        """Return up to `limit` versions with numbers less than `below`, newest first."""
        ...
