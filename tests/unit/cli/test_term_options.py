"""Terms as a person types them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from contentfactory.processor.v1 import processor_pb2 as pb
from factory_cli.commands.term_options import job_terms
from factory_cli.failures import CommandError

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def read(**given: object) -> tuple[pb.JobTerms, list[str]]:
    """Read options; those not given are None."""
    options = dict.fromkeys(("weight", "max_cost", "deadline", "max_failed", "fallback")) | given
    return job_terms(**options, now=lambda: NOW)


def test_nothing_given_is_nothing_said() -> None:
    """Terms are then the contract's defaults, and no path is named."""
    assert read() == (pb.JobTerms(), [])


@pytest.mark.parametrize(
    ("text", "hours"), [("90m", 1.5), ("2h", 2), ("1.5h", 1.5), ("3d", 72), ("1800s", 0.5)]
)
def test_a_deadline_may_be_a_span_from_now(text: str, hours: float) -> None:
    """In seconds, minutes, hours or days."""
    terms, paths = read(deadline=text)
    assert terms.deadline.ToDatetime(UTC) == NOW + timedelta(hours=hours)
    assert paths == ["terms.deadline"]


def test_a_deadline_may_be_a_time() -> None:
    """With its own offset."""
    terms, _ = read(deadline="2026-05-01T18:00:00+02:00")
    assert terms.deadline.ToDatetime(UTC) == datetime(2026, 5, 1, 16, tzinfo=UTC)


@pytest.mark.parametrize("term", ["max_cost", "deadline", "max_failed"])
def test_none_takes_a_term_away(term: str) -> None:
    """The path is named and the field is not set."""
    terms, paths = read(**{term: "none"})
    assert terms == pb.JobTerms()
    assert len(paths) == 1


@pytest.mark.parametrize(
    ("term", "text"),
    [
        ("max_cost", "a lot"),
        ("max_cost", "-1"),
        ("max_cost", "inf"),
        ("max_cost", "nan"),
        ("deadline", "soon"),
        ("deadline", "2h30"),
        ("max_failed", "101%"),
        ("max_failed", "few"),
        ("max_failed", "nan"),
    ],
)
def test_what_cannot_be_read_is_named(term: str, text: str) -> None:
    """The message has the option and what was given."""
    with pytest.raises(CommandError) as caught:
        read(**{term: text})
    assert f"--{term.replace('_', '-')}" in str(caught.value)
    assert repr(text) in str(caught.value)


def test_shares_and_money() -> None:
    """Percent or a share; dollars to the micro."""
    assert read(max_failed="5%")[0].max_failed_ratio == read(max_failed="0.05")[0].max_failed_ratio == 0.05
    assert read(max_cost="$0.000001")[0].max_cost_micros == 1
