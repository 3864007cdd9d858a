"""Services die and stall at random while a job runs, and a checker searches its history for what broke."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.chaos.faults import Fault, How, schedule
from benchmarks.chaos.promises import violations
from benchmarks.chaos.run import QUICK, Came, chaos_items, run
from tests.support.factory import PROCESSOR

pytestmark = [pytest.mark.xdist_group("e2e-chaos"), pytest.mark.timeout(240)]
SEED = 11
ITEMS = 1_600
FEW_ITEMS = 480
TRIES = 4
LONG_S = 9.0
"""A stall in which the others are through with their own shards, and have taken over."""


def say(text: str) -> None:
    """Tell what happens, for whoever reads why it failed."""
    sys.stderr.write(f"{text}\n")


def test_a_job_survives_kills_and_stalls_with_honest_books(tmp_path: Path) -> None:
    """Every item ends once with one result, each call is counted or uncertain, and a watcher sees it all."""
    came = run(tmp_path, chaos_items(ITEMS), schedule(QUICK, SEED), fenced=True, say=say)
    assert violations(came.history) == []
    assert came.strikes == QUICK.count


@pytest.mark.parametrize("fenced", [True, False])
def test_a_worker_that_was_away_for_long_is_fenced_off(tmp_path: Path, *, fenced: bool) -> None:
    """What it commits after others took over is refused; without the epoch check the history shows it."""
    came = _with_a_take_over(tmp_path, fenced=fenced)
    broken = {each.rule for each in violations(came.history)}
    assert not broken if fenced else {"stale commit", "two results"} & broken


def _with_a_take_over(tmp_path: Path, *, fenced: bool) -> Came:
    """Stop a processor until others have taken its shards over.

    One that is stopped in the middle of a commit holds the database, and nobody can take anything over: then
    another run is needed to show something.
    """
    stall = [Fault(0.3, How.STALL, PROCESSOR, LONG_S)]
    for number in range(TRIES):
        came = run(tmp_path / str(number), chaos_items(FEW_ITEMS), stall, fenced=fenced, say=say)
        if any(each.epoch > 1 for each in came.history.shards):
            return came
    raise AssertionError("nothing was taken over: the test shows nothing")
