"""The cache as items see it: looked up, leased, awaited, filled in batches; while away, as if empty."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Sequence
from dataclasses import replace

import structlog
from service_common.errors import ServiceError

from parallel_processor.running.awaiting import Awaiter
from parallel_processor.running.batching import Batcher, by_size
from parallel_processor.running.entries import is_whole
from parallel_processor.running.outages import is_outage
from parallel_processor.running.ports import Acquired, Acquisition, CachePort, Entry, Fill, Owner
from parallel_processor.running.similar import SimilarAnswers

_log = structlog.get_logger("parallel_processor.running.content")
_LOOKUP_KEYS = 200
_FILL_BYTES = 2_000_000
"""Well under the cache's largest message."""
WITHOUT_LEASE = Acquisition(Acquired.LEASED)


class Content:
    """Access to cached content.

    Its mutable state: the leases held by calls in flight, which are renewed until given up.

    Attributes:
        similar: Answers to other prompts that say the same; None where nobody is to be asked.
    """

    def __init__(
        self, cache: CachePort, *, similar: SimilarAnswers | None = None, keep_cut: bool = False
    ) -> None:
        """Prepare access.

        Args:
            cache: The cache.
            similar: Its semantic tier.
            keep_cut: Whether texts that were cut at their limit of tokens are stored like whole ones.
        """
        self.similar = similar
        self._cache = cache
        self._keep_cut = keep_cut
        self._held: dict[tuple[Owner, str], str] = {}
        self._acquiring = Batcher[tuple[Owner, str, int], str, Acquisition](self._send_acquire)
        # A filled item has given its slot back, so the fill may gather.
        self._filling = Batcher[Owner, Fill, None](self._send_fill, patient=True)
        self._replacing = Batcher[Owner, Fill, None](self._send_replace)
        self._releasing = Batcher[Owner, tuple[str, str], None](self._send_release)
        self._awaiter = Awaiter(cache)

    async def lookup(self, owner: Owner, keys: Sequence[str]) -> dict[str, Entry]:
        """Return the entries there are, by key."""
        found: dict[str, Entry] = {}
        for start in range(0, len(keys), _LOOKUP_KEYS):
            part = keys[start : start + _LOOKUP_KEYS]
            try:
                entries = await self._cache.get(owner, part)
            except ServiceError as error:
                _pass_outage(error, "lookup")
                continue
            found |= {key: entry for key, entry in zip(part, entries, strict=True) if entry is not None}
        return found

    async def acquire(self, owner: Owner, holder: str, epoch: int, key: str) -> Acquisition:
        """Take a key's lease or learn what else to do; without the cache the answer is to generate."""
        try:
            acquisition = await self._acquiring.submit((owner, holder, epoch), key)
        except ServiceError as error:
            _pass_outage(error, "acquire")
            return WITHOUT_LEASE
        if acquisition.outcome is Acquired.LEASED:
            self._held[owner, key] = acquisition.lease_token
        return acquisition

    async def await_entry(self, owner: Owner, key: str, *, timeout_s: float) -> Entry | None:
        """Wait for someone else's content; None when it will not come, or not in time."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._awaiter.wait(owner, key)
        except TimeoutError:
            return None

    def fill(self, owner: Owner, fill: Fill) -> asyncio.Future[None]:
        """Store generated content and end its lease; lost without harm while the cache is away.

        It is stored whether or not anyone waits for what is returned, which is done when it is there. A text
        that was cut is given to those who wait for it, and not kept.
        """
        self._held.pop((owner, fill.key), None)
        return self._filling.post(owner, fill if self._is_worth_keeping(fill) else replace(fill, keep=False))

    def replace(self, owner: Owner, fill: Fill) -> asyncio.Future[None]:
        """Store content in place of what is there; otherwise as `fill`. A cut text replaces nothing."""
        if not self._is_worth_keeping(fill):
            return self._filling.post(owner, replace(fill, keep=False))
        return self._replacing.post(owner, fill)

    def release(self, owner: Owner, key: str, token: str) -> None:
        """Give a lease back soon, so that someone else may generate."""
        self._held.pop((owner, key), None)
        if token:
            self._releasing.post(owner, (key, token))

    async def flushed(self) -> None:
        """Wait until everything to be stored or given back is sent."""
        await asyncio.gather(self._filling.flushed(), self._replacing.flushed(), self._releasing.flushed())
        if self.similar is not None:
            await self.similar.flushed()

    async def keep_leases(self, every_s: float) -> None:
        """Renew the leases of calls in flight, for ever."""
        while True:
            await asyncio.sleep(every_s)
            by_owner: dict[Owner, list[tuple[str, str]]] = defaultdict(list)
            for (owner, key), token in self._held.items():
                if token:
                    by_owner[owner].append((key, token))
            for owner, leases in by_owner.items():
                await self._ignoring_outage("renew", self._cache.renew(owner, leases))

    def _is_worth_keeping(self, fill: Fill) -> bool:
        return self._keep_cut or is_whole(fill.entry)

    async def _ignoring_outage(self, what: str, call: Awaitable[None]) -> None:
        try:
            await call
        except ServiceError as error:
            _pass_outage(error, what)

    async def _send_acquire(
        self, lane: tuple[Owner, str, int], keys: list[str]
    ) -> Sequence[Acquisition | Exception]:
        owner, holder, epoch = lane
        return await self._cache.acquire(owner, holder, epoch, keys)

    async def _send_fill(self, owner: Owner, fills: list[Fill]) -> Sequence[None]:
        for part in by_size(fills, lambda fill: len(fill.entry.value.encode()), most=_FILL_BYTES):
            await self._ignoring_outage("fill", self._cache.fill(owner, part))
        return [None] * len(fills)

    async def _send_replace(self, owner: Owner, fills: list[Fill]) -> Sequence[None]:
        for part in by_size(fills, lambda fill: len(fill.entry.value.encode()), most=_FILL_BYTES):
            await self._ignoring_outage("replace", self._cache.replace(owner, part))
        return [None] * len(fills)

    async def _send_release(self, owner: Owner, leases: list[tuple[str, str]]) -> Sequence[None]:
        await self._ignoring_outage("release", self._cache.release(owner, leases))
        return [None] * len(leases)


def _pass_outage(error: ServiceError, what: str) -> None:
    if not is_outage(error):
        _log.warning("cache_refused", call=what, reason=error.reason, message=error.message)
