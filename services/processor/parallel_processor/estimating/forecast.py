"""Calls to come, and what they will cost and take together; pure.

What is uncertain is kept apart by where it comes from: how single calls differ evens out over many, what is
not known of their kind does not, and a sample stands for the rest only so well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from parallel_processor.estimating.measure import NOT_MEASURED, Kind, Measure, Measures, of_kinds
from parallel_processor.estimating.moments import Moments
from parallel_processor.estimating.posterior import Belief, Interval, assumed, interval, learned, limited
from parallel_processor.model.prices import ModelPrice

_OUTPUT_SHARE, _OUTPUT_SPREAD = 0.4, 0.9
"""Without any measure an output is taken to be some part of what it may be: a tenth of it, or all."""

_TOKENS_PER_CHARACTER, _TOKENS_SPREAD = 0.25, 0.3
_RELATIVES = 3.0
"""How many calls the experience with other models or content types is worth."""

_MILLION = 1_000_000
_SCHEDULING = 0.15
"""How far a schedule is from the ideal one that the forecast takes for granted, as a share."""

_WRITING_S = 1.0
"""What prompts, commits and the job's totals add to the calls at the most."""

_ROUNDING = 0.5
"""Micros that rounding up adds to a call, on average."""


@dataclass(slots=True)
class Call:
    """A call that will be made.

    Attributes:
        kind: Calls like it.
        price: Of its model.
        prompt_characters: Of its prompt, as far as known, contents of other items at their expected length.
        chunk: Which part of the sample it is from.
        level: How many calls must be over before it can begin.
        readers: Prices, per million tokens, of the prompts that its output becomes part of.
    """

    kind: Kind
    price: ModelPrice
    prompt_characters: int
    chunk: int
    level: int
    readers: list[int] = field(default_factory=list)

    @property
    def output_price(self) -> float:
        """Micros that each token of its output costs, here and where it is read."""
        return (self.price.output_micros_per_million + sum(self.readers)) / _MILLION


@dataclass(frozen=True, slots=True)
class Forecast:
    """What calls will come to.

    Attributes:
        cost: In micros of US dollars, scaled to the whole job.
        seconds: How long they take with so many at a time; None while nothing was ever measured.
        measured: How many earlier calls of the same kinds the output lengths rest on.
    """

    cost: Interval
    seconds: Interval | None
    measured: int


class Experience:
    """What earlier calls say of the next: its own kind first, then its relatives, then rules of thumb."""

    def __init__(self, measures: Measures) -> None:
        self._measures = measures
        self._all = of_kinds(measures, measures)

    def measured(self, kind: Kind) -> int:
        """How many calls of a kind were measured."""
        found = self._measures.get(kind)
        return round(found.output_tokens.count) if found is not None else 0

    def output(self, kind: Kind) -> Belief:
        """Return what is believed of an output's tokens; those cut off earlier say little of longer ones."""
        whole = [each for each in self._of_type(kind) if each.max_tokens >= kind.max_tokens]
        relatives = of_kinds(self._measures, whole or self._of_type(kind)).output_tokens
        start = assumed(_OUTPUT_SHARE * kind.max_tokens, spread=_OUTPUT_SPREAD)
        before = limited(learned(start, relatives), kind.max_tokens)
        return learned(before, self._own(kind).output_tokens, most=_RELATIVES)

    def output_characters(self, kind: Kind) -> int:
        """Return about how many characters an output has."""
        own, same_type, all_ = self._seen(kind, "output_characters")
        per_token = _first(own, same_type, all_, default=1.0 / _TOKENS_PER_CHARACTER)
        return round(self.output(kind).mean * per_token)

    def prompt_tokens(self, kind: Kind) -> Belief:
        """Return what is believed of a prompt's tokens per character."""
        own, same_type, all_ = self._seen(kind, "prompt_tokens")
        start = assumed(_TOKENS_PER_CHARACTER, spread=_TOKENS_SPREAD)
        return learned(learned(learned(start, all_), same_type, most=_RELATIVES), own, most=_RELATIVES)

    def seconds(self, kind: Kind) -> Belief | None:
        """Return what is believed of a call's duration; None while nothing was ever measured."""
        own, same_type, all_ = self._seen(kind, "seconds")
        if not all_.count:
            return None
        start = assumed(all_.mean, spread=0.5)
        return learned(learned(start, same_type), own, most=_RELATIVES)

    def _seen(self, kind: Kind, name: str) -> tuple[Moments, Moments, Moments]:
        """Return what was seen of a quantity: for the kind, for its content type, and at all."""
        alike = of_kinds(self._measures, self._of_type(kind))
        return getattr(self._own(kind), name), getattr(alike, name), getattr(self._all, name)

    def _own(self, kind: Kind) -> Measure:
        return self._measures.get(kind, NOT_MEASURED)

    def _of_type(self, kind: Kind) -> list[Kind]:
        return [each for each in self._measures if each.content_type == kind.content_type]


def forecast(
    calls: Sequence[Call], experience: Experience, *, scale: float, at_once: int, unread_chunks: float = 0.0
) -> Forecast:
    """Say what calls will cost and take.

    Args:
        calls: The calls, of the whole job or of a sample.
        experience: What earlier calls say.
        scale: How many times the sample makes up the job.
        at_once: How many calls are made at a time.
        unread_chunks: The share of the job's chunks that is not in the sample.
    """
    by_kind: defaultdict[Kind, list[Call]] = defaultdict(list)
    for each in calls:
        by_kind[each.kind].append(each)
    costs = {kind: _cost_of_kind(kind, alike, experience) for kind, alike in by_kind.items()}
    by_chunk: defaultdict[int, float] = defaultdict(float)
    for kind, alike in by_kind.items():
        for each in alike:
            by_chunk[each.chunk] += scale * costs[kind].mean / len(alike)
    variance = scale * sum(each.single for each in costs.values())
    variance += scale**2 * _doubt(costs.values())
    variance += _sampling_variance([*by_chunk.values()]) * unread_chunks
    return Forecast(
        interval(scale * sum(each.mean for each in costs.values()), variance),
        _duration(calls, experience, scale=scale, at_once=at_once),
        sum(experience.measured(kind) for kind in by_kind),
    )


@dataclass(frozen=True, slots=True)
class _Cost:
    """What calls of one kind cost.

    Attributes:
        mean: The expectation.
        single: The variance that comes of how single calls differ.
        own: The variance that comes of what is not known of the kind.
        borrowed: The deviation that comes of taking it for others like it, in which all kinds may err alike.
    """

    mean: float
    single: float
    own: float
    borrowed: float


def _cost_of_kind(kind: Kind, calls: Sequence[Call], experience: Experience) -> _Cost:
    ratio, output = experience.prompt_tokens(kind), experience.output(kind)
    prompts = [each.prompt_characters * each.price.prompt_micros_per_million / _MILLION for each in calls]
    prices = [each.output_price for each in calls]
    mean = ratio.mean * sum(prompts)
    mean += output.mean * sum(each.price.output_micros_per_million for each in calls) / _MILLION
    parts = ((ratio, prompts), (output, prices))
    return _Cost(
        mean=mean + (_ROUNDING * len(calls) if mean else 0.0),
        single=sum(belief.variance * sum(each**2 for each in weights) for belief, weights in parts),
        own=sum((1.0 - belief.borrowed) * belief.doubt * sum(weights) ** 2 for belief, weights in parts),
        borrowed=sum((belief.borrowed * belief.doubt) ** 0.5 * sum(weights) for belief, weights in parts),
    )


def _doubt(costs: Iterable[_Cost]) -> float:
    """Return the variance that does not even out: where kinds borrow their experience they err together."""
    own = borrowed = 0.0
    for each in costs:
        own, borrowed = own + each.own, borrowed + each.borrowed
    return own + borrowed**2


def _sampling_variance(chunks: Sequence[float]) -> float:
    """Return the variance of a total that was scaled up from chunks (Cochran, "Sampling Techniques")."""
    count = len(chunks)
    if count < 2:  # noqa: PLR2004 - one chunk says nothing of how chunks differ
        return sum(chunks) ** 2 / 4.0
    mean = sum(chunks) / count
    return count * sum((each - mean) ** 2 for each in chunks) / (count - 1)


def _duration(
    calls: Sequence[Call], experience: Experience, *, scale: float, at_once: int
) -> Interval | None:
    """Say how long calls take: level after level, so many at a time, no level faster than one call."""
    levels: defaultdict[int, list[Belief]] = defaultdict(list)
    known: dict[Kind, Belief | None] = {each.kind: experience.seconds(each.kind) for each in calls}
    for each in calls:
        belief = known[each.kind]
        if belief is None:
            return None
        levels[each.level].append(belief)
    mean = variance = 0.0
    for beliefs in levels.values():
        lanes = max(1.0, min(float(at_once), scale * len(beliefs)))
        longest = max(each.mean for each in beliefs)
        mean += max(longest, scale * sum(each.mean for each in beliefs) / lanes)
        variance += scale * sum(each.variance for each in beliefs) / lanes**2
        variance += (scale * sum(each.doubt**0.5 for each in beliefs) / lanes) ** 2
    found = interval(mean, variance + (_SCHEDULING * mean) ** 2)
    return Interval(found.low, found.expected + _WRITING_S / 4.0, found.high + _WRITING_S)


def expected_cost(calls: Iterable[Call], experience: Experience) -> Mapping[str, float]:
    """Return the expected cost of calls by content type."""
    by_kind: defaultdict[Kind, list[Call]] = defaultdict(list)
    for each in calls:
        by_kind[each.kind].append(each)
    by_type: defaultdict[str, float] = defaultdict(float)
    for kind, alike in by_kind.items():
        by_type[kind.content_type] += _cost_of_kind(kind, alike, experience).mean
    return by_type


def _first(*seen: Moments, default: float) -> float:
    return next((each.mean for each in seen if each.count), default)
