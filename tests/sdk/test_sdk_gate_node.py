"""The gate in an order path."""

from __future__ import annotations

import math

import pytest

from qmtl_worlds.contracts.activation import ActivationEnvelope, GateLevel
from qmtl_worlds.sdk.node import Order, OrderGateNode
from qmtl_worlds.sdk.verdict import GateRules, Verdict, judge
from tests.sdk.activations import activation, shut

ENTRY = Order("AAPL", "long", 100.0, reduces=False)
EXIT = Order("AAPL", "long", 40.0, reduces=True)
UNKNOWN = Order("AAPL", "long", 10.0)


class FixedGate:
    """Judges by one activation that never expires."""

    def __init__(self, envelope: ActivationEnvelope) -> None:
        self._envelope = envelope

    def check(self, side: str, *, reduces: bool | None = None) -> Verdict:
        assert side == "long"
        return judge(self._envelope, deadline=1.0, now=0.0, reduces=reduces, rules=GateRules())


def test_node_scales_entries_by_the_weight_and_leaves_exits_alone() -> None:
    node = OrderGateNode(FixedGate(activation(weight=0.25)))

    orders = node.process([ENTRY, EXIT, UNKNOWN])

    assert [order.quantity for order in orders] == [25.0, 40.0, 2.5]


def test_node_for_orders_sized_on_allotted_capital_does_not_scale() -> None:
    node = OrderGateNode(FixedGate(activation(weight=0.25)), scaled=False)

    assert node.process([ENTRY]) == [ENTRY]


def test_node_drops_what_may_not_pass() -> None:
    node = OrderGateNode(FixedGate(shut(GateLevel.REDUCE_ONLY)))

    assert node.process([ENTRY, EXIT, UNKNOWN]) == [EXIT]


def test_node_zeroes_what_may_not_pass_where_told_to() -> None:
    node = OrderGateNode(FixedGate(shut(GateLevel.CLOSED)), on_blocked="zero")

    orders = node.process([ENTRY, EXIT])

    assert [(order.symbol, order.quantity) for order in orders] == [("AAPL", 0.0), ("AAPL", 0.0)]


def test_node_hands_orders_caught_by_an_apply_back() -> None:
    caught: list[tuple[Order, int]] = []
    draining = shut(GateLevel.REDUCE_ONLY, drain=True, reason="applying")
    node = OrderGateNode(FixedGate(draining), on_caught=lambda order, wait_ms: caught.append((order, wait_ms)))

    passed = node.process([ENTRY, EXIT])

    assert passed == [EXIT]
    assert caught == [(ENTRY, 1000)]


@pytest.mark.parametrize("quantity", [math.nan, math.inf, -math.inf])
def test_node_lets_no_order_without_a_finite_quantity_pass(quantity: float) -> None:
    node = OrderGateNode(FixedGate(activation()))

    assert node.process([Order("AAPL", "long", quantity, reduces=True)]) == []
