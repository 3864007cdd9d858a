# ruff: noqa: INP001 - part of a program beside what it writes, run as `python -m iac.generate`
"""Firestore's indexes, TTL policies and exemptions as Terraform: one resource each, in a fixed form."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import ndiff

from service_common.storage.firestore.indexes import (
    BODY_FIELD,
    Composite,
    FieldMode,
    FieldSettings,
    Mode,
    Requirements,
    Scope,
    SingleIndex,
)

INDEX = "google_firestore_index"
FIELD = "google_firestore_field"
SCOPES = {Scope.COLLECTION: "one tenant", Scope.COLLECTION_GROUP: "all tenants"}
"""What a scope means here, where tenants are the parents of collections."""
SHORT = {Mode.ASCENDING: "asc", Mode.DESCENDING: "desc", Mode.CONTAINS: "contains"}

_BLOCK = re.compile(r'(?:^# .*\n)?^resource "(\w+)" "([\w-]+)" \{\n(?:(?!\}\n).*\n)*\}\n', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Resource:
    """One Terraform resource.

    Attributes:
        kind: Its type.
        name: Its name in the module.
        why: What it is there for, one sentence.
        body: The lines between its braces.
    """

    kind: str
    name: str
    why: str
    body: tuple[str, ...]

    def text(self) -> str:
        """Return it as `terraform fmt` leaves it."""
        lines = (f"# {self.why}", f'resource "{self.kind}" "{self.name}" {{', *self.body, "}")
        return "\n".join(lines) + "\n"


def resources(needed: Sequence[Requirements]) -> list[Resource]:
    """Return the Terraform resources of all schemas, composite indexes before fields."""
    indexes = [_index(each, index) for each in needed for index in each.composites]
    return indexes + [_field(each, settings) for each in needed for settings in each.fields]


def terraform(found: Iterable[Resource], *, page: str) -> str:
    """Return the file of these resources; it refers to the page that explains them."""
    head = (
        "# Written by `make iac` from the services' SCHEMAs; do not edit, CI would notice.\n"
        f"# Which query needs which, and what each costs: {page}.\n"
    )
    return "\n".join([head, *(each.text() for each in found)])


def purpose(needed: Requirements, settings: FieldSettings) -> str:
    """Return why a field is indexed as it is, as a clause."""
    if settings.field == BODY_FIELD:
        return "the packed contents, large and never asked for"
    users = [
        each.shape.name
        for each in needed.served
        if each.group == settings.group and settings.field in [name for name, _ in each.singles]
    ]
    parts = ["when the document expires (TTL)"] if settings.ttl else []
    if users:
        parts.append(f"query {', '.join(users)}")
    elif not settings.ttl:
        parts.append("only composite indexes need it")
    return "; ".join(parts)


def differences(found: str, expected: str) -> list[str]:
    """Return how a file differs from what it should be: a line for every resource at fault."""
    there, needed = _blocks(found), _blocks(expected)
    listed = [f"missing: {name} ({_why(needed[name])})" for name in needed if name not in there]
    listed += [
        f"not needed: {name}: no declared query or collection asks for it"
        for name in there
        if name not in needed
    ]
    listed += [
        f"changed: {name}: it {', it '.join(changes(there[name], text))}"
        for name, text in needed.items()
        if there.get(name, text) != text
    ]
    counts = Counter(match.group(1, 2) for match in _BLOCK.finditer(found))
    return listed + [f"repeated: {kind}.{name}" for (kind, name), count in counts.items() if count > 1]


def changes(found: str, expected: str) -> list[str]:
    """Return the lines that should not be there and those that are missing, each as a clause."""
    marks = {"- ": "should not have", "+ ": "lacks"}
    lines = ndiff(found.splitlines(), expected.splitlines())
    return [
        f"{marks[each[:2]]} `{each[2:].strip()}`" for each in lines if each[:2] in marks and each[2:].strip()
    ]


def _blocks(text: str) -> dict[str, str]:
    return {f"{match[1]}.{match[2]}": match[0] for match in _BLOCK.finditer(text)}


def _why(block: str) -> str:
    return block.splitlines()[0].removeprefix("# ").removesuffix(".")


def _index(needed: Requirements, index: Composite) -> Resource:
    queries = [each.shape.name for each in needed.served if each.composite == index]
    parts = [index.group, *(f"{each.field}_{SHORT[each.mode]}" for each in index.fields[:-1])]
    if index.scope is Scope.COLLECTION_GROUP:
        parts.append("all_tenants")
    body = [
        "  project     = var.project_id",
        "  database    = google_firestore_database.this.name",
        f'  collection  = "{index.group}"',
        f'  query_scope = "{index.scope.value}"',
    ]
    for each in index.fields:
        body += ["", *_indexed(each)]
    why = f"{SCOPES[index.scope].capitalize()}: query {', '.join(queries)}."
    return Resource(INDEX, "__".join(parts), why, tuple(body))


def _indexed(field: FieldMode) -> list[str]:
    return ["  fields {", *_aligned("    ", ("field_path", field.field), _mode(field.mode)), "  }"]


def _field(needed: Requirements, settings: FieldSettings) -> Resource:
    body = [
        "  project    = var.project_id",
        "  database   = google_firestore_database.this.name",
        f'  collection = "{settings.group}"',
        f'  field      = "{settings.field}"',
        "",
    ]
    if settings.ttl:
        body += ["  ttl_config {}", ""]
    if settings.indexes:
        body += ["  index_config {", *(line for each in settings.indexes for line in _single(each)), "  }"]
    else:
        body.append("  index_config {}")
    why = purpose(needed, settings)
    return Resource(FIELD, f"{settings.group}__{settings.field}", f"{why[0].upper()}{why[1:]}.", tuple(body))


def _single(index: SingleIndex) -> list[str]:
    settings = _aligned("      ", _mode(index.mode), ("query_scope", index.scope.value))
    return ["    indexes {", *settings, "    }"]


def _mode(mode: Mode) -> tuple[str, str]:
    return ("array_config" if mode is Mode.CONTAINS else "order"), mode.value


def _aligned(indent: str, *settings: tuple[str, str]) -> list[str]:
    """Return settings with their equals signs below each other, as `terraform fmt` wants them."""
    width = max(len(name) for name, _ in settings)
    return [f'{indent}{name:{width}} = "{value}"' for name, value in settings]
