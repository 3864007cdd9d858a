"""Items, outcomes and pieces the processor's tests are made of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from parallel_processor.jobs.item import Dependency, Item, ItemState, Outcome
from parallel_processor.jobs.job import Job, Priority
from parallel_processor.jobs.piece import Piece, PieceError, PieceSpec, RawPrompt, Sampling, Usage
from parallel_processor.jobs.shard import ItemSource, Shard, new_shard
from parallel_processor.running.ports import Owner

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LEASE = timedelta(seconds=15)
OWNER = Owner("acme", "ann")


def item(item_id: str, *needs: str, labels: dict[str, str] | None = None) -> Item:
    """Return an item of a template; each id it needs feeds a variable of its own."""
    spec = PieceSpec(template_id="faq", variables={"topic": item_id})
    depends_on = tuple(Dependency(each, f"v{number}") for number, each in enumerate(needs))
    return Item(item_id, spec, depends_on, labels or {})


def raw_spec(text: str = "Say hello.", *, max_tokens: int = 50) -> PieceSpec:
    """Return a spec of a raw prompt."""
    return PieceSpec(raw=RawPrompt((("user", text),), Sampling(max_tokens)))


def piece(content: str = "text", *, cached: bool = False, cost: int = 7, key: str = "k1-0") -> Piece:
    """Return a piece made from a template."""
    return Piece(
        content=content,
        content_type="faq",
        model="m",
        template_id="faq",
        template_version=1,
        cache_key=key,
        cached=cached,
        truncated=False,
        prompt_tokens=10,
        output_tokens=20,
        cost_micros=cost,
        quality=0.5,
        generate_s=0.0 if cached else 1.0,
    )


def outcome(item_id: str = "a", state: ItemState = ItemState.SUCCEEDED, *, content: str = "text") -> Outcome:
    """Return how an item ended; one that succeeded took one call."""
    good = state is ItemState.SUCCEEDED
    return Outcome(
        item_id=item_id,
        state=state,
        finish_time=NOW,
        piece=piece(content) if good else None,
        error=None if good else PieceError("MODEL_REFUSED", "no"),
        attempts=1,
        usage=Usage(10, 20, 1, 7) if good else Usage(),
    )


def job(items: int = 3, **changes: object) -> Job:
    """Return a draft job."""
    fields = {"job_id": "job", "tenant": "acme", "user": "ann", "create_time": NOW, "item_count": items}
    return Job(**{**fields, **changes})  # type: ignore[arg-type]  # a job's fields, by name


def shard(size: int = 3, *, number: int = 0, now: datetime = NOW) -> Shard:
    """Return a shard of a job that was just started."""
    return new_shard(
        job_id="job",
        tenant="acme",
        number=number,
        priority=Priority.NORMAL,
        sources=[ItemSource(0, tuple(range(size)))],
        now=now,
    )
