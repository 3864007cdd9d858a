"""Domain values to document fields and back. Defaults are left out, so that small things stay small."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from datetime import datetime
from functools import cache
from typing import Any

from service_common.output_contract import contract_of, contract_to_fields

from parallel_processor.jobs.item import Dependency, Item, ItemCounts, ItemState, Outcome
from parallel_processor.jobs.job import Job, JobState, Priority, StateReason
from parallel_processor.jobs.life import attention_at
from parallel_processor.jobs.piece import (
    CachePolicy,
    Piece,
    PieceError,
    PieceSpec,
    RawPrompt,
    Sampling,
    Usage,
)
from parallel_processor.jobs.shard import ItemSource, Shard, ShardPhase
from parallel_processor.jobs.terms import Terms

Fields = dict[str, Any]


@cache
def _defaults(kind: type) -> tuple[tuple[str, Any], ...]:
    """Return the names of a dataclass's fields with their defaults, MISSING where there is none."""
    return tuple((each.name, each.default) for each in fields(kind))


def _sparse(value: Any) -> Fields:
    """Return a dataclass's fields that differ from their defaults, one level deep."""
    sparse: Fields = {}
    for name, default in _defaults(type(value)):  # type: ignore[arg-type]  # a class is hashable
        content = getattr(value, name)
        if default is MISSING or content != default:
            sparse[name] = content
    return sparse


def _flat(value: Any) -> Fields:
    """Return all fields of a dataclass, one level deep."""
    return {each: getattr(value, each) for each in type(value).__slots__}


def item_to_fields(item: Item) -> Fields:
    """Write an item."""
    record: Fields = {"item_id": item.item_id, "spec": _spec_to_fields(item.spec)}
    if item.depends_on:
        record["depends_on"] = [
            {"item_id": each.item_id, "variable": each.variable} for each in item.depends_on
        ]
    if item.labels:
        record["labels"] = dict(item.labels)
    return record


def item_from_fields(record: Mapping[str, Any]) -> Item:
    """Read an item."""
    return Item(
        item_id=record["item_id"],
        spec=spec_from_fields(record["spec"]),
        depends_on=tuple(Dependency(**each) for each in record.get("depends_on", ())),
        labels=record.get("labels", {}),
    )


def _spec_to_fields(spec: PieceSpec) -> Fields:
    record = _sparse(spec)
    if not spec.variables:
        record.pop("variables", None)
    if spec.raw is not None:
        messages = [{"role": role, "content": content} for role, content in spec.raw.messages]
        record["raw"] = {"messages": messages, "sampling": _sparse(spec.raw.sampling)}
    if spec.cache_policy is not None:
        record["cache_policy"] = spec.cache_policy.value
    if spec.fallback_models:
        record["fallback_models"] = [*spec.fallback_models]
    if spec.output_contract is not None:
        record["output_contract"] = contract_to_fields(spec.output_contract)
    return record


def spec_from_fields(record: Mapping[str, Any]) -> PieceSpec:
    """Read what to generate."""
    known = dict(record)
    if raw := known.get("raw"):
        messages = tuple((each["role"], each["content"]) for each in raw["messages"])
        known["raw"] = RawPrompt(messages, sampling_from_fields(raw["sampling"]))
    if policy := known.get("cache_policy"):
        known["cache_policy"] = CachePolicy(policy)
    if models := known.get("fallback_models"):
        known["fallback_models"] = tuple(models)
    if (contract := known.get("output_contract")) is not None:
        known["output_contract"] = contract_of(contract)
    if handlers := known.get("handlers"):
        known["handlers"] = tuple(handlers)
    return PieceSpec(**known)


def sampling_from_fields(record: Mapping[str, Any]) -> Sampling:
    """Read how to sample."""
    return Sampling(**{**record, "stop": tuple(record.get("stop", ()))})


def outcome_to_fields(index: int, outcome: Outcome) -> Fields:
    """Write how an item ended, with its place in the shard."""
    record = _sparse(outcome) | {"index": index, "state": int(outcome.state), "usage": _sparse(outcome.usage)}
    record["stages"] = dict(outcome.stages)
    record["labels"] = dict(outcome.labels)
    if outcome.piece is not None:
        record["piece"] = _flat(outcome.piece)
    if outcome.error is not None:
        record["error"] = _flat(outcome.error)
    return record


def outcome_from_fields(record: Mapping[str, Any]) -> tuple[int, Outcome]:
    """Read an item's place in the shard and how it ended."""
    known = dict(record)
    index = known.pop("index")
    known["state"] = ItemState(known["state"])
    known["usage"] = Usage(**known["usage"])
    if piece := known.get("piece"):
        known["piece"] = Piece(**piece)
    if error := known.get("error"):
        known["error"] = PieceError(**error)
    return index, Outcome(**known)


def piece_to_fields(piece: Piece) -> Fields:
    """Write a piece."""
    return _flat(piece)


def piece_from_fields(record: Mapping[str, Any]) -> Piece:
    """Read a piece."""
    return Piece(**record)


def job_to_fields(job: Job) -> Fields:
    """Write a job; the tenant is part of its path."""
    record = _sparse(job) | {
        "state": job.state.value,
        "priority": int(job.priority),
        "cache_policy": job.cache_policy.value,
        "labels": dict(job.labels),
        "items_by_content_type": dict(job.items_by_content_type),
        "counts": _sparse(job.counts),
        "usage": _sparse(job.usage),
        "unreported": job.unreported,
        "open": job.start_time is not None and job.finish_time is None,
    }
    if job.start_time is not None:
        record["stirred"] = job.stir_time or job.start_time
    if terms := _terms_to_fields(job.terms):
        record["terms"] = terms
    if job.state_reason is not None:
        record["state_reason"] = _flat(job.state_reason)
    if (due := attention_at(job)) is not None:  # only those that are due some time are found by it
        record["attention_at"] = due
    del record["tenant"]
    return record


def _terms_to_fields(terms: Terms) -> Fields:
    record = _sparse(terms)
    if terms.fallback_models:
        record["fallback_models"] = [*terms.fallback_models]
    return record


def _terms_from_fields(record: Mapping[str, Any]) -> Terms:
    return Terms(**{**record, "fallback_models": tuple(record.get("fallback_models", ()))})


def job_from_fields(tenant: str, record: Mapping[str, Any]) -> Job:
    """Read a job."""
    known = dict(record)
    known.pop("open", None)
    known.pop("stirred", None)
    known["state"] = JobState(known["state"])
    known["priority"] = Priority(known["priority"])
    known["cache_policy"] = CachePolicy(known["cache_policy"])
    known["counts"] = ItemCounts(**known["counts"])
    known["usage"] = Usage(**known["usage"])
    known["terms"] = _terms_from_fields(known.get("terms", {}))
    if reason := known.get("state_reason"):
        known["state_reason"] = StateReason(**reason)
    known.pop("attention_at", None)
    return Job(tenant=tenant, **known)


def shard_to_fields(shard: Shard) -> Fields:
    """Write a shard; the tenant is part of its path, and None is written so that queries see it."""
    record = _sparse(shard) | {
        "phase": shard.phase.value,
        "priority": int(shard.priority),
        "sources": [{"chunk": each.chunk, "positions": list(each.positions)} for each in shard.sources],
        "intents": {str(index): worst for index, worst in shard.intents.items()},
        "usage": _sparse(shard.usage),
        "reopened": {str(round_): results for round_, results in shard.reopened.items()},
        "crashes": {str(index): times for index, times in shard.crashes.items()},
        "claimable": shard.claimable_at is not None and not shard.parked,
        "unreported": shard.unreported,
    }
    del record["tenant"]
    return record


def shard_from_fields(tenant: str, record: Mapping[str, Any]) -> Shard:
    """Read a shard."""
    known = dict(record)
    del known["claimable"]
    known["phase"] = ShardPhase(known["phase"])
    known["priority"] = Priority(known["priority"])
    known["sources"] = tuple(ItemSource(each["chunk"], tuple(each["positions"])) for each in known["sources"])
    known["intents"] = {int(index): worst for index, worst in known["intents"].items()}
    known["usage"] = Usage(**known["usage"])
    for counted in ("reopened", "crashes"):
        known[counted] = {int(each): number for each, number in known.get(counted, {}).items()}
    for listed in ("result_chunks", "inherited"):
        known[listed] = tuple(known.get(listed, ()))
    claimable_at: datetime | None = known.get("claimable_at")
    return Shard(tenant=tenant, **{**known, "claimable_at": claimable_at})
