"""What a worker claims next: enough for the slots, something of everybody, and not too much of anything."""

from __future__ import annotations

from dataclasses import dataclass, field

from parallel_processor.jobs.job import Job, Priority
from parallel_processor.queueing.fair_queue import FairQueue
from parallel_processor.queueing.rank import Rank
from parallel_processor.running.hand import Hand

from tests.unit.processor.samples import NOW, job

PLACES = 8
START = NOW.timestamp()


@dataclass
class Run:
    """A shard that runs."""

    job: Job
    unprepared: int = 0


@dataclass
class Line:
    """Ten slots, filled in turn by what was put in line."""

    limit: int = 10
    active: int = 0
    queue: FairQueue = field(default_factory=FairQueue)

    @property
    def waiting(self) -> int:
        """Who waits."""
        return self.queue.waiting

    def put(self, of: Job, items: int) -> None:
        """Let a job's items stand in line, and take the slots that are free."""
        for _ in range(items):
            self.queue.join(Rank.of_job(of), 100, now=START)
        while self.active < self.limit and self.queue.next(now=START):
            self.active += 1


def a_job(name: str, tenant: str = "acme", priority: Priority = Priority.NORMAL) -> Job:
    """Return a job."""
    return job(job_id=name, tenant=tenant, priority=priority, start_time=NOW)


def wants(line: Line, runs: list[Run], of: Job) -> bool:
    """Whether a shard of the job is wanted."""
    return Hand(runs, line, places=PLACES).wants(Rank.of_job(of))


def test_a_tenant_alone_has_as_much_in_line_as_with_the_model() -> None:
    """Until then it is claimed from, then not: what waits here cannot be done elsewhere."""
    line, big = Line(), a_job("big")
    line.put(big, 19)
    assert wants(line, [Run(big)], big)
    line.put(big, 1)
    assert not wants(line, [Run(big)], big)
    assert not wants(Line(), [Run(big, unprepared=20)], big)


def test_among_others_a_tenant_has_more_in_line() -> None:
    """A gap in which it has nothing in line is what others are served more; alone there are no others."""
    line, big, small = Line(), a_job("big"), a_job("small", "other")
    line.put(big, 29)
    both = [Run(big), Run(small)]
    assert wants(line, both, big)
    line.put(big, 1)
    assert not wants(line, both, big)


def test_a_full_line_of_one_tenant_keeps_no_other_from_having_something_here() -> None:
    """However much is in line of the first, the second is claimed from until it has its own."""
    line, big, small = Line(), a_job("big"), a_job("small", "other")
    line.put(big, 1_000)
    assert wants(line, [Run(big)] * 3, small)
    assert not wants(line, [Run(big)] * 3 + [Run(small, unprepared=5)], small)


def test_a_tenant_whose_items_here_all_wait_for_others_is_claimed_from() -> None:
    """A shard of which nothing can be begun yet is nothing to serve, while another fills the line."""
    line, big, small = Line(), a_job("big"), a_job("small", "other")
    line.put(big, 1_000)
    assert wants(line, [Run(big), Run(small)], small)


def test_full_places_are_exceeded_only_by_whoever_has_none() -> None:
    """A tenant with nothing here, or an urgent job, has a place beyond the usual number, up to twice that."""
    line, big, small = Line(), a_job("big"), a_job("small", "other")
    now = a_job("now", priority=Priority.URGENT)
    full = [Run(big)] * PLACES
    assert not wants(line, full, big)
    assert wants(line, full, small)
    assert wants(line, full, now)
    assert not wants(line, full * 2, small)


def test_each_job_of_a_tenant_has_something_here_for_its_share_but_not_a_thousand() -> None:
    """Jobs of the class being served are claimed from so that weights can act; lower ones wait."""
    line, big = Line(), a_job("big", priority=Priority.HIGH)
    line.put(big, 1_000)
    peers = [a_job(f"peer-{number}", priority=Priority.HIGH) for number in range(8)]
    assert wants(line, [Run(big)], peers[0])
    assert not wants(line, [Run(big)], a_job("humble"))
    assert not wants(line, [Run(each, 5) for each in [big, *peers[:7]]], peers[7])


def test_an_urgent_job_is_claimed_from_until_it_has_as_much_in_line_as_with_the_model() -> None:
    """Whatever else its tenant has in line."""
    line, big, now = Line(), a_job("big"), a_job("now", priority=Priority.URGENT)
    line.put(big, 1_000)
    assert wants(line, [Run(big)], now)
    assert not wants(line, [Run(big), Run(now, unprepared=3)], now)


def test_there_is_room_until_the_slots_have_twice_what_they_hold() -> None:
    """That is when it is looked over all shards."""
    line, big = Line(), a_job("big")
    line.put(big, 19)
    assert Hand([Run(big)], line, places=PLACES).has_room
    line.put(big, 1)
    assert not Hand([Run(big)], line, places=PLACES).has_room
