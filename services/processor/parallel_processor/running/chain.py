"""Which model a piece is asked of: its own, or when that one cannot be had the next it may have. Pure.

A model whose calls are suspended is passed over. One that does not exist, does not accept the account or
fails repeatedly is left for good, as far as this piece goes. The only one left is never left: its failures
are treated as those of a piece without a choice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from http import HTTPStatus

from parallel_processor.model.failures import FailureClass, ModelFailure

_PATIENCE = 2
"""Failures of one model before the next is asked."""

_PASSING = frozenset(
    {
        FailureClass.RATE_LIMITED,
        FailureClass.OVERLOADED,
        FailureClass.TIMEOUT,
        FailureClass.NETWORK,
        FailureClass.SERVER_ERROR,
        FailureClass.MALFORMED,
    }
)
_ACCOUNT = frozenset({FailureClass.QUOTA_EXHAUSTED, FailureClass.UNAUTHENTICATED})
_NO_SUCH_MODEL = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})


class Chain:
    """The models one piece may have.

    Its mutable state: those that have not been left, in order, and how often each has failed.
    """

    __slots__ = ("_failures", "_models", "_suspended")

    def __init__(self, model: str, fallbacks: tuple[str, ...], *, suspended: Callable[[str], bool]) -> None:
        """Begin with the piece's own model.

        Args:
            model: Its own.
            fallbacks: Those it may have instead, in order.
            suspended: Whether calls to a model would be refused now.
        """
        self._models = list(dict.fromkeys((model, *fallbacks))) if fallbacks else [model]
        self._failures: Counter[str] | None = None
        self._suspended = suspended

    def choose(self) -> str:
        """Return the model to ask now: the first that is not suspended, else the first."""
        if len(self._models) == 1:
            return self._models[0]
        return next((model for model in self._models if not self._suspended(model)), self._models[0])

    def failed(self, model: str, failure: ModelFailure) -> bool:
        """Note a failed call; returns whether the model is left, so that another is to be asked at once."""
        if len(self._models) == 1:
            return False
        failures = self._failures = self._failures or Counter()
        failures[model] += failure.failure_class in _PASSING
        if not (_final(failure) or failures[model] >= _PATIENCE):
            return False
        self._models.remove(model)
        return True


def _final(failure: ModelFailure) -> bool:
    return failure.failure_class in _ACCOUNT or failure.status in _NO_SUCH_MODEL
