"""An estimate is read by a person: guesses are called so, and where somebody can be asked, he is."""

from __future__ import annotations

from io import StringIO

import pytest
from contentfactory.processor.v1 import processor_pb2 as pb
from factory_cli import estimate
from factory_cli.progress.snapshot import JobSnapshot
from factory_cli.progress.view import spending
from rich.console import Console

FOUND = pb.JobEstimate(
    item_count=900, sampled_items=300, model_calls=900, refused_items=3, cache_unknown=True
)


def text_of(found: pb.JobEstimate) -> str:
    """Return what is shown."""
    console = Console(file=StringIO(), width=120)
    console.print(estimate.render(found))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]  # the buffer above


def test_what_is_not_known_is_said() -> None:
    """Without experience it is a guess; a sample, a cache that is away and items that will fail are named."""
    shown = text_of(FOUND)
    for words in (
        "this is a guess",
        "300 items were looked at",
        "cache could not be asked",
        "3 items will fail",
    ):
        assert words in shown
    assert "duration" not in shown


@pytest.mark.parametrize(("answer", "agreed"), [("y", True), ("YES ", True), ("", False), ("n", False)])
def test_on_a_terminal_the_person_decides(
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    agreed: bool,
) -> None:
    """Only a plain yes starts the job."""

    class Keyboard(StringIO):
        def isatty(self) -> bool:
            return True

    console = Console(file=StringIO(), force_terminal=True)
    monkeypatch.setattr(estimate, "messages", lambda: console)
    monkeypatch.setattr("sys.stdin", Keyboard(f"{answer}\n"))
    assert estimate.agreed(FOUND) is agreed


def test_where_nobody_can_be_asked_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that asks for an estimate with its job gets both."""
    monkeypatch.setattr("sys.stdin", StringIO())
    assert estimate.agreed(FOUND)


def test_spending_is_shown_against_the_cap() -> None:
    """What is uncertain and what is reserved stand beside what is spent, and the cap after them."""
    plain = JobSnapshot("j", "RUNNING", "processor", cost_micros=1_200_000)
    assert spending(plain) == "$1.20"
    capped = JobSnapshot(
        "j",
        "RUNNING",
        "processor",
        cost_micros=1_200_000,
        uncertain_micros=20_000,
        reserved_micros=300_000,
        cap_micros=5_000_000,
    )
    assert spending(capped) == "$1.20 + $0.02 uncertain + $0.30 reserved of $5.00"
