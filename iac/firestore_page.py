# ruff: noqa: INP001 - part of a program beside what it writes, run as `python -m iac.generate`
"""The page for people: which query needs which index, what a write costs, how long what is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from service_common.storage.firestore.indexes import (
    BODY_FIELD,
    Entries,
    FieldSettings,
    Requirements,
    Rule,
    Served,
    collection_group,
)
from service_common.storage.shapes import Collection, Direction, QueryShape, Schema

from iac.firestore_terraform import SCOPES, SHORT, purpose

_ARROWS = {Direction.ASCENDING: "↑", Direction.DESCENDING: "↓"}


def page(needed: Sequence[Requirements], kept: Mapping[str, str], *, limits: str, terraform: str) -> str:
    """Return the page.

    Args:
        needed: What every schema needs.
        kept: How long the documents of each collection are kept, by its id in Firestore.
        limits: How much of what a database may have is used, a sentence.
        terraform: The generated file.
    """
    collections = [(each, collection) for each in needed for collection in each.schema.collections]
    queries = [_query_row(served) for each in needed for served in each.served]
    costs = [_cost_row(each, collection) for each, collection in collections]
    settings = [_settings_row(each, field) for each in needed for field in each.fields]
    lives = [_life_row(each.schema, collection, kept) for each, collection in collections]
    return f"""# Firestore: which query needs which index

Written by `make iac` from the services' SCHEMAs, as is `{terraform}`.
CI fails when either is not what the declarations ask for. The rules, with their source, are in
`service_common/storage/firestore/indexes.py`; why it is done so is in
[decision 0074](decisions/0074-indexes-are-generated-from-queries.md).

A document is at `tenants/TENANT/COLLECTION/ID`. Its contents are in one field, `{BODY_FIELD}`; beside it
stand only the fields that a query or the TTL needs. Ties are broken by `__name__`, in the direction of
the last order.

{limits}

## Queries

↑ is ascending, ↓ descending, `?` what the caller gives. Index entries: what each new document that matches
costs for this query; an index that two queries share is counted at both.

{_table(("collection", "query", "asks for", "of", "served by", "index entries"), queries)}

## Index entries per document written

For a new document that has every indexed field; a later write pays for the values it changes. Without
exemptions Firestore would index each of the same fields in both directions, the contents too.

{_table(("collection", "index entries", "without exemptions"), costs)}

## Single-field indexes

What is not listed as kept is off. An indexed field whose values only grow (a time, a revision) holds its
collection to about 500 writes a second; so every field is exempt that no query asks for.

{_table(("collection", "field", "single-field indexes kept", "why"), settings)}

## How long what is kept

Firestore deletes what has expired, as a rule within a day, and bills each as a delete. Until then it takes
space, and every read here treats it as absent.

{_table(("collection", "kept", "TTL field"), lives)}
"""


def _query_row(served: Served) -> tuple[str, ...]:
    entries = _figure(_query_entries(served))
    found = (_asks(served.shape), SCOPES[served.scope], _server(served), entries)
    return (f"`{served.group}`", f"`{served.shape.name}`", *found)


def _asks(shape: QueryShape) -> str:
    parts = [f"`{each}` = ?" for each in shape.equals]
    if shape.contains is not None:
        parts.append(f"`{shape.contains}` holds ?")
    if shape.order:
        parts.append("by " + ", ".join(f"`{each.field}` {_ARROWS[each.direction]}" for each in shape.order))
    return "; ".join(parts) or "everything"


def _server(served: Served) -> str:
    if served.composite is not None:
        return "composite " + ", ".join(
            f"`{each.field}` {SHORT[each.mode]}" for each in served.composite.fields
        )
    if served.rule is Rule.BUILT_IN:
        return "Firestore's own order by name"
    return "single-field " + " merged with ".join(
        f"`{name}` {SHORT[each.mode]}" for name, each in served.singles
    )


def _query_entries(served: Served) -> Entries:
    count = len(served.singles) + (served.composite is not None)
    listed = served.shape.contains
    return Entries(count) if listed is None else Entries(count - 1, ((listed, 1),))


def _cost_row(needed: Requirements, collection: Collection) -> tuple[str, ...]:
    group = collection_group(needed.schema, collection.name)
    costs = (needed.entries(collection.name), needed.default_entries(collection.name))
    return (f"`{group}`", *(_figure(each) for each in costs))


def _settings_row(needed: Requirements, settings: FieldSettings) -> tuple[str, ...]:
    indexes = "; ".join(f"{SHORT[each.mode]}, {SCOPES[each.scope]}" for each in settings.indexes)
    return f"`{settings.group}`", f"`{settings.field}`", indexes or "none", purpose(needed, settings)


def _life_row(schema: Schema, collection: Collection, kept: Mapping[str, str]) -> tuple[str, ...]:
    group = collection_group(schema, collection.name)
    return f"`{group}`", kept[group], f"`{collection.ttl_field}`" if collection.ttl_field else "none"


def _figure(entries: Entries) -> str:
    parts = [f"{count} per element of `{name}`" for name, count in entries.per_element]
    fixed = [str(entries.fixed)] if entries.fixed or not parts else []
    return " + ".join(fixed + parts)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(each)} |" for each in (head, ["---"] * len(head), *rows))
