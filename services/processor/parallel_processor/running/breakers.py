"""A circuit breaker for each model of an endpoint: one model's trouble does not stop the calls to another."""

from __future__ import annotations

from collections.abc import Callable

from service_common.resilience.breaker import BreakerState, CircuitBreaker

_MOST = 200
"""Models are named by clients; beyond so many, the one that was not called for longest is forgotten."""


class Breakers:
    """The breakers of all models called so far.

    Its mutable state: the breakers, the model called last at the end.
    """

    def __init__(
        self, make: Callable[[str], CircuitBreaker], *, forgotten: Callable[[str], None] = lambda _model: None
    ) -> None:
        """Begin without any.

        Args:
            make: Makes a model's breaker.
            forgotten: Is told of a model whose breaker was forgotten.
        """
        self._make = make
        self._forgotten = forgotten
        self._by_model: dict[str, CircuitBreaker] = {}

    def of(self, model: str) -> CircuitBreaker:
        """Return a model's breaker."""
        breaker = self._by_model.pop(model, None)
        if breaker is None:
            breaker = self._make(model)
            self._make_room()
        self._by_model[model] = breaker
        return breaker

    def suspended(self, model: str) -> bool:
        """Whether a call would be refused now; does not count as one."""
        breaker = self._by_model.get(model)
        return breaker is not None and not breaker.admits

    def readings(self) -> list[tuple[str, BreakerState]]:
        """Return each model with its breaker's state."""
        return [(model, self._by_model[model].state) for model in sorted(self._by_model)]

    def _make_room(self) -> None:
        while len(self._by_model) >= _MOST:
            idle = (model for model, each in self._by_model.items() if each.state is BreakerState.CLOSED)
            model = next(idle, next(iter(self._by_model)))
            del self._by_model[model]
            self._forgotten(model)
