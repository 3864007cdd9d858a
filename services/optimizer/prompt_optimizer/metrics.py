"""Every metric the optimizer emits.

`prompt_token_usage` is a gauge by type because the client library appends `_total` to the names of counters
and this name is given; it only ever grows, so `rate()` works on it.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Gauge, Histogram
from service_common.telemetry.metrics import REGISTRY

from prompt_optimizer.outcomes.recorder import Counted

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


class OutcomeMetrics:
    """Shows outcomes as they are counted."""

    def __init__(self, content_types: Iterable[str]) -> None:
        """Prepare the series.

        Args:
            content_types: Those that have series of their own.
        """
        self._known = frozenset(content_types)

    def counted(self, event: Counted) -> None:
        """Show one outcome."""
        label = event.content_type if event.content_type in self._known else OTHER
        if event.score is not None:
            SCORE.labels(label).observe(event.score)
        TOKENS.labels(label, "prompt").inc(event.outcome.prompt_tokens)
        TOKENS.labels(label, "output").inc(event.outcome.output_tokens)
