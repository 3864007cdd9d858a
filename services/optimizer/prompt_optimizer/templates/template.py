"""A template's life: which version is active, which were before, and what rolling back returns to.

Every transition is a pure function from one state to the next.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from service_common.errors import ServiceError, failed_precondition, not_found
from service_common.frozen import dataclass

KEPT_ACTIVATIONS = 100


@dataclass(frozen=True, slots=True)
class Activation:
    """One time a version became the active one."""

    version: int
    time: datetime
    user: str


@dataclass(frozen=True, slots=True)
class Family:
    """Names one life of a template id: after deletion, an id that is created again has another family.

    Attributes:
        template_id: The id.
        born: The store's revision at its creation; 0 for a built-in template.
    """

    template_id: str
    born: int = 0

    @property
    def built_in(self) -> bool:
        """Whether it comes with the service."""
        return self.born == 0


@dataclass(frozen=True, slots=True)
class VersionKey:
    """Names one version for good, also after its template id was deleted and created again."""

    family: Family
    version: int


@dataclass(frozen=True, slots=True)
class Template:
    """A family of versions, one of them active.

    Attributes:
        family: Its id and life.
        content_type: What its output is.
        display_name: A title for people.
        active_version: The version in use.
        latest_version: The newest version.
        revision: The store's revision of its last change; of two states the higher is the newer.
        create_time: None for a built-in template.
        update_time: When a version was last added or activated.
        activations: What was active, oldest first, the present one last, the latest `KEPT_ACTIVATIONS`.
        trail: The way back: the versions a rollback returns to, the active one last.
    """

    family: Family
    content_type: str
    display_name: str
    active_version: int = 1
    latest_version: int = 1
    revision: int = 0
    create_time: datetime | None = None
    update_time: datetime | None = None
    activations: tuple[Activation, ...] = ()
    trail: tuple[int, ...] = (1,)

    @property
    def template_id(self) -> str:
        """Its id."""
        return self.family.template_id

    @property
    def built_in(self) -> bool:
        """Whether it comes with the service and belongs to no tenant."""
        return self.family.built_in


def create(
    template_id: str, content_type: str, *, display_name: str, born: int, now: datetime, user: str
) -> Template:
    """Return a new template whose version 1 is active."""
    return Template(
        family=Family(template_id, born),
        content_type=content_type,
        display_name=display_name,
        revision=born,
        create_time=now,
        update_time=now,
        activations=(Activation(1, now, user),),
    )


def add_version(template: Template, *, revision: int, now: datetime) -> Template:
    """Return the template with one version more, which is not active."""
    return replace(template, latest_version=template.latest_version + 1, revision=revision, update_time=now)


def activate(template: Template, version: int, *, revision: int, now: datetime, user: str) -> Template:
    """Return the template with the version active; the same object if it already is.

    Raises:
        ServiceError: NOT_FOUND if there is no such version.
    """
    if not 1 <= version <= template.latest_version:
        raise version_not_found(template.template_id, version)
    if version == template.active_version:
        return template
    trail = (*template.trail, version)[-KEPT_ACTIVATIONS:]
    return _moved(template, trail, revision=revision, now=now, user=user)


def roll_back(template: Template, *, revision: int, now: datetime, user: str) -> Template:
    """Return the template as before its last activation that was not itself rolled back.

    Raises:
        ServiceError: FAILED_PRECONDITION if there is no earlier activation.
    """
    if len(template.trail) < 2:  # noqa: PLR2004 - the active one and one before it
        raise failed_precondition(
            "NOTHING_TO_ROLL_BACK", f"template {template.template_id!r} has no earlier activation"
        )
    return _moved(template, template.trail[:-1], revision=revision, now=now, user=user)


def _moved(
    template: Template, trail: tuple[int, ...], *, revision: int, now: datetime, user: str
) -> Template:
    activation = Activation(trail[-1], now, user)
    return replace(
        template,
        active_version=trail[-1],
        revision=revision,
        update_time=now,
        activations=(*template.activations, activation)[-KEPT_ACTIVATIONS:],
        trail=trail,
    )


def version_not_found(template_id: str, version: int) -> ServiceError:
    """Make the error for a version that does not exist."""
    return not_found("VERSION_NOT_FOUND", f"template {template_id!r} has no version {version}")


def template_not_found(template_id: str) -> ServiceError:
    """Make the error for a template the tenant does not have."""
    return not_found("TEMPLATE_NOT_FOUND", f"there is no template {template_id!r}")


def template_built_in(template_id: str) -> ServiceError:
    """Make the error for changing what comes with the service."""
    return failed_precondition(
        "TEMPLATE_BUILT_IN",
        f"template {template_id!r} is built in; adding a version makes it the tenant's own",
    )
