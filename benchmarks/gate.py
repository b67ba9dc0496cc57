"""P9: what one order pays at the gate, beside a bare ``dict.get`` in the same run.

Prints a Markdown table; ``--json PATH`` writes the figures, ``--check`` exits with 1 on a miss.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from qmtl_worlds.contracts.activation import envelope_etag, parse_envelope
from qmtl_worlds.contracts.clock import boot_time
from qmtl_worlds.contracts.lease import Position
from qmtl_worlds.sdk.gate import OrderGate
from qmtl_worlds.sdk.node import Order, OrderGateNode
from qmtl_worlds.sdk.permission import ActivationReading

ROUNDS: Final = 15
CALLS: Final = 100_000
MAX_RATIO: Final = 4.0
MAX_NANOSECONDS: Final = 500.0
BODY: Final[dict[str, object]] = {
    "world_id": "bench",
    "strategy_id": "s1",
    "side": "long",
    "active": True,
    "weight": 0.12,
    "freeze": False,
    "drain": False,
    "gate": "open",
    "mode": "paper",
    "effective_mode": "paper",
    "reason": "active",
    "generation": 1,
    "sequence": 1,
    "run_id": "apply:1",
    "ts": "2026-03-06T21:00:00Z",
    "state_hash": "sha256:0",
}


@dataclass(frozen=True, slots=True)
class Figures:
    """Median CPU nanoseconds of one call, that of a lambda included; ``ratio`` is ``check`` to ``dict.get``."""

    dict_get_ns: float
    check_ns: float
    ratio: float
    order_through_node_ns: float
    expired_check_ns: float

    def holds(self) -> bool:
        """Tell whether P9 is met."""
        return self.ratio <= MAX_RATIO and self.check_ns <= MAX_NANOSECONDS


class OpenSource:
    """Says that the gate is open, for as long as a lease may last."""

    def activation(
        self,
        world_id: str,
        strategy_id: str,
        side: str,
        *,
        known_etag: str | None = None,
        client_id: str | None = None,  # noqa: ARG002 - nobody is noted
    ) -> ActivationReading:
        """Answer at once."""
        body = BODY | {"world_id": world_id, "strategy_id": strategy_id, "side": side}
        envelope = parse_envelope(body | {"etag": known_etag or envelope_etag(Position(1, 1, 0), body)})
        return ActivationReading(envelope, lease_ms=60_000, sent_at=boot_time())

    def close(self) -> None:
        """Hold nothing."""


def measure() -> Figures:
    """Time the gate and its reference in turns, so that both see the same machine."""
    gate = OrderGate(OpenSource(), world_id="bench", strategy_id="s1", sides=["long"])
    late = OrderGate(OpenSource(), world_id="bench", strategy_id="s1", sides=["long"], monotonic=lambda: float("inf"))
    node = OrderGateNode(gate)
    table = {("bench", "s1", "long"): True}
    order = [Order("AAPL", "long", 1.0, reduces=False)]
    calls: list[Callable[[], object]] = [
        lambda: table.get(("bench", "s1", "long")),
        lambda: gate.check("long", reduces=False),
        lambda: node.process(order),
        lambda: late.check("long", reduces=False),
    ]
    gate.poll()
    late.poll()
    if not gate.check("long").allowed or late.check("long").allowed:
        raise AssertionError("the gate must be open within its lease and closed after it")
    rounds = [[_nanoseconds(call) for call in calls] for _ in range(ROUNDS)]
    bare, check, through_node, expired = (statistics.median(column) for column in zip(*rounds, strict=True))
    return Figures(bare, check, check / bare, through_node, expired)


def _nanoseconds(call: Callable[[], object]) -> float:
    loop = range(CALLS)
    started = time.thread_time_ns()
    for _ in loop:
        call()
    return (time.thread_time_ns() - started) / CALLS


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and judge where asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit with 1 where the goal is missed")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(arguments)
    figures = measure()
    print(_table(figures))
    if options.json:
        options.json.write_text(json.dumps(asdict(figures), indent=2) + "\n", encoding="utf-8")
    return int(options.check and not figures.holds())


def _table(figures: Figures) -> str:
    return "\n".join(
        [
            f"Python {platform.python_version()} on {platform.machine()}, median of {ROUNDS} x {CALLS} calls",
            "",
            "| P9 | CPU ns a call | goal |",
            "|---|---|---|",
            f"| dict.get, tuple key (floor) | {figures.dict_get_ns:.0f} | |",
            f"| OrderGate.check | {figures.check_ns:.0f} | <= {MAX_NANOSECONDS:.0f} |",
            f"| ratio | {figures.ratio:.2f}x | <= {MAX_RATIO:.0f}x |",
            f"| OrderGate.check after its lease | {figures.expired_check_ns:.0f} | |",
            f"| OrderGateNode.process, one scaled order | {figures.order_through_node_ns:.0f} | |",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
