"""QMTL's dialect: what its policies mean in ours, to the letter."""

from __future__ import annotations

from typing import Any

import pytest

from qmtl_worlds.contracts.errors import PolicyInvalidError
from qmtl_worlds.contracts.ids import Side
from qmtl_worlds.policy.compiler import compile_policy
from qmtl_worlds.policy.dialect import canonical_text, is_dialect, metric_of, source_of, translate
from qmtl_worlds.policy.json_tree import read_mapping
from qmtl_worlds.policy.presets import PRESETS
from qmtl_worlds.policy.yaml_tree import read_yaml

TOP: dict[str, Any] = {"top_k": {"metric": "sharpe", "k": 2}}


def translated(policy: dict[str, Any]) -> dict[str, Any]:
    return translate(read_mapping(policy), world_id="w1", version=3)


def faults_of(policy: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(PolicyInvalidError) as refused:
        translated(policy)
    return [(fault.path, fault.code) for fault in refused.value.faults]


def test_every_rule_has_its_canonical_form() -> None:
    policy = {
        "thresholds": {"sharpe": {"metric": "sharpe", "min": 0.7}, "dd": {"metric": "max_drawdown", "max": 0.25}},
        "top_k": {"metric": "sharpe", "k": 5},
        "correlation": {"max": 0.7},
        "hysteresis": {"metric": "sharpe", "enter": 0.9, "exit": 0.5},
    }

    assert translated(policy) == {
        "world": "w1",
        "version": 3,
        "data_currency": {"max_lag": "1d"},
        "selection": {
            "gates": {
                "and": ["reported.sharpe >= 0.7", "reported.max_drawdown <= 0.25", "reported.sharpe >= 0.9"],
            },
            "score": "reported.sharpe",
            "min_score": -1e9,
            "incumbent_bonus": 0.4,
            "topk": {"total": 5, "by_side": {"long": 5, "short": 0}},
            "constraints": {
                "exposure": {"gross_budget": {"long": 1.0}},
                "correlation": {"max_pairwise": 0.7, "mode": "abs", "on_unknown": "ignore"},
            },
        },
    }


def test_conservative_preset_has_its_canonical_form() -> None:
    selection = translated({"preset": "conservative"})["selection"]

    assert selection["gates"]["and"] == [
        "reported.sharpe >= 1",
        "reported.max_drawdown <= 0.15",
        "reported.win_rate >= 0.55",
        "reported.profit_factor >= 1.5",
    ]
    assert (selection["topk"]["total"], selection["incumbent_bonus"]) == (3, 0.2)
    assert selection["constraints"]["correlation"]["max_pairwise"] == 0.5


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_compiles_and_keeps_what_was_sent(name: str) -> None:
    sent = {"preset": name, "preset_mode": "clone", "preset_version": "2026-01"}

    text = canonical_text(translated(sent), sent)

    policy = compile_policy(text, world_id="w1")
    slots = PRESETS[name]["top_k"]["k"]
    assert policy.document.selection.topk.total == slots
    assert policy.slot_weight(Side.LONG) == pytest.approx(1 / slots)
    assert source_of(text) == sent


def test_overrides_of_a_preset_replace_and_add_bounds() -> None:
    sent = {"preset": "aggressive", "preset_overrides": {"max_drawdown.max": 0.2, "trades.min": 30}}

    gates = translated(sent)["selection"]["gates"]["and"]

    assert "reported.max_drawdown <= 0.2" in gates
    assert "reported.max_drawdown <= 0.4" not in gates
    assert "reported.trades >= 30" in gates


def test_sections_beside_a_preset_replace_its_own() -> None:
    selection = translated({"preset": "moderate", "top_k": {"metric": "sharpe_mid", "k": 1}})["selection"]

    assert (selection["topk"]["total"], selection["score"]) == (1, "sharpe_mid")


def test_policy_without_thresholds_admits_whoever_has_the_ranking_metric() -> None:
    assert translated(TOP)["selection"]["gates"] == {"and": ["reported.sharpe >= -1000000000"]}


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("sharpe", "reported.sharpe"),
        ("sharpe_mid", "sharpe_mid"),
        ("max_dd_120d", "max_dd_120d"),
        ("returns.sharpe", "reported.returns_sharpe"),
        ("reported.alpha", "reported.alpha"),
        ("Sharpe", None),
        ("a b", None),
    ],
)
def test_metric_that_is_none_of_ours_is_a_reported_one(name: str, canonical: str | None) -> None:
    assert metric_of(name) == canonical


def test_all_faults_are_told_together_and_nothing_is_dropped() -> None:
    policy = {
        "thresholds": {"a": {"min": "high"}, "b": {"mim": 1}, "C": {"max": 1}},
        "top_k": {"metric": "sharpe", "k": 0},
        "hysteresis": {"metric": "sharpe", "enter": 0.1, "exit": 0.5},
        "correlation": {},
        "validation_profiles": {},
        "benchmark": None,
    }

    assert set(faults_of(policy)) == {
        ("thresholds.a.min", "wrong-type"),
        ("thresholds.a", "missing"),
        ("thresholds.b.mim", "unknown-key"),
        ("thresholds.b", "missing"),
        ("thresholds.C", "bad-format"),
        ("top_k.k", "out-of-range"),
        ("hysteresis.exit", "contradiction"),
        ("correlation.max", "missing"),
        ("validation_profiles", "unknown-key"),
        ("benchmark", "unknown-key"),
    }


@pytest.mark.parametrize(
    ("policy", "fault"),
    [
        ({"thresholds": {"a": {"min": 1}}}, ("top_k", "missing")),
        ({"preset": "reckless"}, ("preset", "not-one-of")),
        ({"preset": "moderate", "preset_mode": "steal"}, ("preset_mode", "not-one-of")),
        ({**TOP, "preset_overrides": {"a.min": 1}}, ("preset_overrides", "contradiction")),
        ({"preset": "moderate", "preset_overrides": {"sharpe": 1}}, ("preset_overrides.sharpe", "unknown-key")),
        ({"preset": "moderate", "preset_overrides": 1}, ("preset_overrides", "wrong-type")),
        ({**TOP, "world": "w2"}, ("world", "world-mismatch")),
        ({"top_k": {"k": 1}}, ("top_k.metric", "bad-format")),
        ({**TOP, "thresholds": {"a": {"min": True}}}, ("thresholds.a.min", "wrong-type")),
        ({**TOP, "thresholds": {"a": {"max": 1e12}}}, ("thresholds.a.max", "bad-number")),
        ({**TOP, "thresholds": []}, ("thresholds", "wrong-type")),
        ({**TOP, "correlation": {"max": 2}}, ("correlation.max", "out-of-range")),
    ],
)
def test_what_cannot_be_meant_is_a_fault_with_its_path(policy: dict[str, Any], fault: tuple[str, str]) -> None:
    assert fault in faults_of(policy)


def test_fault_of_a_text_names_line_and_column_and_guesses() -> None:
    text = "top_k: {metric: sharpe, k: 3}\nthresholds:\n  sharpe: {min: 1}\nhysteresys: {}\n"

    with pytest.raises(PolicyInvalidError) as refused:
        translate(read_yaml(text), world_id="w1", version=1)

    (fault,) = refused.value.faults
    assert (fault.line, fault.column, fault.path) == (4, 1, "hysteresys")
    assert "did you mean 'hysteresis'?" in fault.message


@pytest.mark.parametrize(
    ("policy", "theirs"),
    [
        (TOP, True),
        ({"preset": "moderate"}, True),
        ({"world": "w1", "selection": {}}, False),
        ({"selection": {}, "top_k": {}}, False),
        ({}, False),
        ([], False),
    ],
)
def test_dialect_is_told_from_the_canonical_form(policy: object, theirs: bool) -> None:
    assert is_dialect(policy) is theirs
