"""How much one caller may ask for, and how much this process takes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.conf import settings

BURST_SECONDS: Final = 2.0
"""Whoever was silent for so long may catch up at once."""
MOST_KEYS: Final = 20_000


@dataclass(slots=True)
class Budget:
    """What is left to one caller: it grows by ``rate`` a second, up to two seconds' worth."""

    rate: float
    left: float
    at: float = 0.0

    @classmethod
    def of(cls, rate: float) -> Budget:
        """Return a full one."""
        return cls(rate, rate * BURST_SECONDS)

    @classmethod
    def of_reads(cls) -> Budget:
        """Return a full one for what is answered from memory."""
        return cls.of(settings.READS_PER_SECOND)

    def wait(self, now: float) -> float:
        """Take one, and return 0; where nothing is left return the seconds until there is."""
        left = min(self.left + (now - self.at) * self.rate, self.rate * BURST_SECONDS)
        self.at = now
        if left < 1:
            self.left = left
            return (1 - left) / self.rate
        self.left = left - 1
        return 0.0


class Budgets:
    """The budgets of callers, by whatever tells them apart; a bounded number of them."""

    def __init__(self, rate: float) -> None:
        """Begin with nobody known."""
        self._rate = rate
        self._budgets: dict[bytes, Budget] = {}

    def __len__(self) -> int:
        """Count the callers that are known."""
        return len(self._budgets)

    def wait(self, key: bytes, *, now: float) -> float:
        """Take one of the caller's, and return 0, or the seconds until it has one."""
        budget = self._budgets.get(key)
        if budget is None:
            if len(self._budgets) >= MOST_KEYS:
                self._budgets.clear()
            budget = self._budgets[key] = Budget.of(self._rate)
        return budget.wait(now)


@dataclass(slots=True)
class Places:
    """A number of places, of which each is taken and given back."""

    most: int
    taken: int = 0

    def take(self) -> bool:
        """Take one; False where none is left."""
        if self.taken >= self.most:
            return False
        self.taken += 1
        return True

    def give_back(self) -> None:
        """Leave one."""
        self.taken -= 1
