"""Domain values to stored fields and back; the one place that knows how documents are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from service_common.output_contract import contract_to_fields
from service_common.storage import Value

from prompt_optimizer.outcomes.account import Account
from prompt_optimizer.outcomes.record import MARK_BYTES
from prompt_optimizer.outcomes.statistics import Statistics
from prompt_optimizer.templates.source import TemplateVersion, source_of
from prompt_optimizer.templates.template import Activation, Family, Template


def template_fields(template: Template) -> dict[str, Value]:
    """Return a template as fields."""
    return {
        "template_id": template.family.template_id,
        "born": template.family.born,
        "content_type": template.content_type,
        "display_name": template.display_name,
        "active_version": template.active_version,
        "latest_version": template.latest_version,
        "revision": template.revision,
        "create_time": template.create_time,
        "update_time": template.update_time,
        "activations": [asdict(each) for each in template.activations],
        "trail": template.trail,
    }


def template_of(fields: Mapping[str, Any]) -> Template:
    """Return the template that was stored."""
    return Template(
        family=Family(fields["template_id"], fields["born"]),
        content_type=fields["content_type"],
        display_name=fields["display_name"],
        active_version=fields["active_version"],
        latest_version=fields["latest_version"],
        revision=fields["revision"],
        create_time=fields["create_time"],
        update_time=fields["update_time"],
        activations=tuple(Activation(**each) for each in fields["activations"]),
        trail=tuple(fields["trail"]),
    )


def version_fields(version: TemplateVersion) -> dict[str, Value]:
    """Return a version as fields."""
    source = version.source
    fields: dict[str, Value] = {
        "template_id": version.template_id,
        "version": version.version,
        "content_type": version.content_type,
        "description": version.description,
        "create_time": version.create_time,
        "create_user": version.create_user,
        "messages": [{"role": each.role.value, "content": each.content} for each in source.messages],
        "variables": [asdict(each) for each in source.variables],
        "sampling": asdict(source.sampling),
        "model": source.model,
    }
    if source.output_contract is not None:
        fields["output_contract"] = contract_to_fields(source.output_contract)
    if source.handlers:
        fields["handlers"] = source.handlers
    return fields


def version_of(fields: Mapping[str, Any]) -> TemplateVersion:
    """Return the version that was stored."""
    return TemplateVersion(
        template_id=fields["template_id"],
        version=fields["version"],
        content_type=fields["content_type"],
        source=source_of(fields),
        description=fields["description"],
        create_time=fields["create_time"],
        create_user=fields["create_user"],
    )


def account_fields(account: Account) -> dict[str, Value]:
    """Return an account as fields."""
    return {**asdict(account.statistics), "booked": b"".join(account.booked)}


def account_of(fields: Mapping[str, Any] | None) -> Account:
    """Return the account that was stored; an empty one without fields."""
    if fields is None:
        return Account()
    sums = dict(fields)
    booked: bytes = sums.pop("booked", b"")
    marks = (booked[start : start + MARK_BYTES] for start in range(0, len(booked), MARK_BYTES))
    return Account(Statistics(**sums), tuple(marks))
