"""The semantic tier's state, changed by synchronous steps: the prompts, what was verified, open tickets.

Promises: a prompt meets only prompts of its own tenant, model, instructions and parameters; a reused answer
is one the guard allows and the bound holds for; prompts and open tickets stay within their limits.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from content_cache.semantic.bound import Evidence, Observation, Pool, assured, explore_probability
from content_cache.semantic.guard import Signature, Verdict, compare
from content_cache.semantic.index import Index, Prompt, Vector
from content_cache.semantic.port import Counts, Outcome
from content_cache.semantic.scope import Scope

NEIGHBOURS = 8
"""Most similar prompts looked at; the first the guard allows is the candidate."""
LEAST_SIMILARITY = 0.5
"""Below it nothing is compared: it would never be reused."""
MOST_TICKETS = 4096
"""Lookups whose end is awaited; beyond it the oldest are forgotten, and teach nothing."""
MOST_SCOPES = 4096
TICKET_S = 3600.0

Version = Callable[[str], object | None]
"""Tells which answer is stored under a key of the tenant, as something comparable; None without one."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt that was looked up.

    Attributes:
        scope: What must be equal for two prompts to be compared at all.
        key: The key its answer is or will be stored under.
        says: Its signature.
        vector: Its embedding, of length 1.
    """

    scope: Scope
    key: str
    says: Signature
    vector: Vector


@dataclass(frozen=True, slots=True)
class Found:
    """What a lookup came to.

    Attributes:
        outcome: Whether to reuse, to generate and compare, or just to generate.
        key: Of the answer to reuse or to compare with.
        similarity: Of the two prompts.
        ticket: To be shown once the answer is stored; empty with REUSE.
    """

    outcome: Outcome
    key: str = ""
    similarity: float = 0.0
    ticket: str = ""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A lookup whose answer is awaited.

    Attributes:
        asked: The prompt.
        candidate: What it is to be compared with.
        verdict: What the guard said of the two.
        similarity: Of the two.
        ends: The monotonic second after which it is forgotten.
    """

    asked: Asked
    candidate: Prompt | None
    verdict: Verdict
    similarity: float
    ends: float


@dataclass(slots=True)
class _Partition:
    index: Index
    pools: dict[Verdict, Pool] = field(default_factory=dict)


class SemanticTier:
    """Prompts by meaning, over a cache that holds the answers.

    Attributes:
        counts: What lookups came to.
    """

    def __init__(
        self,
        *,
        error: float,
        max_prompts: int,
        dimensions: int,
        random: Callable[[], float],
        new_ticket: Callable[[], str],
    ) -> None:
        """Make an empty tier.

        Args:
            error: Greatest part of reused answers that may be wrong.
            max_prompts: Most prompts of all tenants; the least recently used partition's make room.
            dimensions: Of the vectors.
            random: Draws from [0, 1).
            new_ticket: Makes tickets nobody can guess.
        """
        self.counts = Counts()
        self._error = error
        self._max_prompts = max_prompts
        self._dimensions = dimensions
        self._random = random
        self._new_ticket = new_ticket
        self._partitions: OrderedDict[Scope, _Partition] = OrderedDict()
        self._tickets: OrderedDict[str, Ticket] = OrderedDict()

    def __len__(self) -> int:
        return self.counts.prompts

    @property
    def size_bytes(self) -> int:
        """Bytes all vectors take."""
        return sum(each.index.size_bytes for each in self._partitions.values())

    def find(self, asked: Asked, version: Version, *, now_s: float) -> Found:
        """Look for an answer to another prompt that may be reused.

        Args:
            asked: The prompt.
            version: Tells which answer is stored under a key.
            now_s: The monotonic second.
        """
        partition = self._partition(asked.scope)
        for candidate, similarity, verdict in self._candidates(partition, asked, version):
            pool = partition.pools.get(verdict) or Pool()
            evidence = candidate.evidence.get(verdict.value, Evidence())
            sure = assured(similarity, pool, evidence, error=self._error)
            if self._random() >= explore_probability(sure, error=self._error):
                partition.index.use(candidate)
                self.counts.reused += 1
                return Found(Outcome.REUSE, candidate.key, similarity)
            self.counts.compared += 1
            ticket = self._issue(Ticket(asked, candidate, verdict, similarity, now_s + TICKET_S))
            return Found(Outcome.COMPARE, candidate.key, similarity, ticket)
        self.counts.missed += 1
        return Found(
            Outcome.NONE, ticket=self._issue(Ticket(asked, None, Verdict.SAME, 0.0, now_s + TICKET_S))
        )

    def ticket(self, tenant: str, token: str, *, now_s: float) -> Ticket | None:
        """Return a tenant's open ticket."""
        ticket = self._tickets.get(token)
        if ticket is None or ticket.asked.scope.tenant != tenant or ticket.ends <= now_s:
            return None
        return ticket

    def learn(self, token: str, version: object, *, same: bool | None) -> None:
        """End a ticket: note the comparison, and the prompt unless its answer is the candidate's.

        Args:
            token: The ticket's.
            version: Tells the answer now stored under the asked key from a later one.
            same: Whether reuse would have been right; None if nobody compared.
        """
        ticket = self._tickets.pop(token)
        asked, candidate = ticket.asked, ticket.candidate
        partition = self._partition(asked.scope)
        if candidate is not None and same is not None:
            observation = Observation(ticket.similarity, same)
            partition.pools.setdefault(ticket.verdict, Pool()).add(observation)
            candidate.evidence.setdefault(ticket.verdict.value, Evidence()).add(observation)
            self.counts.same += same
            self.counts.different += not same
        if not same or candidate is None or candidate not in partition.index:
            self._add(partition, Prompt(asked.key, version, asked.says), asked.vector)

    def _candidates(
        self, partition: _Partition, asked: Asked, version: Version
    ) -> Iterator[tuple[Prompt, float, Verdict]]:
        for prompt, similarity in list(partition.index.nearest(asked.vector, NEIGHBOURS)):
            if similarity < LEAST_SIMILARITY:
                return
            if prompt.key == asked.key:
                continue
            if version(prompt.key) != prompt.version:
                self._remove(partition, prompt)
                continue
            verdict = compare(asked.says, prompt.says)
            if verdict.is_veto:
                self.counts.vetoed += 1
                continue
            yield prompt, similarity, verdict

    def _issue(self, ticket: Ticket) -> str:
        token = self._new_ticket()
        self._tickets[token] = ticket
        while len(self._tickets) > MOST_TICKETS:
            self._tickets.popitem(last=False)
        return token

    def _partition(self, scope: Scope) -> _Partition:
        found = self._partitions.get(scope)
        if found is None:
            found = self._partitions[scope] = _Partition(Index(self._dimensions))
            if len(self._partitions) > MOST_SCOPES:
                _, gone = self._partitions.popitem(last=False)
                self.counts.prompts -= len(gone.index)
        self._partitions.move_to_end(scope)
        return found

    def _add(self, partition: _Partition, prompt: Prompt, vector: Vector) -> None:
        if self.counts.prompts >= self._max_prompts:
            oldest = next(each for each in self._partitions.values() if len(each.index))
            self._remove(oldest, oldest.index.oldest())
        if partition.index.add(prompt, vector) is None:
            self.counts.prompts += 1

    def _remove(self, partition: _Partition, prompt: Prompt) -> None:
        partition.index.remove(prompt)
        self.counts.prompts -= 1
