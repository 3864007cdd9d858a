"""What there may be to claim stays right whatever becomes of a job between a look at it and its claim."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from parallel_processor.jobs.job import Job, JobState
from parallel_processor.running.backlog import Backlog, Source

from tests.unit.processor.samples import NOW, job, shard

JOBS = ("a", "b", "c")
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["runs", "rests", "rung", "freed", "pick", "sees", "sees none", "claimed"]),
        st.sampled_from(JOBS),
    ),
    max_size=30,
)


def a_job(job_id: str, state: JobState, at: float) -> Job:
    """Return a job that was stirred at some second."""
    return job(job_id=job_id, state=state, start_time=NOW, stir_time=NOW + timedelta(seconds=at))


class World:
    """A backlog, and what somebody picked from it and waits for the store about."""

    def __init__(self) -> None:
        self.backlog = Backlog()
        self.picked: list[Source] = []
        self.wanted: set[str] = set()

    def step(self, what: str, job_id: str, now: float) -> None:
        """Let one thing happen."""
        backlog = self.backlog
        match what:
            case "runs" | "rests":
                state = JobState.RUNNING if what == "runs" else JobState.PAUSED
                backlog.learn(a_job(job_id, state, now), now)
                (self.wanted.add if what == "runs" else self.wanted.discard)(job_id)
            case "rung":
                backlog.rung(now)
            case "freed":
                backlog.freed(job_id, now)
            case "pick":
                if source := backlog.pick(lambda _: True, now):
                    assert source.rank.job_id in self.wanted
                    self.picked.append(source)
            case _ if self.picked:
                self.answered(what, self.picked.pop(0), now)
            case _:
                pass

    def answered(self, what: str, source: Source, now: float) -> None:
        """Let the store answer whoever picked a job: with shards, with none, or that one is claimed."""
        if what == "claimed":
            self.backlog.claimed(source, 100, now)
        else:
            ready = [replace(shard(), job_id=source.rank.job_id)] if what == "sees" else []
            self.backlog.seen(source, ready, next_expiry=now + 1_000, now=now)


@given(STEPS)
def test_a_job_may_go_while_its_shards_are_looked_at_or_claimed(steps: list[tuple[str, str]]) -> None:
    """Paused, ended or known anew meanwhile: no step fails, and with the next ring each job stands once."""
    world = World()
    for now, (what, job_id) in enumerate(steps):
        world.step(what, job_id, float(now))
    world.backlog.rung(100.0)
    assert world.backlog.waiting == len(world.wanted)
    assert world.backlog.line.loads("acme") == (0, len(world.wanted))
