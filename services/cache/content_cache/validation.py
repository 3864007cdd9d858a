"""What requests must be like; what is not is INVALID_ARGUMENT and names its field as the contract does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from contentfactory.cache.v1 import cache_pb2
from google.protobuf.duration_pb2 import Duration
from service_common.errors import FieldViolation, ServiceError, invalid_argument, invalid_field

MAX_BATCH = 1000
MAX_KEY_BYTES = 512
MAX_HOLDER_BYTES = 256
MAX_VALUE_BYTES = 1024 * 1024
MAX_CONTENT_TYPE_BYTES = 128
MAX_TAGS = 16
MAX_TAG_BYTES = 128
MAX_METADATA = 32
MAX_METADATA_KEY_BYTES = 64
MAX_METADATA_VALUE_BYTES = 1024
CHECKSUM_BYTES = 32
DEFAULT_LEASE_S = 30.0
MIN_LEASE_S = 1.0
MAX_LEASE_S = 600.0
MAX_STALE_S = 30 * 24 * 3600.0
MAX_GENERATION_S = 24 * 3600.0
MAX_SIMILAR_BATCH = 100
MAX_MODEL_BYTES = 256
MAX_INSTRUCTIONS_BYTES = 256 * 1024
MAX_PARAMETERS_BYTES = 4 * 1024
MAX_PROMPT_BYTES = 32 * 1024

_MAX_UTF8_BYTES_PER_CHARACTER = 4
_MAX_DURATION_S = 315_576_000_000
_BILLION = 1_000_000_000


def check_batch(field: str, batch: Sized) -> None:
    """Refuse a batch of no or too many requests."""
    if not 1 <= len(batch) <= MAX_BATCH:
        raise invalid_field(field, f"must hold 1 to {MAX_BATCH}, got {len(batch)}")


def check_key(field: str, key: str) -> None:
    """Refuse what cannot be a key."""
    if key and len(key) * _MAX_UTF8_BYTES_PER_CHARACTER <= MAX_KEY_BYTES:
        return
    _check_name(field, key, MAX_KEY_BYTES)


def bad_keys(field: str, keys: Sequence[str]) -> dict[int, ServiceError]:
    """Return what is wrong with those of a batch's keys that cannot be keys, by their places in it."""
    lengths = set(map(len, keys))
    if 0 not in lengths and max(lengths) * _MAX_UTF8_BYTES_PER_CHARACTER <= MAX_KEY_BYTES:
        return {}
    bad: dict[int, ServiceError] = {}
    for index, key in enumerate(keys):
        try:
            check_key(f"{field}[{index}].key", key)
        except ServiceError as error:
            bad[index] = error
    return bad


def check_token(field: str, token: str) -> None:
    """Refuse a missing lease token."""
    if not token:
        raise invalid_field(field, "is required")


def check_holder(request: cache_pb2.BatchAcquireRequest | cache_pb2.AwaitEntriesRequest) -> None:
    """Refuse a holder without a name, or with a negative epoch."""
    _check_name("holder", request.holder, MAX_HOLDER_BYTES)
    if request.holder_epoch < 0:
        raise invalid_field("holder_epoch", f"must not be negative, got {request.holder_epoch}")


def check_keys_once(keys: Sequence[str]) -> None:
    """Refuse keys to wait for that are none, too many, malformed or there twice."""
    check_batch("keys", keys)
    seen: set[str] = set()
    for index, key in enumerate(keys):
        check_key(f"keys[{index}]", key)
        if key in seen:
            raise invalid_field(f"keys[{index}]", "names a key a second time; each is waited for once")
        seen.add(key)


def check_purge(request: cache_pb2.PurgeRequest) -> None:
    """Refuse a purge that does not say what, or cannot do what it says."""
    chosen = request.WhichOneof("selector")
    if chosen is None or (chosen == "all" and not request.all):
        raise invalid_field("selector", "is required: tag, key_prefix, template_version, or all set to true")
    if chosen == "tag":
        _check_name("tag", request.tag, MAX_TAG_BYTES)
    elif chosen == "key_prefix":
        _check_name("key_prefix", request.key_prefix, MAX_KEY_BYTES)
    elif chosen == "template_version":
        _check_template_version(request.template_version)
    if request.mode not in cache_pb2.PurgeMode.values():
        raise invalid_field("mode", f"is no mode of this release: {request.mode}")
    if chosen == "all" and request.mode == cache_pb2.PURGE_MODE_LEAVE_FIRST:
        raise invalid_field("mode", "everything cannot leave first; name a tag, prefix or template version")


def check_warming(request: cache_pb2.StartWarmingRequest) -> None:
    """Refuse a warming without what its strategy needs, or with negative budgets."""
    if request.strategy not in cache_pb2.WarmingStrategy.values():
        raise invalid_field("strategy", f"is no strategy of this release: {request.strategy}")
    if request.tag or request.strategy == cache_pb2.WARMING_STRATEGY_TAG:
        _check_name("tag", request.tag, MAX_TAG_BYTES)
    for field, value in (("max_bytes", request.max_bytes), ("max_entries", request.max_entries)):
        if value < 0:
            raise invalid_field(field, f"must not be negative, got {value}")


def check_warming_id(warming_id: str) -> None:
    """Refuse to look for a warming without a name."""
    if not warming_id:
        raise invalid_field("warming_id", "is required")


def template_tag(template_id: str, version: int) -> str:
    """Return the label of entries generated from a version of a template."""
    return f"template:{template_id}@{version}"


def _check_template_version(named: cache_pb2.PurgeRequest.TemplateVersion) -> None:
    if named.version < 1:
        raise invalid_field("template_version.version", f"must be at least 1, got {named.version}")
    most = MAX_TAG_BYTES - len(template_tag("", named.version))
    _check_name("template_version.template_id", named.template_id, most)


def stale_s(field: str, content: cache_pb2.EntryContent, expires: datetime) -> float:
    """Return how many seconds after its expiry the content may be handed out as stale."""
    seconds = _seconds(f"{field}.stale_window", content.stale_window, MAX_STALE_S)
    try:
        _ = expires + timedelta(seconds=seconds)
    except OverflowError as error:
        raise invalid_field(f"{field}.stale_window", "must end before the year 10000") from error
    return seconds


def generation_s(field: str, content: cache_pb2.EntryContent) -> float:
    """Return how many seconds generating the content took; 0 if that is not said."""
    return _seconds(f"{field}.generation_time", content.generation_time, MAX_GENERATION_S)


def _seconds(field: str, given: Duration, most: float) -> float:
    seconds = given.seconds + given.nanos / _BILLION
    if not 0 <= seconds <= most:
        raise invalid_field(field, f"must be 0 to {most:g} seconds")
    return seconds


def lease_ttl_s(
    request: cache_pb2.BatchAcquireRequest
    | cache_pb2.BatchRenewLeasesRequest
    | cache_pb2.AwaitEntriesRequest,
) -> float:
    """Return how long the leases are to last, in seconds."""
    if not request.HasField("lease_ttl"):
        return DEFAULT_LEASE_S
    seconds = request.lease_ttl.seconds + request.lease_ttl.nanos / _BILLION
    if not MIN_LEASE_S <= seconds <= MAX_LEASE_S:
        raise invalid_field("lease_ttl", f"must be {MIN_LEASE_S:g} to {MAX_LEASE_S:g} seconds")
    return seconds


def check_content(field: str, content: cache_pb2.EntryContent) -> None:
    """Refuse content that breaks a limit or whose checksum is not its value's; names every bad field."""
    violations = [
        FieldViolation(f"{field}.{name}", description) for name, description in _content_problems(content)
    ]
    if violations:
        raise invalid_argument(*violations)


def expire_time(
    field: str, content: cache_pb2.EntryContent, *, now: datetime, default_ttl: timedelta
) -> datetime:
    """Return the moment the content stops being served."""
    chosen = content.WhichOneof("expiration")
    if chosen is None:
        return now + default_ttl
    if chosen == "ttl":
        return _after(f"{field}.ttl", content.ttl, now)
    try:
        return content.expire_time.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise invalid_field(f"{field}.expire_time", "must be a moment of the years 1 to 9999") from error


def check_similar_batch(requests: Sized) -> None:
    """Refuse a batch of no or too many prompts or tickets; each costs milliseconds."""
    if not 1 <= len(requests) <= MAX_SIMILAR_BATCH:
        raise invalid_field("requests", f"must hold 1 to {MAX_SIMILAR_BATCH}, got {len(requests)}")


def check_similar(field: str, request: cache_pb2.BatchFindSimilarRequest.FindSimilarRequest) -> None:
    """Refuse a prompt that breaks a limit; names every bad field."""
    prompt = request.prompt
    problems = [
        FieldViolation(
            f"{field}{name}", f"must be {least} to {most} bytes of UTF-8, got {len(text.encode())}"
        )
        for name, text, least, most in (
            ("key", request.key, 1, MAX_KEY_BYTES),
            ("prompt.model", prompt.model, 1, MAX_MODEL_BYTES),
            ("prompt.instructions", prompt.instructions, 0, MAX_INSTRUCTIONS_BYTES),
            ("prompt.parameters", prompt.parameters, 0, MAX_PARAMETERS_BYTES),
            ("prompt.text", prompt.text, 1, MAX_PROMPT_BYTES),
        )
        if not least <= len(text.encode()) <= most
    ]
    if problems:
        raise invalid_argument(*problems)


def check_learned(field: str, request: cache_pb2.BatchLearnSimilarRequest.LearnSimilarRequest) -> None:
    """Refuse a missing ticket, or an equivalence this release does not know."""
    if not request.ticket:
        raise invalid_field(f"{field}ticket", "is required")
    if request.equivalence not in cache_pb2.AnswerEquivalence.values():
        raise invalid_field(f"{field}equivalence", f"is none of AnswerEquivalence, got {request.equivalence}")


def _after(field: str, ttl: Duration, now: datetime) -> datetime:
    if abs(ttl.seconds) > _MAX_DURATION_S or abs(ttl.nanos) >= _BILLION or ttl.seconds * ttl.nanos < 0:
        raise invalid_field(field, "is not a duration")
    if ttl.seconds < 0 or ttl.nanos < 0 or ttl.seconds == ttl.nanos == 0:
        raise invalid_field(field, "must be more than zero")
    try:
        return now + timedelta(seconds=ttl.seconds, microseconds=ttl.nanos // 1000)
    except OverflowError as error:
        raise invalid_field(field, "must end before the year 10000") from error


def _check_name(field: str, name: str, most: int) -> None:
    size = len(name.encode())
    if not 1 <= size <= most:
        raise invalid_field(field, f"must be 1 to {most} bytes of UTF-8, got {size}")


def _content_problems(content: cache_pb2.EntryContent) -> Iterator[tuple[str, str]]:
    if len(content.value) > MAX_VALUE_BYTES:
        yield "value", f"must be at most {MAX_VALUE_BYTES} bytes, got {len(content.value)}"
    if _exceeds(content.content_type, MAX_CONTENT_TYPE_BYTES):
        yield "content_type", f"must be at most {MAX_CONTENT_TYPE_BYTES} bytes"
    if len(content.tags) > MAX_TAGS:
        yield "tags", f"must be at most {MAX_TAGS}, got {len(content.tags)}"
    for index, tag in enumerate(content.tags[:MAX_TAGS]):
        if _exceeds(tag, MAX_TAG_BYTES):
            yield f"tags[{index}]", f"must be at most {MAX_TAG_BYTES} bytes"
    yield from _metadata_problems(content)
    if content.cost_micros < 0:
        yield "cost_micros", f"must not be negative, got {content.cost_micros}"
    if content.checksum:
        yield from _checksum_problems(content)


def _metadata_problems(content: cache_pb2.EntryContent) -> Iterator[tuple[str, str]]:
    if len(content.metadata) > MAX_METADATA:
        yield "metadata", f"must be at most {MAX_METADATA} pairs, got {len(content.metadata)}"
        return
    for key, value in content.metadata.items():
        if _exceeds(key, MAX_METADATA_KEY_BYTES):
            yield "metadata", f"a key must be at most {MAX_METADATA_KEY_BYTES} bytes"
        if _exceeds(value, MAX_METADATA_VALUE_BYTES):
            yield f"metadata[{key!r}]", f"must be at most {MAX_METADATA_VALUE_BYTES} bytes"


def _checksum_problems(content: cache_pb2.EntryContent) -> Iterator[tuple[str, str]]:
    if len(content.checksum) != CHECKSUM_BYTES:
        yield "checksum", f"must be empty or {CHECKSUM_BYTES} bytes, got {len(content.checksum)}"
    elif len(content.value) <= MAX_VALUE_BYTES and sha256(content.value).digest() != content.checksum:
        yield "checksum", "is not the SHA-256 of the value: it was damaged on the way"


def _exceeds(text: str, most: int) -> bool:
    return len(text) > most or (not text.isascii() and len(text.encode()) > most)
