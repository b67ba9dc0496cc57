from __future__ import annotations

import pytest

from qmtl_worlds.policy.compiler import compile_policy
from qmtl_worlds.policy.lint import lint
from qmtl_worlds.policy.lint_warning import LINT_CODES, LintWarning
from tests.unit.policy.samples import MINIMAL, sample, with_gates, with_score

QUIET = MINIMAL.replace("max_lag: 5m", "max_lag: 5m, min_history: 90d")
EXPOSURE = "    exposure:\n"


def codes(text: str, sector_count: int | None = None) -> list[tuple[str, str, int]]:
    warnings = lint(compile_policy(text), sector_count=sector_count)
    return [(warning.code, warning.path, warning.line) for warning in warnings]


def quiet(text: str) -> str:
    return text.replace("max_lag: 5m", "max_lag: 5m, min_history: 2520d")


def test_policy_without_a_doubt_has_no_warning() -> None:
    assert codes(QUIET) == []


def test_sample_of_the_spec_has_the_warnings_that_it_deserves() -> None:
    warnings = lint(compile_policy(sample()), sector_count=1)

    assert warnings == (
        LintWarning(
            "short-history",
            "data_currency.min_history",
            7,
            "min_history 60d is shorter than the 365 sessions of winrate_long",
        ),
        LintWarning(
            "sector-undeployable",
            "selection.constraints.exposure.sector_cap.per_sector",
            27,
            "budgets of 1 under a cap of 0.3 need 4 sectors, there are 1",
        ),
        LintWarning(
            "inert-dwell",
            "selection.hysteresis.min_dwell",
            31,
            "min_dwell 3h is over before 2 evaluations count, 1d apart at least",
        ),
    )


def test_policy_of_the_demo_has_no_warning_with_enough_sectors() -> None:
    assert codes(sample("us_equity_rules"), sector_count=3) == []


CASES = {
    "short-window": (quiet(with_score("sharpe_20d")), "selection.score", 6),
    "short-history": (MINIMAL, "data_currency.min_history", 3),
    "fraction-bounds": (quiet(with_gates("max_dd_mid <= 25")), "selection.gates", 5),
    "constant-condition": (quiet(with_gates("1 > 0")), "selection.gates", 5),
    "constant-score": (quiet(with_score('"1"')), "selection.score", 6),
    "lag-under-bar": (QUIET.replace("max_lag: 5m", "max_lag: 5m, bar: 1h"), "data_currency.max_lag", 3),
    "no-slots": (QUIET.replace("total: 2", "total: 0"), "selection.topk", 7),
    "side-sum": (QUIET.replace("total: 2", "total: 2, by_side: {long: 1}"), "selection.topk.by_side", 7),
    "leverage-under-gross": (
        QUIET.replace(EXPOSURE, f"{EXPOSURE}      max_leverage: 0.4\n"),
        "selection.constraints.exposure.max_leverage",
        10,
    ),
    "weight-under-slot": (f"{QUIET}  weights: {{max_weight: 0.2}}\n", "selection.weights.max_weight", 11),
    "sector-under-slot": (
        QUIET.replace(EXPOSURE, f"{EXPOSURE}      sector_cap: {{per_sector: 0.2}}\n"),
        "selection.constraints.exposure.sector_cap.per_sector",
        10,
    ),
    "inert-dwell": (
        f"{QUIET}  hysteresis: {{demote_after: 9, min_dwell: 1d}}\n",
        "selection.hysteresis.min_dwell",
        11,
    ),
    "tests-not-run": (f"{QUIET}tests: [{{expect: pass}}]\n", "tests", 11),
    "ladder-not-enforced": (f"{QUIET}risk: {{ladder: [{{drawdown: 0.05, scale: 0.5}}]}}\n", "risk.ladder", 11),
}


@pytest.mark.parametrize(("code", "case"), CASES.items(), ids=CASES.keys())
def test_doubtful_policy_has_the_warning_at_its_place(code: str, case: tuple[str, str, int]) -> None:
    text, path, line = case

    assert codes(text) == [(code, path, line)]


def test_sector_cap_is_undeployable_with_too_few_sectors_only() -> None:
    text = QUIET.replace(EXPOSURE, f"{EXPOSURE}      sector_cap: {{per_sector: 0.25}}\n")

    assert [code for code, _, _ in codes(text, sector_count=1)] == ["sector-undeployable"]
    assert codes(text, sector_count=2) == []
    assert codes(text) == []


@pytest.mark.parametrize("text", ["25 >= max_dd_mid", "max_dd_mid > -1", "0 < winrate_mid <= 60", "psr_mid == 95"])
def test_share_compared_with_a_percentage_is_found_on_either_side(text: str) -> None:
    assert [code for code, _, _ in codes(quiet(with_gates(text)))] == ["fraction-bounds"]


def test_dwell_longer_than_the_count_of_evidence_is_no_warning() -> None:
    assert codes(f"{QUIET}  hysteresis: {{promote_after: 2, demote_after: 2, min_dwell: 3d}}\n") == []


def test_schedule_longer_than_a_day_makes_a_longer_dwell_inert() -> None:
    text = f"{QUIET}  hysteresis: {{promote_after: 2, demote_after: 2, min_dwell: 3d}}\nschedule: {{every: 2d}}\n"

    assert [code for code, _, _ in codes(text)] == ["inert-dwell"]


def test_every_code_of_the_catalog_has_a_case() -> None:
    assert {*CASES, "sector-undeployable"} == set(LINT_CODES)
