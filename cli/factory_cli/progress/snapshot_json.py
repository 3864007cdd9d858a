"""A snapshot for scripts."""

from __future__ import annotations

from dataclasses import asdict

from factory_cli.progress.snapshot import JobSnapshot


def as_json(snapshot: JobSnapshot) -> dict[str, object]:
    """Return a snapshot as JSON values; times in RFC 3339, durations in seconds."""
    facts: dict[str, object] = asdict(snapshot)
    for name in ("started_at", "finished_at"):
        moment = getattr(snapshot, name)
        facts[name] = moment.isoformat() if moment else None
    facts["finished"] = snapshot.finished
    facts["duration_s"] = snapshot.duration.total_seconds() if snapshot.duration else None
    return facts
