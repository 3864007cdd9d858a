"""20,000 items on three processors while all services are killed and stalled at random, 20 times.

Every item must end once, with one result; every call must be paid once or be reported as uncertain; and a
watcher must see it all. A checker searches what the store, the endpoint's log, a client and a watcher say for
what breaks these promises. Run it from the repository's root: `python -m benchmarks.chaos`, with `--quick`,
with `--seed N` to repeat a schedule, or with `--without-fencing` to see what the checker finds then.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.chaos.billing import MOST_UNCERTAIN, paid_again, uncertain_share, unknown_fate
from benchmarks.chaos.checking import slowest_takeover_s
from benchmarks.chaos.faults import schedule
from benchmarks.chaos.history import History
from benchmarks.chaos.promises import violations
from benchmarks.chaos.run import FULL, QUICK, Came, chaos_items, run
from benchmarks.support.report import Report

ITEMS, QUICK_ITEMS = 20_000, 4_000
MOST_TAKEOVER_S = 60.0
"""What a dead worker had reserved is inherited by then, and its shards go on."""

_UNFENCED_STALL_S = 15.0
"""So long that others have taken over for certain when the worker that was stalled commits."""

_SHOWN = 20


def main() -> int:
    """Run it; the exit code is 1 when a promise was broken."""
    arguments = _arguments()
    report = Report()
    report.machine()
    mix = QUICK if arguments.quick else FULL
    if arguments.without_fencing:
        mix = replace(mix, stall_s=_UNFENCED_STALL_S)
    count = arguments.items or (QUICK_ITEMS if arguments.quick else ITEMS)
    report.remark(f"--seed {arguments.seed}: {mix.count} faults while {count} items are made")
    with TemporaryDirectory(prefix="chaos-") as temporary:
        came = run(
            Path(arguments.keep or temporary),
            chaos_items(count),
            schedule(mix, arguments.seed),
            fenced=not arguments.without_fencing,
            say=report.remark,
        )
        _tell(report, came, mix.count)
    return int(report.short)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ITEMS} items and {QUICK.count} faults")
    parser.add_argument("--items", type=int, default=0, help="how many items")
    parser.add_argument("--seed", type=int, default=random.randrange(10_000), help="repeats a schedule")
    parser.add_argument(
        "--without-fencing", action="store_true", help="break the epoch check; the run is to fail then"
    )
    parser.add_argument("--keep", type=Path, help="a directory to leave stores and logs in")
    return parser.parse_args()


def _tell(report: Report, came: Came, planned: int) -> None:
    history, usage = came.history, came.history.job.usage
    report.figure("chaos_job", came.seconds, "s")
    report.figure("chaos_faults", came.strikes, "faults", at_least=planned)
    report.figure("chaos_items_ended_once", _ended_once(came), "ratio", at_least=1)
    report.figure("chaos_model_calls", usage.model_calls, "calls")
    report.figure("chaos_in_flight_at_faults", history.in_flight_at_blows(), "calls")
    report.figure("chaos_uncertain", usage.uncertain_calls, "calls")
    report.figure("chaos_of_unknown_fate", unknown_fate(history), "calls", at_most=usage.uncertain_calls)
    report.figure("chaos_paid_again", paid_again(history), "calls")
    report.figure("chaos_takeovers", _taken_over(history), "shards")
    report.figure("chaos_slowest_takeover", slowest_takeover_s(history), "s", at_most=MOST_TAKEOVER_S)
    report.figure("chaos_uncertain_beyond", uncertain_share(history), "of tokens", at_most=MOST_UNCERTAIN)
    found = violations(history)
    for rule, times in Counter(each.rule for each in found).items():
        report.remark(f"BROKEN {rule}: {times} times")
    for each in found[:_SHOWN]:
        report.remark(f"BROKEN {each.rule}: {each.text}")
    report.figure("chaos_promises_broken", len(found), "violations", at_most=0)


def _taken_over(history: History) -> int:
    """Return how many shards were claimed more than once."""
    return sum(each.epoch > 1 for each in history.shards)


def _ended_once(came: Came) -> float:
    ended = Counter(outcome.item_id for _, _, outcome in came.history.outcomes())
    items = sum(map(len, came.history.items.values()))
    return sum(times == 1 for times in ended.values()) / items


if __name__ == "__main__":
    sys.exit(main())
