"""Following one alpha through its sessions, with a gate before every order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date

from qmtl_worlds.sdk.node import Gate, Order
from qmtl_worlds.sdk.verdict import Verdict
from strategies.alpha.catalog import Alpha


@dataclass(frozen=True, slots=True)
class AskedOrder:
    """One order, and what the gate said; ``quantity`` of the order is a share of world capital before scaling."""

    session: date
    order: Order
    verdict: Verdict

    def __str__(self) -> str:
        """Return one line for people."""
        verdict = self.verdict
        what = "exit" if self.order.reduces else "entry"
        asked = f"{self.session} {what} {self.order.side} {self.order.symbol}"
        if verdict.allowed:
            return f"{asked}: allowed, weight {verdict.weight:.4f} ({verdict.reason})"
        wait = "" if verdict.retry_after_ms is None else f", ask again in {verdict.retry_after_ms} ms"
        return f"{asked}: refused ({verdict.reason}){wait}"


def trade(alpha: Alpha, wishes: Iterable[tuple[date, int]], gate: Gate) -> Iterator[AskedOrder]:
    """Move the position towards each session's wish and yield every order that was asked about.

    ``wishes`` are sessions with the position wanted after their close (0, or the direction of the side). A refused
    order is asked about again in the next session, as long as it is still wanted.
    """
    held = 0.0
    for session, wanted in wishes:
        if (wanted != 0) == (held != 0):
            continue
        order = Order(alpha.symbol, alpha.side, abs(wanted - held), reduces=wanted == 0)
        verdict = gate.check(order.side, reduces=order.reduces)
        if verdict.allowed:
            held = wanted * verdict.weight
        yield AskedOrder(session, order, verdict)
