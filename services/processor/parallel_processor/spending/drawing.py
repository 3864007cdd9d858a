"""How a shard's slice moves between it, its job and its tenant's budget; applied in one transaction.

A shard is given from both at once. What it was given stays set aside in both until the shard is settled, or
until it is trimmed because others need what it does not use.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from parallel_processor.jobs.job import Job, is_settled
from parallel_processor.jobs.shard import Commit, Shard, given, slack, trimmed
from parallel_processor.spending.account import Account, Standing, slice_of
from parallel_processor.spending.tenant_budget import TenantBudget


@dataclass(frozen=True, slots=True)
class Books:
    """A job and its tenant's budget, which is None while the tenant has none."""

    job: Job
    tenant: TenantBudget | None


def job_account(job: Job) -> Account:
    """Return a job's budget as it stands."""
    settled = job.usage.cost_micros + job.usage.uncertain_spend_micros
    return Account("job", job.terms.max_cost_micros, settled, job.granted)


def drawn(books: Books, shard: Shard, commit: Commit) -> tuple[Books, Shard]:
    """Give a shard what a commit needs and, as far as there is, some of what it would like."""
    if books.tenant is None and books.job.terms.max_cost_micros is None and shard.granted is None:
        return books, shard  # no budget holds it
    accounts = [job_account(books.job)]
    if books.tenant is not None:
        accounts.append(books.tenant.account)
    amount = slice_of(accounts, need=max(0, -slack(shard, commit)), wish=commit.draw or 0)
    after = given(shard, amount, by_tenant=books.tenant is not None)
    return _moved(books, shard, after), after


def squeezed(books: Books, shards: Iterable[Shard]) -> tuple[Books, list[Shard]]:
    """Take from shards of one job what they do not use; what is settled is set aside no more."""
    after: list[Shard] = []
    for shard in shards:
        less = shard if is_settled(books.job, shard.number) else trimmed(shard)
        books = _moved(books, shard, less)
        after.append(less)
    return books, after


def settled(books: Books, shards: Iterable[Shard]) -> Books:
    """Return the books with finished shards' slices closed in the tenant's budget, each once.

    Args:
        books: The books before the shards' totals are part of their job, which closes its own slices.
        shards: Finished shards of the job.
    """
    tenant = books.tenant
    for shard in shards:
        if tenant is None or shard.tenant_base is None or is_settled(books.job, shard.number):
            continue
        borne = shard.spent - shard.tenant_base
        uncertain = min(borne, shard.usage.uncertain_spend_micros)
        tenant = replace(
            tenant,
            granted=tenant.granted - _borne_by_tenant(shard),
            spent=tenant.spent + borne - uncertain,
            uncertain=tenant.uncertain + uncertain,
        )
    return replace(books, tenant=tenant)


def standing_of_job(job: Job, shards: Iterable[Shard]) -> Standing:
    """Return where a job stands, with its begun shards as read before it."""
    account = job_account(job)
    open_spent = sum(each.spent for each in shards if not is_settled(job, each.number))
    return _standing(account, open_spent)


def standing_of_tenant(budget: TenantBudget, shards: Iterable[Shard]) -> Standing:
    """Return where a tenant stands, with the shards of all its jobs as read after it."""
    account = budget.account
    open_spent = sum(each.spent - each.tenant_base for each in shards if each.tenant_base is not None)
    return _standing(account, open_spent)


def _standing(account: Account, open_spent: int) -> Standing:
    whole = replace(account, settled=account.settled + open_spent, granted=account.granted - open_spent)
    return Standing((whole,), (account.left,))


def both(first: Standing, second: Standing | None) -> Standing:
    """Return where a call stands that both must bear."""
    if second is None:
        return first
    return Standing(first.accounts + second.accounts, first.left + second.left)


def _borne_by_tenant(shard: Shard) -> int:
    if shard.tenant_base is None:
        return 0
    return (shard.granted or 0) - shard.tenant_base


def _moved(books: Books, before: Shard, after: Shard) -> Books:
    """Return the books after a shard's slice has changed."""
    job = replace(books.job, granted=books.job.granted + (after.granted or 0) - (before.granted or 0))
    if books.tenant is None:
        return Books(job, None)
    more = _borne_by_tenant(after) - _borne_by_tenant(before)
    return Books(job, replace(books.tenant, granted=books.tenant.granted + more))
