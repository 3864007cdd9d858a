"""Which model is asked: the first that may be had, each left for its own failures only, one always left."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parallel_processor.model.failures import FailureClass, Fate, ModelFailure
from parallel_processor.running.chain import Chain

OVERLOADED, REFUSED = FailureClass.OVERLOADED, FailureClass.INVALID_REQUEST
MODELS = ["a", "b", "c"]


def failure(kind: FailureClass, status: int | None = None) -> ModelFailure:
    """Return a failed call."""
    return ModelFailure(kind, "no", fate=Fate.NOT_BILLED, status=status)


def chain(*fallbacks: str, suspended: set[str] | None = None) -> Chain:
    """Return the chain of model a."""
    return Chain("a", fallbacks, suspended=lambda model: model in (suspended or set()))


def test_a_suspended_model_is_passed_over_while_it_is() -> None:
    """The next stands in; as soon as the first is back it is asked again, and when none is, too."""
    suspended: set[str] = set()
    it = chain("b", "c", suspended=suspended)
    chosen = []
    for now in ({"a"}, {"a", "b"}, {"b"}, {"a", "b", "c"}, set()):
        suspended.clear()
        suspended.update(now)
        chosen.append(it.choose())
    assert chosen == ["b", "c", "a", "a", "a"]


@pytest.mark.parametrize(
    ("kind", "status", "calls"),
    [
        (OVERLOADED, 503, 2),
        (FailureClass.RATE_LIMITED, 429, 2),
        (FailureClass.TIMEOUT, None, 2),
        (FailureClass.NETWORK, None, 2),
        (FailureClass.SERVER_ERROR, 500, 2),
        (FailureClass.MALFORMED, 200, 2),
        (REFUSED, 404, 1),
        (FailureClass.UNAUTHENTICATED, 403, 1),
        (FailureClass.QUOTA_EXHAUSTED, 402, 1),
    ],
)
def test_a_model_that_cannot_be_had_is_left(kind: FailureClass, status: int | None, calls: int) -> None:
    """At once when it is not there or not ours, after two failures that might pass otherwise."""
    it = chain("b")

    left = [it.failed("a", failure(kind, status)) for _ in range(calls)]

    assert left == [*[False] * (calls - 1), True]
    assert it.choose() == "b"


@pytest.mark.parametrize("kind", [REFUSED, FailureClass.CONTENT_FILTERED])
def test_what_another_model_would_not_mend_changes_nothing(kind: FailureClass) -> None:
    """A request that is refused, or a prompt that is filtered, is the piece's own trouble."""
    it = chain("b")
    assert [it.failed("a", failure(kind, 400)) for _ in range(5)] == [False] * 5
    assert it.choose() == "a"


def test_each_model_has_its_own_failures() -> None:
    """One failure of each is not two of one."""
    it = chain("b")
    assert not it.failed("a", failure(OVERLOADED))
    assert not it.failed("b", failure(OVERLOADED))
    assert it.failed("b", failure(OVERLOADED))
    assert it.choose() == "a"


@given(
    steps=st.lists(
        st.tuples(st.sampled_from([OVERLOADED, FailureClass.QUOTA_EXHAUSTED, REFUSED]), st.booleans())
    ),
    fallbacks=st.lists(st.sampled_from(MODELS), max_size=4),
)
def test_one_model_is_always_left(steps: list[tuple[FailureClass, bool]], fallbacks: list[str]) -> None:
    """However calls fail, a model of the chain is asked, none that was left, and the last is never left."""
    suspended: set[str] = set()
    it = Chain("a", tuple(fallbacks), suspended=lambda model: model in suspended)
    left: set[str] = set()
    for kind, is_suspended in steps:
        model = it.choose()
        assert model in {"a", *fallbacks} - left
        if it.failed(model, failure(kind)):
            left.add(model)
        (suspended.add if is_suspended else suspended.discard)(model)
    assert len(left) < len({"a", *fallbacks})
