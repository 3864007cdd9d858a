"""Who has reported what: each producer's last number and totals, kept in pages, few to a commit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from service_common.errors import resource_exhausted

from progress_tracker.report import NO_TOTALS, Totals

PAGE_PRODUCERS = 64
MAX_PRODUCERS = 100_000


@dataclass(frozen=True, slots=True)
class ProducerPage:
    """Up to `PAGE_PRODUCERS` producers of a job, in the order in which they first reported.

    Attributes:
        number: Its place among the pages, from 0.
        ids: The producers.
        sequences: Their last numbers.
        totals: Their totals.
    """

    number: int
    ids: tuple[str, ...]
    sequences: tuple[int, ...]
    totals: tuple[Totals, ...]


def blank_page(number: int) -> ProducerPage:
    """Return a full page of producers that never report, in the place of an expired one."""
    ids = tuple(f"\0{number}.{place}" for place in range(PAGE_PRODUCERS))
    return ProducerPage(number, ids, (0,) * PAGE_PRODUCERS, (NO_TOTALS,) * PAGE_PRODUCERS)


class Producers:
    """The producers of one job. Which pages have changed is remembered until they are taken."""

    __slots__ = ("_changed", "_ids", "_places", "_sequences", "_totals")

    def __init__(self, pages: Iterable[ProducerPage] = ()) -> None:
        self._ids: list[str] = []
        self._sequences: list[int] = []
        self._totals: list[Totals] = []
        for page in pages:
            self._ids.extend(page.ids)
            self._sequences.extend(page.sequences)
            self._totals.extend(page.totals)
        self._places = {producer_id: place for place, producer_id in enumerate(self._ids)}
        self._changed: set[int] = set()

    def __len__(self) -> int:
        return len(self._ids)

    def sequence(self, producer_id: str) -> int:
        """Return a producer's last number; 0 for one that has not reported."""
        place = self._places.get(producer_id)
        return 0 if place is None else self._sequences[place]

    def advance(self, producer_id: str, sequence: int, totals: Totals | None) -> Totals:
        """Take in a report's number and totals (None: unchanged).

        Returns:
            The producer's totals before.

        Raises:
            ServiceError: RESOURCE_EXHAUSTED for more producers than a job may have.
        """
        place = self._places.get(producer_id)
        if place is None:
            place = self._add(producer_id)
        before = self._totals[place]
        self._sequences[place] = sequence
        if totals is not None:
            self._totals[place] = totals
        self._changed.add(place // PAGE_PRODUCERS)
        return before

    def _add(self, producer_id: str) -> int:
        place = len(self._ids)
        if place >= MAX_PRODUCERS:
            raise resource_exhausted("TOO_MANY_PRODUCERS", f"a job has at most {MAX_PRODUCERS} producers")
        self._places[producer_id] = place
        self._ids.append(producer_id)
        self._sequences.append(0)
        self._totals.append(NO_TOTALS)
        return place

    def take_changed(self) -> list[ProducerPage]:
        """Return the pages changed since the last call."""
        numbers, self._changed = sorted(self._changed), set()
        return [self._page(number) for number in numbers]

    def _page(self, number: int) -> ProducerPage:
        part = slice(number * PAGE_PRODUCERS, (number + 1) * PAGE_PRODUCERS)
        return ProducerPage(
            number, tuple(self._ids[part]), tuple(self._sequences[part]), tuple(self._totals[part])
        )
