from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from qmtl_worlds.contracts.errors import InputInvalidError
from qmtl_worlds.contracts.reasons import Reason, Stage, StepVerdict
from qmtl_worlds.contracts.statuses import MetricStatus
from qmtl_worlds.metrics.columns import MetricColumn
from tests.unit.decision.worlds import Instance, evaluate, inputs, names, policy, recorded


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("weight", np.array([0.1])),
        ("weight", np.array([0.1, 1.5])),
        ("weight", np.array([0.1, np.nan])),
        ("sector", ("tech",)),
        ("keys", ("a|long", "a|long")),
        ("reported", {"reported.ok": np.ones(3)}),
        ("advisory", {"sharpe_mid": MetricColumn(np.ones(1), np.zeros(1, np.uint8), np.ones(1, np.int32), 0, 0)}),
    ],
)
def test_columns_that_cannot_belong_together_are_refused(field: str, value: Any) -> None:
    good = inputs([Instance("a"), Instance("b")], policy())

    with pytest.raises(InputInvalidError):
        replace(good, **{field: value})


def test_metrics_of_the_request_replace_computed_ones_and_count_nothing() -> None:
    rules = policy(gates="sharpe_mid > 100", hysteresis={"promote_after": 1})
    statuses = np.array([MetricStatus.OK, MetricStatus.INSUFFICIENT, MetricStatus.OK], dtype=np.uint8)
    sharpe = MetricColumn(np.array([101.0, 101.0, np.nan]), statuses, np.full(3, 90, dtype=np.int32), 0, 0)

    decision = evaluate(
        [Instance("a"), Instance("b"), Instance("c")], rules, advisory={"sharpe_mid": sharpe, "unused_mid": sharpe}
    )

    assert names(decision.promote) == ["a"]
    assert recorded(decision, "b").reason is Reason.METRIC_INSUFFICIENT
    assert recorded(decision, "c").reason is Reason.METRIC_MISSING
    assert decision.streaks.in_streak.tolist() == [0, 0, 0]


def test_a_metric_that_nobody_reports_is_missing() -> None:
    decision = evaluate([Instance("a")], policy(gates="reported.unheard > 0"))

    assert recorded(decision, "a").reason is Reason.METRIC_MISSING


@pytest.mark.parametrize(
    ("gate", "value", "threshold", "margin"),
    [
        ("reported.ok != 1", 1.0, 1.0, 0.0),
        ("reported.ok == 3", 1.0, 3.0, -2.0),
        ("reported.ok <= 0.5", 1.0, 0.5, -0.5),
        ("reported.score > 0 and reported.ok > 2", 1.0, 2.0, -1.0),
        ("reported.ok * 2 > 3 or reported.ok < -reported.ok", 2.0, 3.0, -1.0),
        ("reported.ok < -4", 1.0, -4.0, -5.0),
        ("0 < reported.ok < 0.25", 1.0, 0.25, -0.75),
    ],
)
def test_a_failed_condition_shows_the_comparison_that_failed(
    gate: str, value: float, threshold: float, margin: float
) -> None:
    steps = recorded(evaluate([Instance("a")], policy(gates=gate)), "a").steps

    step = next(step for step in steps if step.stage is Stage.GATES)
    assert (step.verdict, step.value, step.threshold) == (StepVerdict.FAIL, value, threshold)
    assert step.margin == pytest.approx(margin)


def test_a_condition_turned_round_shows_no_misleading_margin() -> None:
    steps = recorded(evaluate([Instance("a")], policy(gates="not reported.ok > 0")), "a").steps

    step = next(step for step in steps if step.stage is Stage.GATES)
    assert (step.verdict, step.margin) == (StepVerdict.FAIL, None)


def test_nested_gates_are_judged_as_a_tree() -> None:
    gates = {"or": [{"and": ["reported.ok > 5", "reported.score > 0"]}, {"not": ["reported.ok > 9"]}]}

    decision = evaluate(
        [Instance("a", ok=1.0), Instance("b", ok=10.0), Instance("c", ok=10.0, score=-1)], policy(gates=gates)
    )

    verdicts = [recorded(decision, name).steps[5].verdict for name in "abc"]
    assert verdicts == [StepVerdict.PASS, StepVerdict.PASS, StepVerdict.FAIL]


def test_a_trace_step_as_json_leaves_out_what_it_has_not() -> None:
    steps = recorded(evaluate([Instance("a", ok=-1.0)]), "a").steps

    assert steps[2].to_json() == {
        "stage": "gates",
        "verdict": "fail",
        "reason": "gate_failed",
        "rule": "reported.ok > 0",
        "value": -1.0,
        "threshold": 0.0,
        "margin": -1.0,
    }


def test_the_digest_changes_with_the_decision_alone() -> None:
    one, same, other = evaluate([Instance("a")]), evaluate([Instance("a")]), evaluate([Instance("a", score=2.0)])

    assert one.digest == same.digest
    assert one.digest != other.digest
