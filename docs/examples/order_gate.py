"""Put an order gate in front of a brokerage.

Usage: python docs/examples/order_gate.py http://127.0.0.1:8000 TOKEN_FILE my_world my_strategy
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.sdk.client import WorldsClient
from qmtl_worlds.sdk.gate import OrderGate
from qmtl_worlds.sdk.node import Order, OrderGateNode
from qmtl_worlds.sdk.verdict import GateRules


class PrintingBrokerage:
    """Stands for your brokerage node."""

    def send(self, orders: Iterable[Order]) -> None:
        """Say what would go to the venue."""
        for order in orders:
            sys.stdout.write(f"to the venue: {order.quantity:g} {order.symbol} {order.side}\n")


def hand_back(order: Order, wait_ms: int) -> None:
    """Keep an order that an apply has caught; yours may put it in a queue."""
    sys.stdout.write(f"caught: {order.symbol}, ask again in {wait_ms} ms\n")


def main(base_url: str, token_file: str, world_id: str, strategy_id: str) -> None:
    """Send one entry and one exit through the gate."""
    client = WorldsClient(base_url, Path(token_file).read_text(encoding="utf-8").strip())
    brokerage = PrintingBrokerage()
    rules = GateRules(venue_mode="paper", on_expiry="reduce_only")
    gate = OrderGate(client, world_id=world_id, strategy_id=strategy_id, sides=["long"], rules=rules)

    def close_position(instance: InstanceKey) -> None:
        """Close what the server waits for, through the gate as well, and say so when the venue has confirmed it."""
        brokerage.send(node.process([Order("AAPL", instance.side.value, 40.0, reduces=True)]))
        gate.acknowledge_flat(instance.side.value)

    node = OrderGateNode(gate, on_blocked="drop", on_caught=hand_back)
    with client, gate.on_flatten(close_position):
        gate.wait_until_ready(5.0)
        entry = Order("AAPL", "long", 100.0, reduces=False)
        exit_ = Order("AAPL", "long", 40.0, reduces=True)
        brokerage.send(node.process([entry, exit_]))
        sys.stdout.write(f"gate: {gate.status.value}, entries: {gate.check('long', reduces=False).reason}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
