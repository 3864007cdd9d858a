"""What making a piece begins with: the order, which says what, and the work, which says for whom and how."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from dataclasses import replace
from typing import TypeAlias

from service_common.frozen import dataclass
from service_common.output_contract import OutputContract

from parallel_processor.cache_key import cache_key
from parallel_processor.jobs.job import StateReason
from parallel_processor.jobs.piece import CachePolicy, PieceSpec, Usage
from parallel_processor.model.requests import ModelRequest
from parallel_processor.queueing.slots import Rank
from parallel_processor.running.calls import OnText
from parallel_processor.running.ports import Owner, Prompt


class Done:
    """What is waited for when nothing has to be."""

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


def _no_announcement(_worst_case_micros: int) -> Awaitable[None]:
    return Done()


def _nothing_to_withdraw() -> None:
    return


def _nobody_to_pause(_why: StateReason) -> None:
    return


def _nothing_to_expect(_worst_case_micros: int) -> None:
    return


@dataclass(frozen=True, slots=True)
class Work:
    """For whom a piece is made, and how.

    Attributes:
        owner: On whose behalf.
        rank: Its place in the queue for slots.
        holder: The name under which leases are held.
        epoch: The holder's fencing epoch.
        item_id: The item, to recognise its own content after a restart.
        policy: How to use the cache.
        patience_s: How long to wait for someone else's content before generating without a lease.
        persistent: Whether to wait out an outage of the endpoint; otherwise it is the answer.
        expect: Is told a call's worst-case cost when it begins to stand in line.
        announce: Begins to make a call's worst-case cost durable; the call waits for what it returns.
        withdraw: Takes it back when the call's fate is known and the piece must wait for its next.
        pause: Is told why the whole job should rest, when no call of it can succeed.
        listen: Says before each call who hears its text as it comes; None: nobody does.
        hedged: Whether a call that is slow to begin may get a second one beside it.
    """

    owner: Owner
    rank: Rank
    holder: str
    epoch: int
    item_id: str
    policy: CachePolicy
    patience_s: float
    persistent: bool = True
    expect: Callable[[int], None] = _nothing_to_expect
    announce: Callable[[int], Awaitable[None]] = _no_announcement
    withdraw: Callable[[], None] = _nothing_to_withdraw
    pause: Callable[[StateReason], None] = _nobody_to_pause
    listen: Callable[[], OnText] | None = None
    hedged: bool = False


Want: TypeAlias = tuple[str, OutputContract | None, tuple[str, ...], CachePolicy]


@dataclass(frozen=True, slots=True)
class Order:
    """A piece to make.

    Attributes:
        spec: What was asked.
        prompt: The prompt made of it.
        request: What the model is asked.
        key: Its cache key.
        contract: What the output must be like; None if anything goes.
        handlers: What it goes through before it is a result.
        before: What a first answer took that broke the contract; None unless there was one.
        stands_in: Whether another model is asked than the prompt was made for.
    """

    spec: PieceSpec
    prompt: Prompt
    request: ModelRequest
    key: str
    contract: OutputContract | None = None
    handlers: tuple[str, ...] = ()
    before: Usage | None = None
    stands_in: bool = False

    @property
    def policy(self) -> CachePolicy:
        """How it uses the cache."""
        return self.spec.cache_policy or CachePolicy.USE

    @property
    def want(self) -> Want:
        """What equal items have in common, so that one of them is made for all."""
        return self.key, self.contract, self.spec.fallback_models, self.policy

    def instead(self, model: str, tenant: str) -> Order:
        """Return the order for the same of another model, whose answer is kept under a key of its own."""
        request = replace(self.request, model=model)
        key = cache_key(tenant, request, variation=self.spec.variation)
        return replace(self, request=request, key=key, stands_in=True)


@dataclass(frozen=True, slots=True)
class Anew:
    """The piece must be made by another order: after a malformed output, or in place of a malformed entry."""

    order: Order
    replacing: bool = False


def replacing(work: Work) -> Work:
    """Return the work as it goes on when what is cached will not do."""
    return replace(work, policy=CachePolicy.REFRESH) if work.policy.reads else work
