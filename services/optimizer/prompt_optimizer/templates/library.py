"""What tenants do with templates: create, add versions, activate, roll back, delete.

Every change is stored first and then shown to this process's catalogue; other processes follow the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from service_common.clock import Clock
from service_common.errors import already_exists

from prompt_optimizer.templates import template as lives
from prompt_optimizer.templates.catalogue import Catalogue
from prompt_optimizer.templates.source import TemplateSource, TemplateVersion
from prompt_optimizer.templates.stored import Change, RequestId, StoredTemplates
from prompt_optimizer.templates.template import Template, VersionKey


class Library:
    """The templates of all tenants, with the built-in ones behind them."""

    def __init__(
        self,
        stored: StoredTemplates,
        catalogue: Catalogue,
        *,
        built_in: Mapping[str, tuple[Template, TemplateVersion]],
        clock: Clock,
    ) -> None:
        self._stored = stored
        self._catalogue = catalogue
        self._built_in = built_in
        self._clock = clock

    async def create(
        self,
        tenant: str,
        user: str,
        *,
        wanted: TemplateVersion,
        display_name: str,
        request: RequestId | None,
    ) -> Change:
        """Create a template with its first version, which is active.

        Args:
            tenant: Whose it is.
            user: Who creates it.
            wanted: The first version; its number, time and user are set here.
            display_name: The template's title.
            request: Set if it may be repeated.

        Raises:
            ServiceError: ALREADY_EXISTS.
        """

        def decide(found: Template | None, revision: int) -> Change:
            if found is not None:
                raise already_exists("TEMPLATE_EXISTS", f"template {wanted.template_id!r} exists")
            now = self._clock.now()
            template = lives.create(
                wanted.template_id,
                wanted.content_type,
                display_name=display_name,
                born=revision,
                now=now,
                user=user,
            )
            return Change(template, (replace(wanted, version=1, create_time=now, create_user=user),))

        change = await self._stored.change(tenant, wanted.template_id, decide=decide, request=request)
        return self._shown(tenant, change)

    async def add_version(
        self,
        tenant: str,
        user: str,
        *,
        template_id: str,
        source: TemplateSource,
        description: str,
        request: RequestId | None,
    ) -> TemplateVersion:
        """Add a version, which is not active; a built-in template becomes the tenant's own first.

        Raises:
            ServiceError: NOT_FOUND without such a template; ALREADY_EXISTS for a re-used request id.
        """

        def decide(found: Template | None, revision: int) -> Change:
            now = self._clock.now()
            base = Change(found) if found else self._own_copy(template_id, revision, user)
            template = lives.add_version(base.template, revision=revision, now=now)
            version = TemplateVersion(
                template_id=template_id,
                version=template.latest_version,
                content_type=template.content_type,
                source=source,
                description=description,
                create_time=now,
                create_user=user,
            )
            return Change(template, (*base.versions, version))

        change = await self._stored.change(tenant, template_id, decide=decide, request=request)
        self._shown(tenant, change)
        return change.versions[-1]

    def _own_copy(self, template_id: str, revision: int, user: str) -> Change:
        if template_id not in self._built_in:
            raise lives.template_not_found(template_id)
        original, version = self._built_in[template_id]
        now = self._clock.now()
        template = lives.create(
            template_id,
            original.content_type,
            display_name=original.display_name,
            born=revision,
            now=now,
            user=user,
        )
        return Change(template, (replace(version, version=1, create_time=now, create_user=user),))

    async def activate(self, tenant: str, user: str, *, template_id: str, version: int) -> Template:
        """Make a version the active one.

        Raises:
            ServiceError: NOT_FOUND, or FAILED_PRECONDITION for a built-in template.
        """

        def decide(found: Template | None, revision: int) -> Change:
            owned = self._owned(found, template_id)
            return Change(lives.activate(owned, version, revision=revision, now=self._clock.now(), user=user))

        change = await self._stored.change(tenant, template_id, decide=decide)
        return self._shown(tenant, change).template

    async def roll_back(self, tenant: str, user: str, *, template_id: str) -> Template:
        """Make the version active again that was before.

        Raises:
            ServiceError: NOT_FOUND, or FAILED_PRECONDITION for a built-in template or the first activation.
        """

        def decide(found: Template | None, revision: int) -> Change:
            owned = self._owned(found, template_id)
            return Change(lives.roll_back(owned, revision=revision, now=self._clock.now(), user=user))

        change = await self._stored.change(tenant, template_id, decide=decide)
        return self._shown(tenant, change).template

    async def delete(self, tenant: str, template_id: str) -> None:
        """Delete a template of the tenant's own.

        Raises:
            ServiceError: NOT_FOUND, or FAILED_PRECONDITION for a built-in template.
        """
        self._owned(await self._stored.template(tenant, template_id), template_id)
        tombstone = await self._stored.bury(tenant, template_id)
        if tombstone is None:
            raise lives.template_not_found(template_id)
        self._catalogue.remove(tenant, tombstone)
        await self._stored.purge(tenant, tombstone.family)

    async def template(self, tenant: str, template_id: str) -> Template:
        """Return the tenant's own template, else the built-in one.

        Raises:
            ServiceError: NOT_FOUND.
        """
        found = await self._stored.template(tenant, template_id)
        if found is not None:
            return found
        if template_id not in self._built_in:
            raise lives.template_not_found(template_id)
        return self._built_in[template_id][0]

    async def templates_after(self, tenant: str, template_id: str, limit: int) -> tuple[list[Template], bool]:
        """Return up to `limit` templates the tenant can use, after an id, and whether there are more."""
        own = await self._stored.templates_after(tenant, template_id, limit + 1)
        # A built-in template within this page can only be replaced by one of these.
        replaced = {each.template_id for each in own}
        built_in = [
            each for name, (each, _) in self._built_in.items() if name > template_id and name not in replaced
        ]
        merged = sorted((*own, *built_in), key=lambda each: each.template_id)
        return merged[:limit], len(merged) > limit

    async def version(
        self, tenant: str, template_id: str, version: int
    ) -> tuple[VersionKey, TemplateVersion]:
        """Return one version, the active one for 0, and the key of its statistics.

        Raises:
            ServiceError: NOT_FOUND.
        """
        template = await self.template(tenant, template_id)
        key = VersionKey(template.family, version or template.active_version)
        if template.built_in:
            found = self._built_in[template_id][1] if key.version == template.active_version else None
        else:
            found = (await self._stored.versions(tenant, [key]))[0]
        if found is None:
            raise lives.version_not_found(template_id, key.version)
        return key, found

    async def versions_below(
        self, tenant: str, template_id: str, *, below: int | None, limit: int
    ) -> tuple[list[TemplateVersion], bool]:
        """Return up to `limit` versions below a number, newest first, and whether there are more.

        Raises:
            ServiceError: NOT_FOUND without such a template.
        """
        template = await self.template(tenant, template_id)
        if template.built_in:
            only = self._built_in[template_id][1]
            return ([only], False) if below is None or below > only.version else ([], False)
        found = await self._stored.versions_below(tenant, template.family, below=below, limit=limit + 1)
        return found[:limit], len(found) > limit

    def _owned(self, found: Template | None, template_id: str) -> Template:
        if found is not None:
            return found
        if template_id in self._built_in:
            raise lives.template_built_in(template_id)
        raise lives.template_not_found(template_id)

    def _shown(self, tenant: str, change: Change) -> Change:
        if not change.replayed:
            self._catalogue.put(tenant, change.template)
        return change
