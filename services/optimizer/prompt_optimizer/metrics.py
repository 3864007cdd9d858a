"""Every metric the optimizer emits.

`prompt_token_usage` is a gauge by type because the client library appends `_total` to the names of counters
and this name is given; it only ever grows, so `rate()` works on it.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram
from service_common.telemetry.metrics import REGISTRY

from prompt_optimizer.outcomes.record import QualityRecord

OTHER = "other"
"""The label of every content type that is not built in, so that tenants cannot make new series."""

SCORE = Histogram(
    "prompt_optimization_score",
    "Overall quality score of scored outputs, 0 to 1, each output counted once.",
    ["content_type"],
    buckets=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    registry=REGISTRY,
)
TOKENS = Gauge(
    "prompt_token_usage",
    "Tokens of reported generations since the start of the process, as models counted them; only grows.",
    ["content_type", "kind"],
    registry=REGISTRY,
)
UNFLUSHED = Gauge(
    "prompt_outcomes_unflushed",
    "Outcomes counted in memory that are not stored yet; a crash loses them.",
    registry=REGISTRY,
)
REFUSED = Counter(
    "prompt_outcomes_refused_total",
    "Outcomes given up because the store can never take them; the log says why.",
    registry=REGISTRY,
)


class OutcomeMetrics:
    """Shows outcomes as they are counted."""

    def __init__(self, content_types: Iterable[str]) -> None:
        """Prepare the series.

        Args:
            content_types: Those that have series of their own.
        """
        # Looked up once: finding a series by its labels takes longer than counting in it.
        self._series = {each: _Series(each) for each in content_types}
        self._other = _Series(OTHER)

    def counted(self, record: QualityRecord) -> None:
        """Show one outcome."""
        series = self._series.get(record.content_type, self._other)
        if record.score is not None:
            series.score.observe(record.score)
        series.prompt_tokens.inc(record.prompt_tokens)
        series.output_tokens.inc(record.output_tokens)


class _Series:
    __slots__ = ("output_tokens", "prompt_tokens", "score")

    def __init__(self, content_type: str) -> None:
        self.score = SCORE.labels(content_type)
        self.prompt_tokens = TOKENS.labels(content_type, "prompt")
        self.output_tokens = TOKENS.labels(content_type, "output")
