"""The way to the models, put together: endpoints, prices, breakers, and second calls."""

from __future__ import annotations

import os
import random

import structlog
from service_common.clock import Clock
from service_common.config import ConfigError, Problem
from service_common.lifecycle import Lifecycle
from service_common.resilience.breaker import BreakerPolicy, CircuitBreaker

from parallel_processor import metrics
from parallel_processor.config import Settings
from parallel_processor.limits.lanes import Lanes
from parallel_processor.model.client import ModelClient
from parallel_processor.model.endpoints import Endpoint, Endpoints, EndpointsError, load_endpoints
from parallel_processor.model.prices import PriceTable, PriceTableError
from parallel_processor.running.breakers import Breakers
from parallel_processor.running.calls import ModelCalls
from parallel_processor.running.hedges import Hedges
from parallel_processor.running.hedging import HedgedCalls

_log = structlog.get_logger("parallel_processor.composition.calling")
_MODEL_BREAKER = BreakerPolicy(window_s=20.0, min_calls=10, open_s=1.0, open_cap_s=15.0, half_open_calls=2)


def model_calls(
    settings: Settings, lifecycle: Lifecycle, *, lanes: Lanes, clock: Clock, rng: random.Random
) -> ModelCalls:
    """Return the calls to all models.

    Raises:
        ConfigError: If a URL, the endpoints' file or the price file cannot be used.
    """
    key = settings.processor_model_api_key
    default = Endpoint(settings.processor_model_url, key.get_secret_value() if key else None)

    def connect(endpoint: Endpoint) -> ModelClient:
        try:
            client = ModelClient(
                endpoint.url,
                api_key=endpoint.api_key,
                total_s=settings.processor_model_timeout_s,
                connections=settings.processor_max_concurrency,
                max_tokens_field=endpoint.max_tokens_field,
                clock=clock,
                on_rates=lambda model, hints, asked_at: lanes.of(model).heard(hints, asked_at=asked_at),
            )
        except ValueError as error:
            problem = Problem("PROCESSOR_ENDPOINTS_FILE", f"a url {error}")
            if endpoint is default:
                problem = Problem("PROCESSOR_MODEL_URL", str(error))
            raise ConfigError([problem]) from error
        lifecycle.push("model", client.close)
        return client

    endpoints = Endpoints(default, _endpoints(settings), connect=connect)
    breakers = _breakers(clock=clock, rng=rng)
    breakers.of(settings.processor_model)  # shown from the start
    return ModelCalls(endpoints, prices=_prices(settings), breakers=breakers, lanes=lanes)


def _endpoints(settings: Settings) -> dict[str, Endpoint]:
    file = settings.processor_endpoints_file
    try:
        return load_endpoints(file, os.environ) if file else {}
    except EndpointsError as error:
        raise ConfigError([Problem("PROCESSOR_ENDPOINTS_FILE", str(error))]) from error


def elsewhere(settings: Settings) -> dict[str, str]:
    """Return the URLs of models that are not at the usual endpoint."""
    return {model: each.url for model, each in _endpoints(settings).items()}


def hedging(settings: Settings, calls: ModelCalls, *, clock: Clock) -> HedgedCalls | None:
    """Return calls that may get a second one beside them; None where that is not wanted."""
    ratio = settings.processor_hedge_ratio
    return HedgedCalls(calls, Hedges(ratio), clock=clock, on_hedge=metrics.observe_hedge) if ratio else None


def _breakers(*, clock: Clock, rng: random.Random) -> Breakers:
    def make(model: str) -> CircuitBreaker:
        hooks = (metrics.model_breaker_changed(model),)
        return CircuitBreaker(model, _MODEL_BREAKER, clock=clock, rng=rng, hooks=hooks)

    return Breakers(make, forgotten=metrics.model_breaker_forgotten)


def _prices(settings: Settings) -> PriceTable:
    if settings.processor_prices_file is None:
        _log.info("models_cost_nothing", advice="set PROCESSOR_PRICES_FILE to account for money")
        return PriceTable.free()
    try:
        table = PriceTable.load(settings.processor_prices_file)
    except PriceTableError as error:
        raise ConfigError([Problem("PROCESSOR_PRICES_FILE", str(error))]) from error
    if not table.knows(settings.processor_model):
        _log.warning("default_model_has_no_price", model=settings.processor_model)
    return table
