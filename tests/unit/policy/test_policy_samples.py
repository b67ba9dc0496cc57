from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import yaml

from qmtl_worlds.contracts.ids import Side
from qmtl_worlds.policy.compiler import compile_mapping, compile_policy
from tests.unit.policy.samples import MINIMAL, sample


def leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, child in value.items():
            yield from leaves(child, f"{path}/{key}")
    elif isinstance(value, list):
        for number, child in enumerate(value):
            yield from leaves(child, f"{path}/{number}")
    else:
        yield path, value


@pytest.mark.parametrize("name", ["crypto_mom_1h", "us_equity_rules"])
def test_canonical_form_of_a_sample_holds_every_key_and_value_of_it(name: str) -> None:
    # Neither file uses what YAML 1.1 and 1.2 read differently, so PyYAML's own reader is an independent oracle.
    written = dict(leaves(yaml.safe_load(sample(name))))
    written = {path: value for path, value in written.items() if "/provenance/" not in path}

    stored = dict(leaves(json.loads(compile_policy(sample(name)).canonical)))

    assert {path: stored.get(path) for path in written} == written


def test_sample_of_the_spec_compiles_to_its_conditions_with_their_lines() -> None:
    policy = compile_policy(sample(), world_id="crypto_mom_1h")

    assert [(condition.line, condition.path, condition.text) for condition in policy.conditions] == [
        (13, "selection.gates.and[0]", "sample_days >= 30"),
        (14, "selection.gates.and[1]", "trades_60d >= 40"),
        (15, "selection.gates.and[2]", "sharpe_mid >= 0.60"),
        (16, "selection.gates.and[3]", "max_dd_120d <= 0.25"),
    ]


def test_metrics_are_those_of_gates_score_and_leverage_in_order_of_name() -> None:
    policy = compile_policy(sample())

    assert [ref.name for ref in policy.metrics] == [
        "leverage",
        "max_dd_120d",
        "sample_days",
        "sharpe_mid",
        "trades_60d",
        "ulcer_mid",
        "winrate_long",
    ]


def test_metrics_of_inverse_volatility_weights_include_the_volatility() -> None:
    policy = compile_policy(MINIMAL + "  weights: {scheme: inverse_vol}\n")

    assert "volatility_mid" in [ref.name for ref in policy.metrics]


def test_slot_weight_is_the_budget_over_the_slots_of_the_side() -> None:
    policy = compile_policy(sample())

    assert policy.slot_weight(Side.LONG) == 0.60 / 5
    assert policy.slot_weight(Side.SHORT) == 0.40 / 3
    assert policy.max_weight(Side.LONG) == 2 * 0.60 / 5


def test_slot_weight_of_an_unused_side_is_zero() -> None:
    policy = compile_policy(MINIMAL)

    assert policy.slot_weight(Side.SHORT) == 0


def test_defaults_are_those_of_the_semantics() -> None:
    document = compile_policy(MINIMAL).document

    assert document.plain() == {
        "world": "w",
        "version": 1,
        "data_currency": {"max_lag": "5m", "min_history": "0d", "bar_alignment": "wall_clock"},
        "metrics": {
            "frequency": "1d",
            "windows": {"short": "30d", "mid": "90d", "long": "365d"},
            "calendar": "24/7",
            "provenance": ["live", "paper"],
            "min_obs": 20,
            "rf": 0.0,
        },
        "selection": {
            "gates": "sharpe_mid >= 0.6",
            "score": "sharpe_mid",
            "topk": {"total": 2, "by_side": {"long": 2, "short": 0}},
            "constraints": {"exposure": {"gross_budget": {"long": 0.5}, "on_missing_sector": "bucket"}},
            "hysteresis": {"promote_after": 1, "demote_after": 1, "min_dwell": "0s"},
            "min_score": 0.0,
            "incumbent_bonus": 0.0,
            "solver": "greedy",
            "weights": {"scheme": "slot", "band": 0.02},
        },
        "position_policy": {"on_promote": "carry", "on_demote": "carry"},
        "risk": {"ladder": []},
        "apply": {
            "mode": "approval",
            "approvals": 1,
            "expiry": "1d",
            "auto": {"max_changes": 3, "max_gross_shift": 0.1},
        },
        "tests": [],
    }
    assert document.selection.constraints.exposure.leverage_cap == 1


def test_long_window_of_a_calendar_with_sessions_is_252_of_them() -> None:
    metrics = compile_policy(MINIMAL + "metrics: {calendar: XNYS}\n").document.metrics

    assert (metrics.windows.long_days, metrics.periods_per_year) == (252, 252)


def test_correlation_needs_half_its_window_in_common_by_default() -> None:
    text = MINIMAL.replace("    exposure:", "    correlation: {max_pairwise: 0.8, window: 80d}\n    exposure:")

    rule = compile_policy(text).document.selection.constraints.correlation

    assert rule is not None
    assert rule.required_overlap == 40


def test_mapping_and_text_of_a_policy_have_the_same_checksum() -> None:
    policy = compile_policy(sample())

    from_mapping = compile_mapping(json.loads(policy.canonical), world_id="crypto_mom_1h")

    assert from_mapping.checksum == policy.checksum
    assert {condition.line for condition in from_mapping.conditions} == {1}


def test_checksum_ignores_comments_order_and_written_defaults() -> None:
    other = "apply: {mode: approval, expiry: 24h}  # as ever\n" + MINIMAL

    assert compile_policy(other).checksum == compile_policy(MINIMAL).checksum


def test_selection_checksum_ignores_blanks_and_parentheses_of_expressions() -> None:
    other = (
        MINIMAL.replace("sharpe_mid >= 0.6", "( sharpe_mid )>=0.60")
        .replace("score: s", "score:   (s")
        .replace("_mid\n  topk", "_mid)\n  topk")
    )

    assert compile_policy(other).selection_checksum == compile_policy(MINIMAL).selection_checksum
    assert compile_policy(other).checksum != compile_policy(MINIMAL).checksum


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("version: 1", "version: 2", True),
        ("version: 1", "version: 1\nschedule: {every: 1h}", True),
        ("max_lag: 5m", "max_lag: 6m", False),
        ("total: 2", "total: 3", False),
        (">= 0.6", "> 0.6", False),
    ],
)
def test_selection_checksum_changes_with_what_selects_only(before: str, after: str, same: bool) -> None:
    changed = compile_policy(MINIMAL.replace(before, after))

    assert (changed.selection_checksum == compile_policy(MINIMAL).selection_checksum) is same


def test_line_of_a_path_without_a_value_is_the_line_of_its_section() -> None:
    policy = compile_policy(sample())

    assert policy.line_of("selection.topk.by_side.long") == 20
    assert policy.line_of("selection.hysteresis.nothing.here") == 28
    assert policy.line_of("nothing") == 2
