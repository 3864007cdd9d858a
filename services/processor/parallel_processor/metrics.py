"""Every metric the processor emits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial

from prometheus_client import Counter as Count
from prometheus_client import Gauge, Histogram
from service_common.resilience.breaker import StateChanged
from service_common.rpc.replicas import BREAKER_STATE
from service_common.storage.metering import Operation
from service_common.telemetry.metrics import LATENCY_BUCKETS_S, REGISTRY, show
from service_common.telemetry.tallies import Count as TallyCount
from service_common.telemetry.tallies import CounterTally, HistogramTally

from parallel_processor.jobs.item import Outcome
from parallel_processor.jobs.job import Priority
from parallel_processor.jobs.piece import Usage
from parallel_processor.limits.cause import Cause
from parallel_processor.limits.lane import LaneReading
from parallel_processor.running.error_class import OF_REASON, ErrorClass

ACTIVE_WORKERS = Gauge("parallel_active_workers", "Model calls under way.", registry=REGISTRY)
QUEUE_SIZE = Gauge(
    "parallel_queue_size",
    "Unfinished items of the shards held here that are not with the model.",
    registry=REGISTRY,
)
THROUGHPUT = Gauge(
    "parallel_throughput_tasks_per_second", "Items finished per second, over ten seconds.", registry=REGISTRY
)
MEMORY_MB = Gauge("parallel_memory_usage_mb", "Resident memory of this process, in MiB.", registry=REGISTRY)
CPU_PERCENT = Gauge(
    "parallel_cpu_usage_percent", "CPU use of this process, in percent of one core.", registry=REGISTRY
)
QUEUE_BY_PRIORITY = Gauge(
    "parallel_queue_waiting",
    "Items that wait for a model call, by priority.",
    ["priority"],
    registry=REGISTRY,
)
QUEUE_WAIT = HistogramTally(
    "parallel_queue_wait_seconds",
    "Time items waited in line for a model call, each time they did, by priority.",
    ["priority"],
    buckets=LATENCY_BUCKETS_S,
    registry=REGISTRY,
)
TASK_DURATION = HistogramTally(
    "parallel_task_duration_seconds",
    "Time from when an item could begin to its end, by its final state.",
    ["state"],
    buckets=LATENCY_BUCKETS_S,
    registry=REGISTRY,
)
SPEND = CounterTally(
    "model_spend_micros_total",
    "Cost of answered model calls, in micros of US dollars.",
    ["model", "content_type"],
    registry=REGISTRY,
)
UNCERTAIN_SPEND = Count(
    "model_uncertain_spend_micros_total",
    "The most that calls of this process may have cost whose answers never came, in micros of US dollars.",
    ["model", "content_type"],
    registry=REGISTRY,
)
HEDGES = Count(
    "model_hedges_total",
    "Second calls for interactive pieces that were slow to begin, by whether they brought the answer.",
    ["won"],
    registry=REGISTRY,
)
BUDGET_USED = Gauge(
    "job_budget_used_ratio",
    "The highest share of its cap that a job which runs here has used, calls that are out at their worst.",
    registry=REGISTRY,
)
BUDGET_REFUSALS = Count(
    "budget_refusals_total",
    "Items and pieces whose calls were not made because a budget was used up, by whose it was.",
    ["budget"],
    registry=REGISTRY,
)
TOKENS = CounterTally(
    "model_tokens_total",
    "Tokens of answered model calls, as the endpoint counted.",
    ["kind"],
    registry=REGISTRY,
)
ITEMS = Count(
    "parallel_items_total",
    "Items finished, by final state and whether a model was called.",
    ["state", "cached"],
    registry=REGISTRY,
)
ERRORS = Count(
    "parallel_errors_total",
    "Failed calls, and items that ended for other reasons than a call, by class.",
    ["class"],
    registry=REGISTRY,
)
RETRY_BUDGET = Gauge(
    "parallel_retry_budget",
    "Repeats of calls that may be made at once, for the model that has the fewest; below 0: promised ahead.",
    registry=REGISTRY,
)
JOB_STORE_OPERATIONS = Histogram(
    "parallel_job_store_operations",
    "Operations that a finished job cost, as a hosted database bills them, as far as this process did them.",
    ["operation"],
    buckets=(10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000),
    registry=REGISTRY,
)
LIMIT = Gauge(
    "parallel_concurrency_limit",
    "Model calls that may be under way to a model; 0 while its lane pauses.",
    ["model"],
    registry=REGISTRY,
)
LIMIT_CAUSE = Gauge(
    "parallel_concurrency_limit_cause",
    "1 for what holds that limit, 0 for everything else.",
    ["model", "cause"],
    registry=REGISTRY,
)
OUTCOMES_DROPPED = Gauge(
    "parallel_outcomes_dropped",
    "Outcomes given up because the optimizer was away too long.",
    registry=REGISTRY,
)
HANDLER_DURATION = Histogram(
    "parallel_handler_seconds",
    "Time that handlers took, waiting for a thread included, by handler and kind.",
    ["handler", "kind"],
    buckets=LATENCY_BUCKETS_S,
    registry=REGISTRY,
)
OUTPUT_REPAIRS = Count(
    "parallel_output_repairs_total",
    "Outputs that did not meet their contract as they came, by what became of them.",
    ["outcome"],
    registry=REGISTRY,
)

for _budget in ("job", "tenant"):
    BUDGET_REFUSALS.labels(_budget)
_PROMPT_TOKENS = TOKENS.labels("prompt")
_OUTPUT_TOKENS = TOKENS.labels("output")
_ERRORS = {each: ERRORS.labels(each.value) for each in ErrorClass}
_MAX_LABELS = 100
_seen: dict[str, set[str]] = {"model": set(), "content_type": set()}


def _bounded(kind: str, value: str) -> str:
    """Return a label's value, or `other` once there are too many of its kind."""
    seen = _seen[kind]
    if value in seen or len(seen) < _MAX_LABELS:
        seen.add(value)
        return value
    return "other"


def observe_outcomes(outcomes: Sequence[Outcome]) -> None:
    """Count items whose end is durable."""
    kinds = Counter((each.state, each.piece is not None and each.piece.cached) for each in outcomes)
    for (state, cached), count in kinds.items():
        ITEMS.labels(state.name, str(cached).lower()).inc(count)
    for error in filter(None, (each.error for each in outcomes)):
        if (kind := OF_REASON.get(error.reason)) is not None:
            observe_error(kind)
    durations = {state: TASK_DURATION.labels(state.name) for state, _ in kinds}
    for outcome in outcomes:
        durations[outcome.state].observe(sum(outcome.stages.values()))


_QUEUE_WAITS = {each: QUEUE_WAIT.labels(each.name) for each in Priority}


def observe_turn(priority: Priority, waited_s: float) -> None:
    """Note that an item has got a slot."""
    _QUEUE_WAITS[priority].observe(max(0.0, waited_s))


def show_waiting(read: Callable[[], Mapping[Priority, int]]) -> None:
    """Let the gauges of who waits be read when they are scraped."""
    for each in Priority:
        show(QUEUE_BY_PRIORITY.labels(each.name), partial(_waiting, read, each))


def _waiting(read: Callable[[], Mapping[Priority, int]], priority: Priority) -> float:
    return read().get(priority, 0)


def observe_error(kind: ErrorClass) -> None:
    """Count an error of a call."""
    _ERRORS[kind].inc()


@lru_cache(maxsize=_MAX_LABELS)
def _spend_of(model: str, content_type: str) -> TallyCount:
    return SPEND.labels(_bounded("model", model), _bounded("content_type", content_type))


def observe_spend(model: str, content_type: str, usage: Usage) -> None:
    """Count what a call took, of an item or an interactive piece."""
    if usage.model_calls:
        _PROMPT_TOKENS.value += usage.prompt_tokens
        _OUTPUT_TOKENS.value += usage.output_tokens
        _spend_of(model, content_type).value += usage.cost_micros
    if usage.uncertain_calls:
        labels = _bounded("model", model), _bounded("content_type", content_type)
        UNCERTAIN_SPEND.labels(*labels).inc(usage.uncertain_spend_micros)


def observe_hedge(won: bool) -> None:  # noqa: FBT001 - it is a hook
    """Count a second call."""
    HEDGES.labels(str(won).lower()).inc()


def observe_handler(handler: str, kind: str, seconds: float) -> None:
    """Note how long a handler took."""
    HANDLER_DURATION.labels(handler, kind).observe(seconds)


def observe_repair(outcome: str) -> None:
    """Count what became of an output that did not meet its contract as it came."""
    OUTPUT_REPAIRS.labels(outcome).inc()


def observe_refusal(budget: str) -> None:
    """Count a call that a budget, the job's or the tenant's, could not bear."""
    BUDGET_REFUSALS.labels(budget).inc()


def observe_job_cost(spent: Mapping[Operation, int]) -> None:
    """Note what a job has cost."""
    for operation, number in spent.items():
        JOB_STORE_OPERATIONS.labels(operation.value).observe(number)


def show_lane(model: str, read: Callable[[], LaneReading | None]) -> None:
    """Let the limit of a model's lane, and what holds it, be read when they are scraped."""
    if _bounded("model", model) != model:
        return

    def limit() -> float:
        lane = read()
        return lane.limit if lane else 0

    def holds(cause: Cause) -> float:
        lane = read()
        return lane is not None and lane.cause is cause

    show(LIMIT.labels(model), limit)
    for each in Cause:
        show(LIMIT_CAUSE.labels(model, each.value), partial(holds, each))


def model_breaker_changed(target: str) -> Callable[[StateChanged], None]:
    """Return a hook that shows a model's breaker beside those of the neighbours."""
    BREAKER_STATE.labels("model", target).set(0)
    return lambda change: BREAKER_STATE.labels("model", target).set(change.after.value)


def model_breaker_forgotten(target: str) -> None:
    """Show a model's breaker no longer."""
    BREAKER_STATE.remove("model", target)
