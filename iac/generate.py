# ruff: noqa: INP001 - part of a program beside what it writes, run as `python -m iac.generate`
"""Writes Firestore's indexes as Terraform and the page that explains them, from the services' SCHEMAs.

Every index, TTL policy and exemption follows from one declaration per query. With --check nothing is
written; it fails, naming every resource that is missing, not needed or changed, and says what to do.
Run it from the repository's root: `python -m iac.generate [--check]`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

from service_common.storage.firestore.indexes import collection_group, requirements
from service_common.storage.shapes import Schema

from iac.firestore_page import page
from iac.firestore_terraform import INDEX, changes, differences, resources, terraform

ROOT = Path(__file__).parents[1]
TERRAFORM = Path("iac/modules/firestore/indexes.tf")
PAGE = Path("docs/firestore-indexes.md")
SCHEMA_MODULES = (
    "content_cache.repository.schema",
    "prompt_optimizer.repository.schema",
    "parallel_processor.repository.schema",
    "progress_tracker.repository",
)
MOST = 1000
"""Composite indexes, and likewise field settings, that one database may have with billing enabled."""
ADVICE = f"""
{TERRAFORM} and {PAGE} are written from the services' SCHEMAs, never by hand.
What to do: run `make iac`, read the difference, commit both files with the change that caused it.
If an index, an exemption or a TTL policy should be another one, first change the query shape or the
collection in the SCHEMA of its service. An index that no query needs any more goes when its shape goes."""


class IncompleteError(Exception):
    """What is written by hand here does not fit what the services declare."""


def schemas() -> tuple[Schema, ...]:
    """Return what every service declares."""
    return tuple(import_module(each).SCHEMA for each in SCHEMA_MODULES)


def kept() -> dict[str, str]:
    """Return how long the documents of every collection are kept, by its id in Firestore."""
    life = _days(seconds=_setting("content_cache.config", "Settings", "cache_default_ttl_s"))
    retention = _days(days=_setting("progress_tracker.config", "Settings", "tracker_retention_days"))
    records = _days(
        days=_setting("prompt_optimizer.config", "OptimizerSettings", "optimizer_records_retention_d")
    )
    retained = f"`TRACKER_RETENTION_DAYS` ({retention} unless set) after"
    with_template, with_job = "as long as its template", "as long as its job"
    return {
        "cache_segments": "until nothing in it is needed; an entry lives as long as its writer says, else "
        f"`CACHE_DEFAULT_TTL_S` ({life} unless set). A segment with a removal goes by compaction",
        "cache_segment_parts": "as long as its segment",
        "cache_purges": "always: one per tenant that ever purged, with a bounded number of rules",
        "cache_purge_signals": "always: one",
        "cache_dictionaries": "until the last entry packed with it has expired, or its tenant purges all",
        "cache_heat": "a day after its replica noted last what was used; at most eight",
        "optimizer_templates": "until deleted, and as a tombstone for "
        + _constant("prompt_optimizer.repository.templates", "TOMBSTONE_LIFE"),
        "optimizer_versions": with_template,
        "optimizer_statistics": with_template,
        "optimizer_requests": f"{_constant('prompt_optimizer.repository.templates', 'REQUEST_LIFE')} after "
        "the request",
        "optimizer_quality_records": f"`OPTIMIZER_RECORDS_RETENTION_D` ({records} unless set) after the "
        "first outcome on the page",
        "optimizer_service": "always: a revision and a secret",
        "processor_jobs": "always: nothing deletes a job or what was paid for in it",
        "processor_item_chunks": with_job,
        "processor_shards": with_job,
        "processor_results": with_job,
        "processor_requests": f"{_constant('parallel_processor.repository.requests', 'RETENTION')} after the "
        "request",
        "processor_active_versions": "until the template is deleted",
        "processor_budgets": "always: a tenant's budget and what is spent of it",
        "processor_measures": "always: lengths and times of a tenant's calls, what is old weighing less",
        "processor_service": "always: the bell",
        "tracker_jobs": f"{retained} the job's last report",
        "tracker_producers": f"{retained} the last report of a producer in it",
        "tracker_events": f"{retained} the last event in it became durable",
        "tracker_secrets": "always: a secret",
    }


def render(declared: Sequence[Schema], kept_for: Mapping[str, str]) -> dict[Path, str]:
    """Return the generated files, each by its path below the repository's root.

    Raises:
        IncompleteError: If a collection lacks its sentence in `kept`, a sentence its collection, two schemas
            share a name, or a database cannot have so many indexes.
        ValueError: If a shape names a field that no index can hold.
    """
    if len({each.name for each in declared}) < len(declared):
        raise IncompleteError("two SCHEMAs have one name: their documents would mix in Firestore")
    groups = {collection_group(schema, each.name) for schema in declared for each in schema.collections}
    for name in sorted(groups ^ set(kept_for)):
        what = (
            "add how long its documents are kept"
            if name in groups
            else "there is no such collection, remove it"
        )
        raise IncompleteError(f"{name}: {what}, in kept() of iac/generate.py")
    needed = [requirements(each) for each in declared]
    found = resources(needed)
    composites = sum(each.kind == INDEX for each in found)
    fields = len(found) - composites
    if max(composites, fields) > MOST:
        raise IncompleteError(
            f"{composites} composite indexes, {fields} field settings: too many for a database"
        )
    limits = (
        f"All services together need {composites} composite indexes and {fields} field settings;\n"
        f"a database may have {MOST:,} of each."
    )
    return {
        TERRAFORM: terraform(found, page=str(PAGE)),
        PAGE: page(needed, kept_for, limits=limits, terraform=str(TERRAFORM)),
    }


def problems(root: Path, expected: Mapping[Path, str]) -> list[str]:
    """Return what differs between the files below `root` and what they should be, a line each."""
    found = {path: (root / path).read_text("utf-8") if (root / path).exists() else "" for path in expected}
    listed = differences(found[TERRAFORM], expected[TERRAFORM])
    if not listed and found[TERRAFORM] != expected[TERRAFORM]:
        listed.append(f"changed: {TERRAFORM}: outside of its resources, or in their order")
    if found[PAGE] != expected[PAGE]:
        first = changes(found[PAGE], expected[PAGE])[:2]
        listed.append(f"changed: {PAGE}: it {', it '.join(first) or 'has other blank lines'}")
    return listed


def main(arguments: Sequence[str], root: Path = ROOT) -> None:
    """Write both files, or check them.

    Raises:
        SystemExit: If the declarations are at fault; with --check also if the files differ.
    """
    try:
        expected = render(schemas(), kept())
    except (IncompleteError, ValueError) as error:
        sys.exit(f"the index gate: {error}")
    if "--check" not in arguments:
        for path, text in expected.items():
            (root / path).write_text(text, "utf-8")
        return
    listed = problems(root, expected)
    if listed:
        sys.exit(
            "\n".join(["the index gate: these are not the indexes that the queries need", *listed, ADVICE])
        )


def _constant(module: str, name: str) -> str:
    found: timedelta = getattr(import_module(module), name)
    return _days(seconds=found.total_seconds())


def _setting(module: str, settings: str, name: str) -> float:
    found: Any = getattr(import_module(module), settings).model_fields[name].default
    return float(found)


def _days(*, seconds: float = 0, days: float = 0) -> str:
    count = timedelta(seconds=seconds, days=days) / timedelta(days=1)
    return f"{count:g} day" + ("" if count == 1 else "s")


if __name__ == "__main__":
    main(sys.argv[1:])
