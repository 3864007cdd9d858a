"""The queue inside a lane: tenants share it evenly in tokens, a tenant's jobs by priority, then by weight.

Three rules, in this order. URGENT work goes before that of all tenants, as long as its tenant has not been
served more than `URGENT_LEAD` tokens beyond its share. Otherwise the tenant goes next that was served least
for its weight. Within a tenant the highest class goes first, and within a class the jobs share by weight.

Nobody starves. Tenants share. Within a tenant an item stands one class higher for every `AGING_S` that it has
waited, up to HIGH: after at most twice that, LOW shares with the rest by weight. And of the turns of a tenant
at least one in `URGENT_IN_A_ROW + 1` goes to work that is not urgent, if there is any.

Work is charged what it will probably take when its turn comes, so what is running counts, and what it really
took once that is known. Every operation takes O(log n) of the tenants and jobs in the queue, however many
items wait. Pure: time is handed in, as seconds since 1970.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from parallel_processor.jobs.job import Priority
from parallel_processor.queueing.accounts import Accounts
from parallel_processor.queueing.flow import BRIEF_S, IDLE_KEPT, URGENT_LEAD, FairOrder
from parallel_processor.queueing.rank import Rank
from parallel_processor.queueing.tenant_flow import URGENT, JobFlow, TenantFlow, Turn

_FIRST_RATIO = 0.5
_SMOOTHING = 0.1


class FairQueue:
    """Work that waits.

    Its mutable state: the tenants, their order and that of those with urgent work, and jobs that changed.

    Attributes:
        waiting: Pieces of work that wait.
        accounts: Where its tenants are charged beside those of other queues; None for an only one.
    """

    def __init__(self, tenant_weights: Mapping[str, float] | None = None) -> None:
        """Begin empty.

        Args:
            tenant_weights: The share of some tenants; that of all others is 1.
        """
        self.waiting = 0
        self.accounts: Accounts | None = None
        self._weights = dict(tenant_weights or {})
        self._tenants: dict[str, TenantFlow] = {}
        self._order: FairOrder[TenantFlow] = FairOrder()
        self._urgent: FairOrder[TenantFlow] = FairOrder()
        self._changed: dict[tuple[str, str], Rank] = {}
        self._ratio = _FIRST_RATIO

    def join(self, rank: Rank, bound: int, *, now: float) -> Turn:
        """Stand in line with work that may take so many tokens at most."""
        if self._changed:
            rank = self._changed.get((rank.tenant, rank.job_id), rank)
        job = self._job(rank, now)
        tenant = self._tenants[rank.tenant]
        turn = Turn(now, max(1, bound), tenant, job)
        job.turns.append(turn)
        self.waiting += 1
        tenant.waiting += 1
        job.waiting += 1
        is_urgent = job.own_level == URGENT
        tenant.urgent += is_urgent
        if job.waiting == 1:
            tenant.enter(job, now)
        if tenant.waiting == 1:
            if now - tenant.left_at > BRIEF_S:
                tenant.come(self._order.time)
            self._place(tenant)
        elif is_urgent and tenant.urgent == 1:
            self._place(tenant)
        if self.accounts is not None:
            self.accounts.joined(tenant.name, now=now)
        return turn

    def leave(self, turn: Turn, *, now: float) -> None:
        """Give up waiting."""
        if turn.is_over:
            return
        was_urgent = turn.tenant.urgent
        self._no_longer_waits(turn, now)
        if turn.job.waiting:
            turn.tenant.stand(turn.job, now)  # what has waited longest may be another
        if was_urgent and not turn.tenant.urgent:
            self._place(turn.tenant)
        turn.tenant.forget(turn.job)

    def next(self, *, now: float) -> Turn | None:
        """Give somebody a turn, and charge it; None when nobody waits."""
        tenant = self._next_tenant()
        return None if tenant is None else self._begin(tenant.next_job(now).first(), now)

    def tenants(self) -> list[str]:
        """Return whose work waits, in the order of their turns; first those with urgent work."""
        urgent = [each.name for each in self._urgent.in_order() if each.urgent]
        return list(dict.fromkeys([*urgent, *(each.name for each in self._order.in_order())]))

    def urgent(self) -> str | None:
        """Return whose urgent work has its turn first; None when none waits."""
        first = self._urgent.first()
        return first.name if first is not None and first.urgent else None

    def peek(self, tenant: str, *, now: float) -> Turn | None:
        """Return whose turn it is among a tenant's jobs; None when none of them waits."""
        flow = self._tenants.get(tenant)
        return flow.next_job(now).first() if flow and flow.waiting else None

    def begin(self, turn: Turn, *, now: float) -> None:
        """Give a turn that waits, out of its order among tenants."""
        first = self._order.first()
        if first is not None:
            self._order.time = max(self._order.time, first.tag)
        self._begin(turn, now)

    def _begin(self, turn: Turn, now: float) -> Turn:
        tenant, job = turn.tenant, turn.job
        tenant.urgent_in_a_row = tenant.urgent_in_a_row + 1 if job.level == URGENT else 0
        self._no_longer_waits(turn, now)
        turn.charged = turn.bound * job.ratio
        tenant.active += 1
        job.active += 1
        tenant.served(turn.charged)
        job.served(turn.charged)
        if self.accounts is not None and self.accounts.short:
            turn.on_account = True
            self.accounts.served(tenant.name, turn.charged)
        self._replace(turn, now)
        return turn

    def over(self, turn: Turn, tokens: int | None, *, now: float) -> None:
        """End a turn.

        Args:
            turn: One that was given.
            tokens: What the work took; None for what it was charged.
            now: The time.
        """
        turn.tenant.active -= 1
        turn.job.active -= 1
        if tokens is not None:
            if tokens:
                self._learn(turn.job, tokens / turn.bound)
            turn.tenant.corrected(tokens - turn.charged)
            turn.job.corrected(tokens - turn.charged)
            self._replace(turn, now)
        if turn.on_account and self.accounts is not None:
            self.accounts.over(turn.tenant.name, 0.0 if tokens is None else tokens - turn.charged)
        turn.tenant.forget(turn.job)

    def change(self, rank: Rank, *, now: float) -> None:
        """Let a job's work stand where its new priority, weight or deadline say, also what comes later."""
        self._changed[rank.tenant, rank.job_id] = rank
        if (tenant := self._tenants.get(rank.tenant)) and rank.job_id in tenant.jobs:
            self._job(rank, now)

    def forget_change(self, tenant: str, job_id: str) -> None:
        """Forget that a job was changed: nobody who knew it from before can come any more."""
        self._changed.pop((tenant, job_id), None)

    def account_to(self, accounts: Accounts | None, *, now: float) -> None:
        """Charge tenants in these accounts, too, from now on, or no longer."""
        self.accounts = accounts
        if accounts is not None:
            for tenant in self._tenants.values():
                if tenant.waiting:
                    accounts.joined(tenant.name, now=now, count=tenant.waiting)

    def loads(self, tenant: str) -> tuple[int, int]:
        """Return how much of a tenant's work is being done, and how much waits."""
        flow = self._tenants.get(tenant)
        return (flow.active, flow.waiting) if flow else (0, 0)

    def job_loads(self, tenant: str, job_id: str) -> tuple[int, int]:
        """Return how much of a job's work is being done, and how much waits."""
        flow = self._tenants.get(tenant)
        job = flow.jobs.get(job_id) if flow else None
        return (job.active, job.waiting) if job else (0, 0)

    def waiting_by_priority(self) -> Counter[Priority]:
        """Return how much waits, by the priority that jobs were given."""
        counts: Counter[Priority] = Counter()
        for tenant in self._tenants.values():
            for job in tenant.jobs.values():
                if job.waiting:
                    counts[job.rank.priority] += job.waiting
        return counts

    def waiting_since(self, tenant: str, job_id: str) -> float | None:
        """Return since when a job's oldest work waits; None when none waits."""
        flow = self._tenants.get(tenant)
        job = flow.jobs.get(job_id) if flow else None
        return job.first().since if job and job.waiting else None

    def rank_of(self, tenant: str, job_id: str) -> Rank | None:
        """Return a job's rank as it is now; None if it has no work here."""
        flow = self._tenants.get(tenant)
        job = flow.jobs.get(job_id) if flow else None
        return job.rank if job else None

    def positions(self) -> dict[tuple[str, str], int]:
        """Return the place, from 1, at which each job that waits has its next turn, about.

        Tenants take turns, so the n-th job of the m-th tenant comes after the n-th one of those before it.
        """
        places: list[tuple[int, int, str, str]] = []
        for column, tenant in enumerate(self._order.in_order()):
            for row, job in enumerate(tenant.in_order()):
                ahead = -1 if job.rank.priority is Priority.URGENT else row
                places.append((ahead, column, tenant.name, job.name))
        places.sort(key=lambda each: each[:2])
        return {(tenant, job): at + 1 for at, (_, _, tenant, job) in enumerate(places)}

    def _next_tenant(self) -> TenantFlow | None:
        tenant = self._order.first()
        if tenant is None:
            return None
        self._order.time = max(self._order.time, tenant.tag)
        urgent = self._urgent.first()
        if urgent is not None and urgent.tag - self._order.time <= URGENT_LEAD:
            return urgent
        return tenant

    def _no_longer_waits(self, turn: Turn, now: float) -> None:
        turn.is_over = True
        self.waiting -= 1
        turn.tenant.waiting -= 1
        turn.tenant.left_at = now
        turn.job.waiting -= 1
        turn.tenant.urgent -= turn.job.own_level == URGENT
        if self.accounts is not None:
            self.accounts.left(turn.tenant.name, now=now)

    def _replace(self, turn: Turn, now: float) -> None:
        """Put the flows of a turn where they stand after they were charged."""
        if turn.tenant.waiting:
            self._place(turn.tenant)
        if turn.job.waiting:
            turn.tenant.stand(turn.job, now)

    def _place(self, tenant: TenantFlow) -> None:
        tenant.stamp += 1
        self._order.place(tenant, 0.0)
        if tenant.urgent:
            self._urgent.place(tenant, 0.0)

    def _job(self, rank: Rank, now: float) -> JobFlow:
        """Return a job's flow, as its rank says it is now."""
        tenant = self._tenants.get(rank.tenant)
        if tenant is None:
            self._sweep()
            tenant = TenantFlow(rank.tenant, self._weights.get(rank.tenant, 1.0))
            self._tenants[rank.tenant] = tenant
        job = tenant.jobs.get(rank.job_id)
        if job is None:
            tenant.sweep()
            level = int(rank.priority)
            job = JobFlow(rank.job_id, float(rank.weight), rank=rank, own_level=level, ratio=self._ratio)
            tenant.jobs[rank.job_id] = job
        elif job.rank is not rank and job.rank != rank:
            self._rerank(tenant, job, rank, now=now)
        return job

    def _rerank(self, tenant: TenantFlow, job: JobFlow, rank: Rank, *, now: float) -> None:
        was, is_urgent = job.rank.priority is Priority.URGENT, rank.priority is Priority.URGENT
        tenant.urgent += (is_urgent - was) * job.waiting
        job.rank, job.own_level, job.weight = rank, int(rank.priority), float(rank.weight)
        if job.waiting:
            tenant.stand(job, now)
            self._place(tenant)

    def _learn(self, job: JobFlow, ratio: float) -> None:
        job.ratio += _SMOOTHING * (ratio - job.ratio)
        self._ratio += _SMOOTHING * (ratio - self._ratio)

    def _sweep(self) -> None:
        """Drop tenants that have nothing here and owe nothing, before there are many of them."""
        if len(self._tenants) < IDLE_KEPT:
            return
        is_idle = not self.waiting and not any(each.active for each in self._tenants.values())
        for name, each in list(self._tenants.items()):
            if is_idle or (not each.waiting and not each.active and each.finish <= self._order.time):
                del self._tenants[name]
