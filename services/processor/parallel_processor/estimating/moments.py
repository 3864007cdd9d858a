"""Count, mean and spread of a quantity, as it comes in and put together from parts.

Parts are put together without loss (Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for
Computing Sample Variances", 1979). What is old fades: beyond a count, every observation weighs a little less
with each new one.
"""

from __future__ import annotations

from dataclasses import dataclass

FADES_AT = 2_000.0
"""From this many observations on the older ones fade."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Count, mean and sum of squared deviations of a quantity."""

    count: float = 0.0
    mean: float = 0.0
    squares: float = 0.0

    @property
    def variance(self) -> float:
        """The variance of the observations; 0 for fewer than two."""
        return self.squares / (self.count - 1.0) if self.count > 1.0 else 0.0

    def __add__(self, other: Moments) -> Moments:
        if not other.count:
            return self
        if not self.count:
            return other
        count = self.count + other.count
        apart = other.mean - self.mean
        return Moments(
            count,
            self.mean + apart * other.count / count,
            self.squares + other.squares + apart * apart * self.count * other.count / count,
        )

    def faded(self) -> Moments:
        """Return them with no more weight than observations that are not old."""
        if self.count <= FADES_AT:
            return self
        return Moments(FADES_AT, self.mean, self.squares * FADES_AT / self.count)


NOTHING = Moments()


def of_sums(count: float, total: float, squares: float) -> Moments:
    """Return the moments of observations of which only the count and the sums are known.

    Args:
        count: How many there are.
        total: Their sum.
        squares: The sum of their squares.
    """
    if not count:
        return NOTHING
    mean = total / count
    return Moments(count, mean, max(0.0, squares - total * mean))
