"""Where jobs stand is told when it changes, and of each job at most once a second."""

from __future__ import annotations

import random
from datetime import UTC, datetime

from parallel_processor.jobs.job import JobState, Priority
from parallel_processor.queueing.fair_queue import FairQueue
from parallel_processor.queueing.rank import Rank
from parallel_processor.queueing.standing import Standing, Standings
from parallel_processor.running.backlog import Backlog
from parallel_processor.running.ports import Owner
from parallel_processor.running.queue_news import QueueNews
from parallel_processor.running.reporting import Report, Reporter
from service_common.clock import ManualClock

from tests.unit.processor.samples import NOW, job

START = NOW.timestamp()


def rank(job_id: str, priority: Priority = Priority.NORMAL) -> Rank:
    """Return the rank of a job."""
    return Rank(priority, START, "acme", job_id)


def test_those_in_hand_come_before_those_that_are_not() -> None:
    """First the jobs whose items wait for a slot in their order, then the backlog in its own, each once."""
    line, backlog = FairQueue(), FairQueue()
    line.join(rank("second"), 1, now=START)
    line.join(rank("first", Priority.HIGH), 1, now=START)
    for name in ("second", "third", "fourth"):
        backlog.join(rank(name), 1, now=START)
    order = Standings(line, backlog).order(START)
    assert [name for _, name in sorted(order, key=order.__getitem__)] == [
        "first",
        "second",
        "third",
        "fourth",
    ]
    assert sorted(order.values()) == [1, 2, 3, 4]


def test_a_job_is_told_of_when_it_moves_and_not_twice_a_second() -> None:
    """What was told is not told again; what changes within the second is told after it."""
    line, backlog = FairQueue(), FairQueue()
    standings = Standings(line, backlog)
    line.join(rank("ahead"), 1, now=START)
    line.join(rank("behind"), 1, now=START)
    since = datetime.fromtimestamp(START, UTC)
    assert standings.news("acme", "behind", now=START) == Standing(2, Priority.NORMAL, since)
    line.next(now=START)
    assert standings.news("acme", "behind", now=START + 0.9) is None
    assert standings.news("acme", "behind", now=START + 1.1) == Standing(1, Priority.NORMAL, since)
    assert standings.news("acme", "behind", now=START + 9.0) is None
    assert standings.news("acme", "gone", now=START) is None


def test_a_job_whose_items_come_and_go_is_told_of_once_a_second() -> None:
    """Since when its oldest item waits changes all the time; that is no reason to tell more often."""
    line, backlog = FairQueue(), FairQueue()
    standings = Standings(line, backlog)
    for number in range(3):
        line.join(rank("job"), 1, now=START + number / 10)
    assert standings.news("acme", "job", now=START + 0.3) is not None
    line.next(now=START + 0.4)
    assert standings.news("acme", "job", now=START + 0.5) is None
    later = standings.news("acme", "job", now=START + 1.4)
    assert later is not None
    assert later.waiting_since.timestamp() == START + 0.1


async def test_a_job_of_which_nothing_runs_is_told_of_by_itself() -> None:
    """Those in hand are left to the reports of their shards; the others are told of once, until they move."""
    sent: list[Report] = []

    class Tracker:
        async def report(self, owner: Owner, reports: list[Report]) -> list[bool]:
            sent.extend(reports)
            return [True] * len(reports)

    clock, backlog = ManualClock(), Backlog()
    for name in ("held", "waits"):
        backlog.learn(job(job_id=name, state=JobState.QUEUED, start_time=NOW), START)
    reporter = Reporter(Tracker(), rng=random.Random(1))  # type: ignore[arg-type]  # takes lists only
    news = QueueNews(FairQueue(), backlog, reporter=reporter, clock=clock)
    for _ in range(3):
        news.tell({"held"})
        clock.advance(2.0)
    assert reporter.pending == 1
    (waits,) = reporter._pending.values()
    assert (waits.job_id, waits.queue and waits.queue.position) == ("waits", 2)
