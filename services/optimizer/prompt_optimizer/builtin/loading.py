"""Reads the built-in templates from the files beside it.

A file whose words change gets a new `version`, because a version's meaning never changes.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from typing import TypeAlias

from prompt_optimizer.templates.source import TemplateVersion, source_of
from prompt_optimizer.templates.template import Family, Template

BuiltIn: TypeAlias = Mapping[str, tuple[Template, TemplateVersion]]
"""Templates and their one version, by id."""


def load_built_in() -> BuiltIn:
    """Return the built-in templates, by id, in the order of their ids."""
    found = sorted(
        each.name for each in files("prompt_optimizer.builtin").iterdir() if each.name.endswith(".toml")
    )
    return dict(_read(name) for name in found)


def _read(name: str) -> tuple[str, tuple[Template, TemplateVersion]]:
    template_id = name.removesuffix(".toml")
    content = tomllib.loads((files("prompt_optimizer.builtin") / name).read_text("utf-8"))
    number = content["version"]
    template = Template(
        family=Family(template_id),
        content_type=template_id,
        display_name=content["display_name"],
        active_version=number,
        latest_version=number,
        trail=(number,),
    )
    version = TemplateVersion(
        template_id=template_id,
        version=number,
        content_type=template_id,
        source=source_of(content),
        description=content["description"],
    )
    return template_id, (template, version)
