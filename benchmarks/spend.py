"""The spend cap and the estimates, by the mock endpoint's own bill.

A job of many calls at once on two processors against its cap; the same with processors killed at random
moments, ten times; then many jobs of different kinds, each estimated before it is run. All processes share
the machine. Run it from the repository's root: `python -m benchmarks.spend`, or with `--quick`.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.support.caps import GRACE_S, against_the_cap, through_kills
from benchmarks.support.guesses import estimated_and_run
from benchmarks.support.report import Report

CALLS = 1_000
ITEMS = 10_000
KILLS = 10
KILLED_ITEMS = 1_500
KILLED_CALLS = 400
JOBS = 100


def main() -> int:
    """Run it all; the exit code is 1 when a bar is missed."""
    arguments = _arguments()
    report = Report()
    report.machine()
    rng = random.Random(arguments.seed)
    parts = {
        "cap": lambda: _cap(report, quick=arguments.quick),
        "kills": lambda: _kills(report, rng, quick=arguments.quick),
        "estimates": lambda: _estimates(report, rng, quick=arguments.quick),
    }
    for name in arguments.parts or parts:
        parts[name]()
    return int(report.short)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "parts", nargs="*", choices=[[], "cap", "kills", "estimates"], help="only these parts"
    )
    parser.add_argument("--quick", action="store_true", help="fewer items, kills and jobs")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the moments of kills")
    return parser.parse_args()


def _cap(report: Report, *, quick: bool) -> None:
    calls, items = (CALLS // 4, ITEMS // 4) if quick else (CALLS, ITEMS)
    with TemporaryDirectory(prefix="spend-") as directory:
        outcome = against_the_cap(Path(directory), calls=calls, items=items)
    report.remark(f"one job of {items} items, a cap of {outcome.cap} micros, two processors on one store")
    report.figure("cap_calls_at_once", outcome.most_in_flight, "calls", at_least=0.95 * calls)
    report.figure("cap_overshoot", outcome.overshoot, "micros", at_most=0)
    report.figure("cap_used", outcome.used_share, "of the cap")
    report.figure("cap_early_refusals", outcome.early_refusals, "of the items", at_most=0.01)
    unknown = outcome.billed - outcome.job.usage.cost_micros
    report.figure("cap_books_off_by", abs(unknown), "micros", at_most=0)


def _kills(report: Report, rng: random.Random, *, quick: bool) -> None:
    kills, items, calls = (3, 400, 100) if quick else (KILLS, KILLED_ITEMS, KILLED_CALLS)
    with TemporaryDirectory(prefix="spend-") as directory:
        outcomes, books = through_kills(Path(directory), calls=calls, items=items, kills=kills, rng=rng)
    report.remark(f"{kills} jobs of {items} items, one or both processors killed at a random moment of each")
    report.figure("kills_overshoot", max(each.overshoot for each in outcomes), "micros", at_most=0)
    report.figure("kills_settled_after", max(each.settled_s for each in outcomes), "s", at_most=GRACE_S)
    report.figure("kills_used", median(each.used_share for each in outcomes), "of the cap")
    uncertain = sum(each.job.usage.uncertain_calls for each in outcomes)
    report.figure("kills_uncertain_calls", uncertain / kills, "calls/kill")
    hidden = [
        each.billed - each.job.usage.cost_micros - each.job.usage.uncertain_spend_micros for each in outcomes
    ]
    report.figure("kills_unaccounted", max(0, *hidden), "micros", at_most=0)
    tenant_hidden = books.billed - books.spent - books.uncertain
    report.figure("tenant_unaccounted", max(0, tenant_hidden), "micros", at_most=0)
    report.figure("tenant_settled_after", books.settled_s, "s", at_most=GRACE_S)
    report.figure("tenant_uncertain", books.uncertain / books.billed, "of the bill")


def _estimates(report: Report, rng: random.Random, *, quick: bool) -> None:
    jobs = 30 if quick else JOBS
    with TemporaryDirectory(prefix="spend-") as directory:
        guesses = estimated_and_run(Path(directory), jobs=jobs, rng=rng)
    items = sorted(each.items for each in guesses)
    report.remark(f"{jobs} jobs of {items[0]} to {items[-1]} items, the first ones without any experience")
    inside = sum(each.inside for each in guesses)
    report.figure("estimates_inside", 100 * inside / jobs, "of 100 jobs", at_least=85)
    widths = [each.width for each in guesses if each.spent]
    report.figure("estimates_width", median(widths), "of the true cost", at_most=0.6)
    half = guesses[jobs // 2 :]
    report.figure("estimates_width_later", median(each.width for each in half if each.spent), "likewise")
    off = [abs(each.expected - each.spent) / each.spent for each in guesses if each.spent]
    report.figure("estimates_error", median(off), "of the true cost")
    timely = [each for each in guesses if each.forecast_s is not None and each.spent]
    within = sum(each.in_time for each in timely)
    report.figure("estimates_duration_inside", 100 * within / max(1, len(timely)), "of 100 jobs")


if __name__ == "__main__":
    sys.exit(main())
