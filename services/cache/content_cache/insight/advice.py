"""What would be better and what it is worth, in dollars: arithmetic on what was observed of samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from content_cache.learning.use_sample import TagUse

_MIB: Final = 1024**2
_DAY_S: Final = 86_400.0
_DOLLAR: Final = 1_000_000
_LEAST_LOOKUPS: Final = 1000
_LEAST_SAMPLED: Final = 200
_LEAST_TAGGED: Final = 20
_WORTH_RAISING: Final = 0.01
_LOST_WITH_LESS: Final = 0.002
_BETTER_POLICY: Final = 1.02
_UNUSED_SHARE: Final = 0.8
_UNUSED_OF_LIMIT: Final = 0.02
_USED_UP: Final = 0.9
_SMALLER_BY: Final = 0.2


class Kind(Enum):
    """What can be recommended."""

    RAISE_LIMIT = "RAISE_LIMIT"
    LOWER_LIMIT = "LOWER_LIMIT"
    CHANGE_POLICY = "CHANGE_POLICY"
    PURGE_TAG = "PURGE_TAG"
    COMPRESS = "COMPRESS"


@dataclass(frozen=True, slots=True)
class LimitEstimate:
    """What another limit would give: hits, and micros a day beyond those of the present one."""

    capacity_bytes: int
    hit_ratio: float
    saved_micros_per_day: int


@dataclass(frozen=True, slots=True)
class PolicyEstimate:
    """What a policy would give on the sample; `active` is the one in use."""

    policy: str
    hit_ratio: float
    saved_micros_per_day: int
    active: bool


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One thing to do, and the micros a day it saves."""

    kind: Kind
    text: str
    saved_micros_per_day: int = 0


@dataclass(frozen=True, slots=True)
class Observed:
    """What advice is made from.

    Attributes:
        seconds: How long it was observed.
        lookups: Of the tenant that asks.
        hits: Those that found an entry.
        saved_micros: What they would have cost.
        capacity_bytes: The limit.
        size_bytes: What entries take.
        curve: LRU's hit ratio by limit, in bytes, the present one among them.
        policies: By name: hit ratio and micros saved on the sample, of all tenants as the curve.
        sampled_lookups: Lookups the policies saw.
        policy: The one in use.
        tags: The tenant's labels.
        compressed_part: What compression leaves of a byte, measured on some entries; None: not known.
        hit_ratio_compressed: LRU's with as much more content as that makes room for.
    """

    seconds: float
    lookups: int
    hits: int
    saved_micros: int
    capacity_bytes: int
    size_bytes: int
    curve: Mapping[int, float]
    policies: Mapping[str, tuple[float, int]]
    sampled_lookups: int
    policy: str
    tags: Sequence[TagUse] = ()
    compressed_part: float | None = None
    hit_ratio_compressed: float = 0.0

    def micros_per_day(self, ratio: float) -> int:
        """Return what so many more hits among lookups save a day, at what hits saved so far."""
        if not self.hits or self.seconds <= 0:
            return 0
        return round(ratio * self.lookups * (self.saved_micros / self.hits) * _DAY_S / self.seconds)


@dataclass(frozen=True, slots=True)
class Advice:
    """All of it, each in its order."""

    limits: tuple[LimitEstimate, ...]
    policies: tuple[PolicyEstimate, ...]
    tags: tuple[TagUse, ...]
    recommendations: tuple[Recommendation, ...]


def advise(observed: Observed) -> Advice:
    """Return what would be better; what cannot be judged yet is left out."""
    limits, policies = _limits(observed), _policies(observed)
    rules = (
        *_by_limit(observed, limits),
        *_by_policy(policies),
        *_by_tag(observed),
        *_by_compression(observed),
    )
    ordered = sorted(rules, key=lambda each: -each.saved_micros_per_day)
    return Advice(limits, policies, tuple(observed.tags), tuple(ordered))


def _limits(observed: Observed) -> tuple[LimitEstimate, ...]:
    now = observed.curve.get(observed.capacity_bytes, 0.0)
    return tuple(
        LimitEstimate(size, ratio, observed.micros_per_day(ratio - now))
        for size, ratio in sorted(observed.curve.items())
    )


def _policies(observed: Observed) -> tuple[PolicyEstimate, ...]:
    if observed.sampled_lookups < _LEAST_SAMPLED or observed.policy not in observed.policies:
        return ()
    base = observed.policies[observed.policy][1]
    # By how much more than the shadow of the one in use, applied to what that really saved.
    per_day = observed.saved_micros * _DAY_S / observed.seconds if observed.seconds > 0 else 0.0
    scale = per_day / base if base else 0.0
    estimates = (
        PolicyEstimate(name, ratio, round((saved - base) * scale), name == observed.policy)
        for name, (ratio, saved) in observed.policies.items()
    )
    return tuple(sorted(estimates, key=lambda each: (not each.active, -each.saved_micros_per_day)))


def _by_limit(observed: Observed, limits: Sequence[LimitEstimate]) -> Iterator[Recommendation]:
    if observed.lookups < _LEAST_LOOKUPS or observed.size_bytes < _USED_UP * observed.capacity_bytes:
        return
    now = observed.curve.get(observed.capacity_bytes, 0.0)
    larger = [each for each in limits if each.capacity_bytes > observed.capacity_bytes]
    worth = [each for each in larger if each.hit_ratio - now >= _WORTH_RAISING]
    if worth:
        # The first step that gets nearly all there is to get.
        most = max(each.hit_ratio for each in worth)
        best = next(each for each in worth if most - each.hit_ratio < _WORTH_RAISING)
        yield Recommendation(
            Kind.RAISE_LIMIT,
            f"CACHE_MAX_BYTES of {_size(best.capacity_bytes)} instead of "
            f"{_size(observed.capacity_bytes)} would "
            f"raise the hit ratio from about {now:.1%} to {best.hit_ratio:.1%}, worth "
            f"{_dollars(best.saved_micros_per_day)} a day",
            best.saved_micros_per_day,
        )
        return
    smaller = [each for each in limits if each.capacity_bytes < observed.capacity_bytes]
    enough = [each for each in smaller if now - each.hit_ratio <= _LOST_WITH_LESS]
    if enough:
        least = enough[0]
        yield Recommendation(
            Kind.LOWER_LIMIT,
            f"CACHE_MAX_BYTES of {_size(least.capacity_bytes)} would do: about {least.hit_ratio:.1%} hits "
            f"instead of {now:.1%} with {_size(observed.capacity_bytes)}",
        )


def _by_policy(policies: Sequence[PolicyEstimate]) -> Iterator[Recommendation]:
    if not policies:
        return
    active, *others = policies
    best = max(others, key=lambda each: (each.saved_micros_per_day, each.hit_ratio), default=active)
    more_hits = best.hit_ratio > _BETTER_POLICY * active.hit_ratio
    if best.saved_micros_per_day > 0 or (best.saved_micros_per_day == 0 and more_hits):
        yield Recommendation(
            Kind.CHANGE_POLICY,
            f"CACHE_POLICY={best.policy} instead of {active.policy} would hit about {best.hit_ratio:.1%} of "
            "lookups "
            f"instead of {active.hit_ratio:.1%}, worth {_dollars(best.saved_micros_per_day)} a day",
            best.saved_micros_per_day,
        )


def _by_tag(observed: Observed) -> Iterator[Recommendation]:
    for each in observed.tags:
        wastes = each.unused_bytes >= _UNUSED_SHARE * each.size_bytes
        matters = each.unused_bytes >= _UNUSED_OF_LIMIT * observed.capacity_bytes
        if each.sampled >= _LEAST_TAGGED and wastes and matters:
            yield Recommendation(
                Kind.PURGE_TAG,
                f"{each.tag} takes about {_size(each.size_bytes)}, "
                f"{each.unused_bytes / each.size_bytes:.0%} of "
                f"it never used: factory cache purge --tag {each.tag} --leave-first",
            )


def _by_compression(observed: Observed) -> Iterator[Recommendation]:
    part = observed.compressed_part
    if part is None or part > 1 - _SMALLER_BY or observed.size_bytes < _USED_UP * observed.capacity_bytes:
        return
    gain = observed.hit_ratio_compressed - observed.curve.get(observed.capacity_bytes, 0.0)
    saved = observed.micros_per_day(gain)
    yield Recommendation(
        Kind.COMPRESS,
        f"compression would leave about {part:.0%} of what entries take; the room would hold more of "
        "them and "
        f"raise the hit ratio by about {100 * gain:.1f} points, worth {_dollars(saved)} a day",
        saved,
    )


def _size(size_bytes: float) -> str:
    return f"{size_bytes / _MIB:,.1f} MiB"


def _dollars(micros: int) -> str:
    return f"${micros / _DOLLAR:,.2f}"
