"""The gate as a node in an order path: put it right before the brokerage node."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol

from qmtl_worlds.sdk.verdict import Verdict

OnBlocked = Literal["drop", "zero"]
"""What becomes of an order that may not pass: it is left out, or goes on with a quantity of 0."""

BAD_QUANTITY: Final = Verdict(allowed=False, weight=0.0, reason="bad_quantity")


@dataclass(frozen=True, slots=True)
class Order:
    """An order of one strategy.

    ``side`` is that of the position (long or short), not buy or sell; ``reduces`` tells whether the order brings the
    position closer to flat, None where that is not known. ``quantity`` is in the venue's unit.
    """

    symbol: str
    side: str
    quantity: float
    reduces: bool | None = None


class Gate(Protocol):
    """Judges one order; ``OrderGate`` is one."""

    def check(self, side: str, *, reduces: bool | None = None) -> Verdict:
        """Say whether an order of ``side`` may pass, and at what weight."""
        ...


class OrderGateNode:
    """Lets orders through that the gate allows, scaled by its weight where they increase risk.

    An order that only has to wait (its verdict has ``retry_after_ms``, as during an apply) is handed to ``on_caught``
    where there is one, and is then ``on_blocked`` like every other that may not pass. So nothing but an allowed order
    reaches the brokerage with a quantity. Set ``scaled=False`` where orders are sized on the allotted capital already.
    """

    def __init__(
        self,
        gate: Gate,
        *,
        on_blocked: OnBlocked = "drop",
        on_caught: Callable[[Order, int], None] | None = None,
        scaled: bool = True,
    ) -> None:
        """Put ``gate`` in the path; ``on_caught`` receives the order and the milliseconds to wait."""
        self._gate = gate
        self._on_blocked = on_blocked
        self._on_caught = on_caught
        self._scaled = scaled

    def process(self, orders: Iterable[Order]) -> list[Order]:
        """Return what may go to the brokerage, in the order given; an order without a finite quantity may not."""
        passed = []
        for order in orders:
            verdict = self._judge(order)
            if verdict.allowed:
                passed.append(self._scale(order, verdict.weight))
                continue
            if verdict.retry_after_ms is not None and self._on_caught is not None:
                self._on_caught(order, verdict.retry_after_ms)
            if self._on_blocked == "zero":
                passed.append(replace(order, quantity=0.0))
        return passed

    def _judge(self, order: Order) -> Verdict:
        if not math.isfinite(order.quantity):
            return BAD_QUANTITY
        return self._gate.check(order.side, reduces=order.reduces)

    def _scale(self, order: Order, weight: float) -> Order:
        if not self._scaled or weight == 1.0:
            return order
        return replace(order, quantity=order.quantity * weight)
