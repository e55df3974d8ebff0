"""What models that talk were asked, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass

Prices = tuple[float | None, float | None]
"""Of a million tokens read, and of a million written; `None` where none is known."""


@dataclass(frozen=True)
class Usage:
    """Requests, and the tokens that went with them.

    Attributes:
        asked: requests that a model answered.
        known: requests that were answered from memory.
        read: tokens that models read to answer; 0 where unknown.
        written: tokens that they wrote.
    """

    asked: int = 0
    known: int = 0
    read: int = 0
    written: int = 0

    def __add__(self, other: Usage) -> Usage:
        """Both together."""
        return Usage(
            self.asked + other.asked, self.known + other.known, self.read + other.read, self.written + other.written
        )

    def cost(self, prices: Prices) -> float | None:
        """What the tokens have cost; `None` without prices."""
        if prices == (None, None):
            return None
        of_read, of_written = prices
        return (self.read * (of_read or 0.0) + self.written * (of_written or 0.0)) / 1e6

    def told(self, prices: Prices) -> str:
        """A line on all of it."""
        cost = self.cost(prices)
        said = "" if cost is None else f", cost {cost:.2f}"
        return f"{self.asked:,} asked, {self.known:,} known; {self.read:,} tokens read, {self.written:,} written{said}"
